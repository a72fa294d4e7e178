import getpass
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from latentwire.errors import UntrustedModel
from latentwire.model.any_size_card import TABLES_FILE, load_any_card
from latentwire.model.card import DECODER_FILE, load_card
from latentwire.model.signature import SIGNATURE_FILE, Signers
from training.cli.main import main

KEY = Ed25519PrivateKey.generate()


def write_key(
    path: Path,
    encryption: KeySerializationEncryption | None = None,
    key: Ed25519PrivateKey | X25519PrivateKey = KEY,
) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return path


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / tiny_model.name))


def test_signed_models_are_used_where_their_key_is_trusted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sign", str(folder), "--key", str(write_key(tmp_path / "key.pem"))]) == 0
    assert capsys.readouterr().out == f"signed {folder}: {SIGNATURE_FILE}\n"
    load_card(folder, Signers([KEY.public_key()]))


def test_a_model_for_images_of_any_size_is_signed_with_all_its_files(
    any_size_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(any_size_model, tmp_path / any_size_model.name))
    command = ["sign", str(folder), "--key", str(write_key(tmp_path / "key.pem"))]
    assert main(command) == 0
    load_any_card(folder, Signers([KEY.public_key()]))
    with pytest.raises(UntrustedModel):
        load_any_card(folder, Signers([Ed25519PrivateKey.generate().public_key()]))
    (folder / TABLES_FILE).write_bytes(b"x")
    assert main(command) == 1
    assert "tables.json of model" in capsys.readouterr().err


def test_an_encrypted_key_asks_for_its_passphrase(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_key(tmp_path / "key.pem", BestAvailableEncryption(b"open sesame"))
    for passphrase, code in (("open sesame", 0), ("wrong", 1), ("", 1)):
        monkeypatch.setattr(getpass, "getpass", lambda _prompt, given=passphrase: given)
        assert main(["sign", str(folder), "--key", str(path)]) == code
    assert "its passphrase is another one" in capsys.readouterr().err


def test_a_damaged_model_is_not_signed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / DECODER_FILE).write_bytes(b"x")
    assert main(["sign", str(folder), "--key", str(write_key(tmp_path / "key.pem"))]) == 1
    assert "decoder.onnx of model 'tiny' has 1 bytes" in capsys.readouterr().err
    assert not (folder / SIGNATURE_FILE).exists()


def test_what_is_not_a_private_key_is_told_of(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.pem"
    text.write_text("no key")
    for path, complaint in (
        (text, "is no private key in PEM format"),
        (tmp_path / "missing.pem", "cannot be used: No such file"),
        (write_key(tmp_path / "x25519.pem", key=X25519PrivateKey.generate()), "is not an Ed25519 key"),
    ):
        assert main(["sign", str(folder), "--key", str(path)]) == 1
        assert complaint in capsys.readouterr().err
    assert not (folder / SIGNATURE_FILE).exists()
