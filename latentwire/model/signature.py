"""Ed25519 signatures of model cards: 64 bytes in `card.json.sig`, beside `card.json`.

A card names the model's other files by their SHA-256, so that a signature of its bytes covers the whole model, also in
a folder that holds only one half of it. `openssl pkeyutl -sign -rawin` makes the same signatures as
`python -m training sign`.
"""

import errno
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from latentwire.errors import InvalidKeyFile, UntrustedModel

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE_FILE = "card.json.sig"
SIGNATURE_BYTES = 64
MAX_KEY_FILE_BYTES = 64 << 10

_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


class Signers:
    """Those whose models are used: their public keys, and whether models without a signature are refused."""

    def __init__(self, keys: "Sequence[Ed25519PublicKey]", *, required: bool = True) -> None:
        self._keys = tuple(keys)
        self._required = required

    @classmethod
    def read(cls, path: Path, *, required: bool = True) -> Self:
        """Read a PEM file of one or more Ed25519 public keys.

        Raises:
            InvalidKeyFile: the file cannot be read, or holds anything else than such keys, or no key;
                or the package `cryptography` is missing.
        """
        try:
            from cryptography.exceptions import UnsupportedAlgorithm
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ImportError as error:
            raise InvalidKeyFile(
                "signatures of models need the package cryptography; install latentwire[signing]"
            ) from error
        keys = []
        for block in _PEM.finditer(read_key_file(path)):
            if block[1] != b"PUBLIC KEY":
                raise InvalidKeyFile(f"'{path}' holds a {block[1].decode().lower()}; give public keys alone")
            try:
                key = load_pem_public_key(block[0])
            except (ValueError, UnsupportedAlgorithm) as error:
                raise InvalidKeyFile(f"a key in '{path}' is damaged or of an unknown kind") from error
            if not isinstance(key, Ed25519PublicKey):
                raise InvalidKeyFile(f"'{path}' holds a key that is not an Ed25519 key")
            keys.append(key)
        if not keys:
            raise InvalidKeyFile(f"'{path}' holds no public key in PEM format")
        return cls(keys, required=required)

    def check(self, folder: Path, card: bytes) -> None:
        """Check the signature in `folder` of the content of its `card.json`.

        Raises:
            UntrustedModel: the signature is of other bytes or by another key, cannot be read, or is missing although
                it is required.
        """
        from cryptography.exceptions import InvalidSignature

        signature = self._read_signature(folder)
        if signature is None:
            return
        for key in self._keys:
            try:
                key.verify(signature, card)
            except InvalidSignature:
                continue
            return
        raise UntrustedModel(
            f"the signature of model '{folder.name}' does not belong to its card, or none of the public keys made it"
        )

    def _read_signature(self, folder: Path) -> bytes | None:
        try:
            return _read_file(folder / SIGNATURE_FILE, SIGNATURE_BYTES)
        except FileNotFoundError as error:
            if not self._required:
                return None
            raise UntrustedModel(
                f"model '{folder.name}' is not signed: it has no {SIGNATURE_FILE}; sign it, or allow unsigned models"
            ) from error
        except OSError as error:
            raise UntrustedModel(
                f"{SIGNATURE_FILE} of model '{folder.name}' cannot be used: {error.strerror}"
            ) from error


def read_signers(path: Path | None, *, required: bool) -> Signers | None:
    """Return the signers whose public keys are in `path`; None if there are no keys and none are required.

    Raises:
        InvalidKeyFile: see `Signers.read`; or signatures are required and `path` is None.
    """
    if path is not None:
        return Signers.read(path, required=required)
    if required:
        raise InvalidKeyFile("signed models are required, but no public keys are given; set model_keys_file")
    return None


def read_key_file(path: Path) -> bytes:
    """Return the content of a file of keys.

    Raises:
        InvalidKeyFile: it cannot be read, is a pipe or a device, or is over 64 KiB.
    """
    try:
        return _read_file(path, MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise InvalidKeyFile(f"the key file '{path}' cannot be used: {error.strerror}") from error


def _read_file(path: Path, max_bytes: int) -> bytes:
    if path.exists() and not path.is_file():
        # Opening a pipe would wait for someone who writes.
        raise OSError(errno.EINVAL, "it is not a regular file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is over {max_bytes:,} bytes")
    return content
