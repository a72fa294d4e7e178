"""Signs published models with an Ed25519 private key; `latentwire.model.signature` describes the signature."""

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from latentwire.errors import InvalidKeyFile
from latentwire.model.any_size_card import ENTROPY_FILE, REFINER_FILE, TABLES_FILE, read_any_card
from latentwire.model.card import DECODER_FILE, ENCODER_FILE, GraphFile, read_card_text
from latentwire.model.model_files import read_file
from latentwire.model.signature import SIGNATURE_FILE, read_key_file
from training.atomic import write_atomically

# The files that a card names by their SHA-256, by its fields.
_FILES = {"encoder": ENCODER_FILE, "decoder": DECODER_FILE, "entropy": ENTROPY_FILE, "tables": TABLES_FILE}


def read_private_key(path: Path, ask_passphrase: Callable[[], bytes]) -> Ed25519PrivateKey:
    """Read a PEM file of an Ed25519 private key.

    Args:
        path: of the file.
        ask_passphrase: returns the passphrase; called only if the key is encrypted.

    Raises:
        InvalidKeyFile: the file cannot be read, or holds no such key, or the passphrase is wrong.
    """
    content = read_key_file(path)
    try:
        try:
            key = load_pem_private_key(content, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(content, ask_passphrase())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidKeyFile(f"'{path}' is no private key in PEM format, or its passphrase is another one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidKeyFile(f"'{path}' is not an Ed25519 key; make one with `openssl genpkey -algorithm ed25519`")
    return key


def sign_model(folder: Path, key: Ed25519PrivateKey) -> Path:
    """Write `folder/card.json.sig`, after checking the files that the card names; return its path.

    Raises:
        ModelError: the card is not valid, or a file is missing or is not the one in the card. Nothing is signed.
        CannotWrite: the signature cannot be written.
    """
    content = read_card_text(folder)
    card = read_any_card(content, folder.name)
    for field, file in _FILES.items():
        if isinstance(expected := getattr(card, field, None), GraphFile):
            read_file(folder / file, expected)
    if (refinement := getattr(card, "refinement", None)) is not None:
        read_file(folder / REFINER_FILE, refinement.graph)
    path = folder / SIGNATURE_FILE
    write_atomically(path, key.sign(content))
    return path
