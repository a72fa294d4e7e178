"""The certificate that TLS is spoken with, from its files; read again when they have changed.

Paths enter; an `SSLContext` leaves, whose certificate changes in place. HTTP is not known here.
"""

import logging
import os
import ssl
from pathlib import Path

from service.errors import StartupRefused
from service.settings import Settings

_log = logging.getLogger(__name__)


class Certificate:
    """A certificate and its key. Used from one event loop.

    What goes wrong after the start is logged once, and the last good certificate stays.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read the files.

        Raises:
            StartupRefused: they cannot be read, or are not a certificate and its key.
        """
        self._certificate = certificate
        self._key = key
        self._stamp = self._look_at_files()
        self.context = _new_context()
        self._read_into(self.context)
        self._fault = ""

    def renew(self) -> None:
        """Read the files again if they have changed. New connections then get the new certificate."""
        stamp = self._look_at_files()
        if stamp == self._stamp:
            return
        try:
            # A certificate that came without its key would spoil the context that is in use.
            self._read_into(_new_context())
            self._read_into(self.context)
        except StartupRefused as refused:
            # Not noted as seen: of two files, the second may yet come.
            if str(refused) != self._fault:
                self._fault = str(refused)
                _log.error("%s; the certificate of before stays in use", refused)
        else:
            self._stamp, self._fault = stamp, ""
            _log.warning("the certificate in '%s' was read again", self._certificate)

    def _look_at_files(self) -> list[tuple[int, int, int] | None]:
        return [_stamp_of(path) for path in (self._certificate, self._key) if path is not None]

    def _read_into(self, context: ssl.SSLContext) -> None:
        try:
            # With no password given, an encrypted key would be asked for at the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except OSError as error:
            reason = (
                "not a certificate and its key, in PEM and not encrypted"
                if isinstance(error, ssl.SSLError)
                else os.strerror(error.errno or 0)
            )
            paths = (self._certificate, self._key)
            files = " and ".join(f"'{path}'" for path in paths if path is not None)
            raise StartupRefused(f"TLS cannot be spoken with {files}: {reason}") from error


def open_certificate(settings: Settings) -> Certificate | None:
    """Return the certificate of the settings; None if TLS is not spoken.

    Raises:
        StartupRefused: its files cannot be read or do not go together, or there is a key alone.
    """
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise StartupRefused("the setting tls_key goes with tls_certificate, which is not set")
        return None
    return Certificate(settings.tls_certificate, settings.tls_key)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
