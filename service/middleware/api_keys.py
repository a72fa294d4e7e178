"""API keys, from a file or a variable: their digests, and what each one opens.

A text enters; `Keys` leave, which tell whose a sent key is. A file is read again when it has changed. Only digests
are kept, so that no key can come into a log, an error or a dump of this process's objects. HTTP is not known here.
"""

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

from service.errors import StartupRefused
from service.file_watcher import FileWatcher
from service.settings import Role, Settings

MAX_KEYS = 100
MAX_FILE_BYTES = 1 << 16
# What may follow `Bearer` in RFC 6750, in a length that can be neither guessed nor an accident.
_ENTRY = re.compile(r"(?:(both|sender|receiver):)?([A-Za-z0-9._~+/-]{20,256}=*)")


class Keys:
    """All keys of one moment."""

    def __init__(self, holders: dict[bytes, Role]) -> None:
        self._holders = tuple(holders.items())

    def role_of(self, key: bytes) -> Role | None:
        """Return whose key this is, or None if it is nobody's. Takes as long for each key."""
        digest = hashlib.sha256(key).digest()
        found = None
        for known, holder in self._holders:
            if hmac.compare_digest(known, digest):
                found = holder
        return found


def open_keys(settings: Settings) -> Callable[[], Keys] | None:
    """Return what gives the keys that are valid at this moment; None if none are asked for.

    Raises:
        StartupRefused: the file cannot be read, or what is given holds no key, a bad one, or one twice.
    """
    if settings.api_keys is not None and settings.api_keys_file is not None:
        raise StartupRefused("keys are given by api_keys and by api_keys_file; choose one of them")
    if settings.api_keys_file is not None:
        path = settings.api_keys_file
        return FileWatcher([path], lambda: _read_file(path), "keys").current
    if settings.api_keys is not None:
        keys = read_keys(settings.api_keys.get_secret_value(), "the setting api_keys")
        return lambda: keys
    return None


def read_keys(text: str, source: str) -> Keys:
    """Read keys that are separated by blanks or line breaks; from `#` to the end of a line is a comment.

    Args:
        text: entries `KEY`, which opens all routes, `sender:KEY` or `receiver:KEY`.
        source: what errors call it.

    Raises:
        StartupRefused: no key, more than 100, one that is too short or has other characters, or one twice.
    """
    entries = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    if not entries:
        raise StartupRefused(f"{source} holds no key")
    if len(entries) > MAX_KEYS:
        raise StartupRefused(f"{source} holds {len(entries)} keys; {MAX_KEYS} are allowed")
    holders: dict[bytes, Role] = {}
    for number, entry in enumerate(entries, start=1):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise StartupRefused(
                f"key {number} in {source} is none: it takes 20 to 256 of the characters A-Z a-z 0-9 . _ ~ + / -, "
                "alone or after 'sender:' or 'receiver:'"
            )
        digest = hashlib.sha256(found[2].encode()).digest()
        if digest in holders:
            raise StartupRefused(f"key {number} in {source} has been given before")
        holders[digest] = cast(Role, found[1] or "both")
    return Keys(holders)


def _read_file(path: Path) -> Keys:
    try:
        # A pipe would make every request wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise StartupRefused(f"the key file '{path}' is not a regular file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StartupRefused(f"the key file '{path}' cannot be read: {os.strerror(error.errno or 0)}") from error
    if len(content) > MAX_FILE_BYTES:
        raise StartupRefused(f"the key file '{path}' is longer than {MAX_FILE_BYTES:,} bytes")
    # Only comments may have more than ASCII.
    return read_keys(content.decode("utf-8", "replace"), f"the key file '{path}'")
