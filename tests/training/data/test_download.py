"""Downloads from servers on 127.0.0.1 that misbehave as asked."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from training.data.download import RETRIES, download_mnist
from training.data.mnist import DataFile
from training.errors import CannotWrite, DownloadFailed

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, mtime=0)
FILES = {"images": DataFile(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), hashlib.sha256(PACKED).hexdigest())}


class Mirror(ThreadingHTTPServer):
    """Serves `images.gz`, and counts the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = PACKED
        self.statuses: list[int] = []  # statuses of the first responses, in place of the file
        self.sent_bytes: list[int] = []  # bytes after which the first responses break off
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/mnist/"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        mirror.requests += 1
        if mirror.statuses:
            self.send_error(mirror.statuses.pop(0))
            return
        if self.path != "/mnist/images.gz":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(mirror.content)))
        self.end_headers()
        self.wfile.write(mirror.content[: mirror.sent_bytes.pop(0)] if mirror.sent_bytes else mirror.content)
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once, and without a proxy."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda _seconds: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mirrors() -> Iterator[tuple[Mirror, Mirror]]:
    servers = Mirror(), Mirror()
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    yield servers
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


def _download(data_dir: Path, *mirrors: Mirror) -> list[str]:
    return list(download_mnist(data_dir, [mirror.url for mirror in mirrors], FILES))


def _names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "mnist").iterdir())


def test_a_file_is_downloaded_once(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, second = mirrors
    assert _download(tmp_path, first, second) == [f"images.gz: downloaded from {first.url}, SHA-256 right"]
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED
    assert _names(tmp_path) == ["images.gz"]
    assert _download(tmp_path, first, second) == ["images.gz: already there, SHA-256 right"]
    assert (first.requests, second.requests) == (1, 0)


@pytest.mark.parametrize(("name", "content"), [("images", CONTENT), ("images.gz", gzip.compress(CONTENT, 1, mtime=7))])
def test_a_file_of_the_right_content_needs_no_download(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror], name: str, content: bytes
) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / name).write_bytes(content)
    assert _download(tmp_path, mirrors[0]) == [f"{name}: already there, SHA-256 right"]
    assert mirrors[0].requests == 0


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_damaged_file_is_downloaded_again(tmp_path: Path, mirrors: tuple[Mirror, Mirror], name: str) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / name).write_bytes(b"damaged")
    (line,) = _download(tmp_path, mirrors[0])
    assert line.endswith("in place of a damaged one")
    assert _names(tmp_path) == ["images.gz"]
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_damaged_file_stays_until_a_mirror_gives_a_better_one(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror], name: str
) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / name).write_bytes(b"damaged")
    mirrors[0].statuses = [404] * (1 + RETRIES)
    with pytest.raises(DownloadFailed):
        _download(tmp_path, mirrors[0])
    assert _names(tmp_path) == [name]


def test_a_truncated_download_and_an_overloaded_server_are_tried_again(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, second = mirrors
    first.statuses, first.sent_bytes = [503], [100_000]
    _download(tmp_path, first, second)
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED
    assert (first.requests, second.requests) == (3, 0)


def test_a_file_of_another_content_is_taken_from_the_next_mirror(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, second = mirrors
    first.content = PACKED[:1000] + bytes([PACKED[1000] ^ 1]) + PACKED[1001:]
    assert _download(tmp_path, first, second) == [f"images.gz: downloaded from {second.url}, SHA-256 right"]
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED
    assert _names(tmp_path) == ["images.gz"]


def test_the_failure_of_all_mirrors_is_one_sentence_with_each_reason(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, second = mirrors
    first.statuses, second.content = [404] * (1 + RETRIES), gzip.compress(CONTENT[::-1])
    with pytest.raises(DownloadFailed) as caught:
        _download(tmp_path, first, second)
    message = str(caught.value)
    assert message.startswith("no mirror gives images.gz (")
    assert f"{first.url}: 404 Client Error" in message
    assert f"{second.url}: SHA256 hash of downloaded file" in message
    assert "\n" not in message
    assert _names(tmp_path) == []


def test_an_unreachable_server_and_an_invalid_address_are_skipped(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, _ = mirrors
    lines = list(download_mnist(tmp_path, ["http://127.0.0.1:1/", "nonsense", first.url], FILES))
    assert lines == [f"images.gz: downloaded from {first.url}, SHA-256 right"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite, match="cannot be written"):
        list(download_mnist(tmp_path / "file", [], FILES))
