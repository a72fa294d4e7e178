"""API keys, from a file or a variable: their SHA-256 digests, and the role that each key opens.

A changed file is read again. Only digests are kept, so no key can get into a log, an error message or a memory dump.
"""

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

from latentwire.file_watcher import FileWatcher
from service.errors import StartupRefused
from service.settings import Role, Settings

MAX_KEYS = 100
MAX_FILE_BYTES = 1 << 16
# The characters that RFC 6750 allows after `Bearer`; at least 20 of them, so that a key cannot be guessed.
_ENTRY = re.compile(r"(?:(both|sender|receiver):)?([A-Za-z0-9._~+/-]{20,256}=*)")


# The role of each key that is valid at one moment, by the SHA-256 digest of the key.
Keys = dict[bytes, Role]


def role_of(key: bytes, keys: Keys) -> Role | None:
    """Return the role that `key` opens, None if the key is not valid. The time does not depend on the key."""
    digest = hashlib.sha256(key).digest()
    found = [role for known, role in keys.items() if hmac.compare_digest(known, digest)]
    return found[0] if found else None


def open_keys(settings: Settings) -> Callable[[], Keys] | None:
    """Return a function that gives the keys valid at the moment; None if the settings have no keys.

    Raises:
        StartupRefused: the file cannot be read, or the keys are not what `read_keys` takes.
    """
    text, path = settings.api_keys, settings.api_keys_file
    if text is not None and path is not None:
        raise StartupRefused("keys are given by api_keys and by api_keys_file; choose one of them")
    if path is not None:
        return FileWatcher([path], lambda: _read_file(path), "keys").current
    if text is not None:
        keys = read_keys(text.get_secret_value(), "the setting api_keys")
        return lambda: keys
    return None


def read_keys(text: str, source: str) -> Keys:
    """Return the keys in `text`, separated by blanks or line breaks; `#` starts a comment to the end of the line.

    Args:
        text: entries `KEY`, which opens all routes, `sender:KEY` or `receiver:KEY`.
        source: name of the text in error messages.

    Raises:
        StartupRefused: no key, more than `MAX_KEYS`, an invalid key, or one twice.
    """
    entries = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    if not entries:
        raise StartupRefused(f"{source} holds no key")
    if len(entries) > MAX_KEYS:
        raise StartupRefused(f"{source} holds {len(entries)} keys; {MAX_KEYS} are allowed")
    keys: Keys = {}
    for number, entry in enumerate(entries, start=1):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise StartupRefused(
                f"key {number} in {source} is invalid: a key has 20 to 256 of the characters A-Z a-z 0-9 . _ ~ + / -, "
                "alone or after 'sender:' or 'receiver:'"
            )
        digest = hashlib.sha256(found[2].encode()).digest()
        if digest in keys:
            raise StartupRefused(f"key {number} in {source} is a duplicate; remove it")
        keys[digest] = cast(Role, found[1] or "both")
    return keys


def _read_file(path: Path) -> Keys:
    try:
        # Reading a pipe would block every request until its writer comes.
        if not stat.S_ISREG(path.stat().st_mode):
            raise StartupRefused(f"the key file '{path}' is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StartupRefused(f"the key file '{path}' cannot be read: {os.strerror(error.errno or 0)}") from error
    if len(content) > MAX_FILE_BYTES:
        raise StartupRefused(f"the key file '{path}' is longer than {MAX_FILE_BYTES:,} bytes")
    # Only comments may hold more than ASCII.
    return read_keys(content.decode("utf-8", "replace"), f"the key file '{path}'")
