import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from latentwire.errors import InvalidCard, InvalidKeyFile, UntrustedModel
from latentwire.model.card import CARD_FILE, load_card
from latentwire.model.signature import SIGNATURE_FILE, Signers, read_signers


def pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / tiny_model.name))


@pytest.fixture
def key(folder: Path) -> Ed25519PrivateKey:
    """The key that signed the model in `folder`."""
    key = Ed25519PrivateKey.generate()
    (folder / SIGNATURE_FILE).write_bytes(key.sign((folder / CARD_FILE).read_bytes()))
    return key


def signers(*keys: Ed25519PrivateKey, required: bool = True) -> Signers:
    return Signers([key.public_key() for key in keys], required=required)


def test_a_model_that_a_trusted_key_signed_is_used(folder: Path, key: Ed25519PrivateKey) -> None:
    other = Ed25519PrivateKey.generate()
    assert load_card(folder, signers(key)) == load_card(folder, signers(other, key)) == load_card(folder)


def test_a_model_that_another_key_signed_is_refused(folder: Path, key: Ed25519PrivateKey) -> None:
    for required in (True, False):
        with pytest.raises(UntrustedModel, match="none of the public keys made it"):
            load_card(folder, signers(Ed25519PrivateKey.generate(), required=required))


def test_any_change_of_a_signed_card_is_noticed(folder: Path, key: Ed25519PrivateKey) -> None:
    path = folder / CARD_FILE
    content = path.read_bytes()
    other = content.replace(b'"description": "', b'"description": "!')
    for changed in (content + b"\n", other, content[:-1], b"", b"{"):
        path.write_bytes(changed)
        with pytest.raises(UntrustedModel):
            load_card(folder, signers(key))


def test_a_signed_card_of_another_model_does_not_take_this_one_s_place(folder: Path, key: Ed25519PrivateKey) -> None:
    with pytest.raises(InvalidCard, match="names the model"):
        load_card(Path(shutil.copytree(folder, folder.with_name("other"))), signers(key))


@pytest.mark.parametrize("damage", ["truncate", "extend", "flip", "empty", "zeros", "text"])
def test_a_damaged_signature_is_refused(folder: Path, key: Ed25519PrivateKey, damage: str) -> None:
    path = folder / SIGNATURE_FILE
    good = path.read_bytes()
    path.write_bytes(
        {
            "truncate": good[:-1],
            "extend": good + b"\n",
            "flip": bytes([good[0] ^ 1]) + good[1:],
            "empty": b"",
            "zeros": bytes(64),
            "text": good.hex().encode(),
        }[damage]
    )
    with pytest.raises(UntrustedModel):
        load_card(folder, signers(key, required=False))


def test_an_unsigned_model_is_refused_only_where_signatures_are_required(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    load_card(folder, signers(key, required=False))
    with pytest.raises(UntrustedModel, match=f"'{folder.name}' is not signed: it has no {re.escape(SIGNATURE_FILE)}"):
        load_card(folder, signers(key))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_signature_that_is_no_regular_file_is_refused(folder: Path, key: Ed25519PrivateKey, make: object) -> None:
    path = folder / SIGNATURE_FILE
    path.unlink()
    assert callable(make)
    make(path)
    with pytest.raises(UntrustedModel, match="not a regular file"):
        load_card(folder, signers(key))


def test_openssl_makes_the_same_signatures(folder: Path, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(private_pem(key))
    command = f"openssl pkeyutl -sign -rawin -inkey key.pem -in {folder / CARD_FILE} -out {folder / SIGNATURE_FILE}"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    load_card(folder, signers(key))


def test_one_file_holds_several_keys(folder: Path, key: Ed25519PrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(b"# last year's\n" + pem(Ed25519PrivateKey.generate()) + b"# this year's\n" + pem(key))
    load_card(folder, Signers.read(path))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\n", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "damaged or of an unknown kind"),
        (private_pem(Ed25519PrivateKey.generate()), "holds a private key; give public keys alone"),
        (pem(Ed25519PrivateKey.generate()) + private_pem(Ed25519PrivateKey.generate()), "holds a private key"),
        (
            pem(generate_private_key(SECP256R1())),
            "not an Ed25519 key",
        ),
        (pem(Ed25519PrivateKey.generate()) * 1000, "over 65,536 bytes"),
    ],
)
def test_what_is_not_a_file_of_public_keys_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(content)
    with pytest.raises(InvalidKeyFile, match=complaint):
        Signers.read(path)


def test_a_missing_file_of_keys_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyFile, match="cannot be used: No such file"):
        Signers.read(tmp_path / "keys.pem")


def test_required_signatures_need_keys() -> None:
    assert read_signers(None, required=False) is None
    with pytest.raises(InvalidKeyFile, match="set model_keys_file"):
        read_signers(None, required=True)
