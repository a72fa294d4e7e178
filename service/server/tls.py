"""The certificate for TLS, read again when its files have changed."""

import asyncio
import os
import ssl
from pathlib import Path

from latentwire.file_watcher import CHECK_EVERY_S, FileWatcher
from service.errors import StartupRefused
from service.settings import Settings


class Certificate:
    """A certificate and its key. The certificate of `context` changes in place. Used from one event loop."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read the files.

        Args:
            certificate: PEM file of the certificate and of those between it and the root.
            key: PEM file of its key; None if the certificate's file holds it.

        Raises:
            StartupRefused: they cannot be read, or are not a certificate and its key.
        """
        self._certificate, self._key = certificate, key
        self.context = _new_context()
        paths = [path for path in (certificate, key) if path is not None]
        self._files = FileWatcher(paths, self._read, "certificate and key")

    async def keep_current(self) -> None:
        """Read the files again whenever they change. New connections then get the new certificate."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            self._files.current()

    def _read(self) -> None:
        # A certificate without its key would spoil the context that is in use, so another one reads them first.
        for context in (_new_context(), self.context):
            try:
                # Without a password, OpenSSL would ask for that of an encrypted key at the terminal.
                context.load_cert_chain(self._certificate, self._key, password="")
            except OSError as error:
                reason = (
                    "not a certificate and its key, in PEM and not encrypted"
                    if isinstance(error, ssl.SSLError)
                    else os.strerror(error.errno or 0)
                )
                files = " and ".join(f"'{path}'" for path in (self._certificate, self._key) if path is not None)
                raise StartupRefused(f"TLS is not possible with {files}: {reason}") from error


def open_certificate(settings: Settings) -> Certificate | None:
    """Return the certificate of the settings; None for plain HTTP.

    Raises:
        StartupRefused: its files cannot be read or do not go together, or there is only a key.
    """
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise StartupRefused("the setting tls_key needs tls_certificate; set both, or neither")
        return None
    return Certificate(settings.tls_certificate, settings.tls_key)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
