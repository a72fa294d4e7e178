"""TLS by the real server: it is the only protocol of its port, and its certificate changes without a restart."""

import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.service.launching import PATIENCE_S, ROOT, LaunchServer, wait_until

MakeCertificate = Callable[[str], tuple[Path, Path]]


def test_https_is_spoken_with_a_certificate(
    launch_server: LaunchServer,
    own_models_dir: Path,
    make_certificate: MakeCertificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificate, key = make_certificate("own")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = launch_server(own_models_dir, "--tls-certificate", str(certificate), "--tls-key", str(key))
    assert server.client.base_url.scheme == "https"
    assert server.client.get("/livez").json() == {"status": "alive"}
    monkeypatch.setenv("LATENTWIRE_PORT", str(server.address[1]))
    monkeypatch.setenv("LATENTWIRE_TLS_CERTIFICATE", str(certificate))
    probed = subprocess.run([sys.executable, "deploy/healthcheck.py"], cwd=ROOT, check=False)
    assert probed.returncode == 0
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{server.address[1]}/livez", timeout=PATIENCE_S)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_renewed_certificate_is_used_without_a_restart(
    launch_server: LaunchServer,
    models_dir: Path,
    make_certificate: MakeCertificate,
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
) -> None:
    certificate, key = make_certificate("first")
    newer, newer_key = make_certificate("second")
    old, new = certificate.read_text(), newer.read_text()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    files = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    server = launch_server(models_dir, "--default-model", "tiny", "--workers", workers, *files)

    def presented() -> set[str]:
        # With two workers, several connections reach both.
        return {ssl.get_server_certificate(server.address, timeout=PATIENCE_S) for _ in range(6)}

    def failures() -> int:
        return server.output().count("not a certificate and its key")

    assert presented() == {old}
    newer.replace(certificate)
    wait_until(lambda: failures() == int(workers), "each worker says that the key is missing")
    assert presented() == {old}
    newer_key.replace(key)
    wait_until(lambda: presented() == {new}, "the new certificate is presented")
    wait_until(lambda: server.output().count("were read again") == int(workers), "each worker has read it")
    key.write_text("bad")
    wait_until(lambda: failures() == 2 * int(workers), "each worker says that the key is bad")
    assert presented() == {new}
