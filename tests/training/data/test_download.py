"""Downloads from servers on 127.0.0.1 that misbehave as asked."""

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tenacity

from training.data.download import download_mnist
from training.data.mnist import DataFile
from training.errors import CannotWrite, DownloadFailed

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, mtime=0)
FILES = {"images": DataFile(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))}
NO_WAIT = tenacity.wait_none()


class Mirror(ThreadingHTTPServer):
    """Serves `images.gz`, and keeps a record of the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = PACKED
        self.etag = '"one"'
        self.ranges = True
        self.told_length = True
        self.statuses: list[int] = []  # answered to the first requests, instead of the file
        self.cut_after: list[int] = []  # bytes after which the first responses break off
        self.requests: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/mnist/"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        mirror = self.server
        mirror.requests.append({key: value for key, value in self.headers.items() if "ange" in key})
        if mirror.statuses:
            self.send_error(mirror.statuses.pop(0))
            return
        if self.path != "/mnist/images.gz":
            self.send_error(404)
            return
        start, status = 0, 200
        fresh = self.headers.get("If-Range") in (None, mirror.etag)
        if mirror.ranges and fresh and (asked := self.headers.get("Range")):
            start, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(mirror.content):
                self.send_error(416)
                return
        body = mirror.content[start:]
        self.send_response(status)
        if mirror.told_length:
            self.send_header("Content-Length", str(len(body)))
        if status == 206:
            total = len(mirror.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if mirror.etag:
            self.send_header("ETag", mirror.etag)
        self.end_headers()
        self.wfile.write(body[: mirror.cut_after.pop(0)] if mirror.cut_after else body)
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Mirror, Mirror]]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
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
    return list(download_mnist(data_dir, [mirror.url for mirror in mirrors], FILES, NO_WAIT))


def _names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "mnist").iterdir())


def test_a_good_file_is_brought_once(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, second = mirrors
    assert _download(tmp_path, first, second) == [f"images.gz: downloaded from {first.url}, SHA-256 right"]
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED
    assert _names(tmp_path) == ["images.gz"]
    assert _download(tmp_path, first, second) == ["images.gz: already there, SHA-256 right"]
    assert (len(first.requests), len(second.requests)) == (1, 0)


def test_a_plain_file_that_is_right_needs_no_download(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "images").write_bytes(CONTENT)
    assert _download(tmp_path, mirrors[0]) == ["images: already there, SHA-256 right"]
    assert mirrors[0].requests == []


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_damaged_file_is_brought_anew(tmp_path: Path, mirrors: tuple[Mirror, Mirror], name: str) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / name).write_bytes(b"damaged")
    (line,) = _download(tmp_path, mirrors[0])
    assert line.endswith("in place of a damaged one")
    assert _names(tmp_path) == ["images.gz"]


def test_a_damaged_file_stays_while_there_is_no_better_one(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "images").write_bytes(b"damaged")
    mirrors[0].statuses = [404]
    with pytest.raises(DownloadFailed):
        _download(tmp_path, mirrors[0])
    assert _names(tmp_path) == ["images"]


def test_a_truncated_download_goes_on_where_it_stopped(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, second = mirrors
    first.cut_after = [100_000, 50_000]
    _download(tmp_path, first, second)
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED
    assert first.requests[1:] == [
        {"Range": "bytes=100000-", "If-Range": '"one"'},
        {"Range": "bytes=150000-", "If-Range": '"one"'},
    ]
    assert second.requests == []


def test_a_later_run_goes_on_where_an_earlier_one_stopped(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, _ = mirrors
    first.cut_after = [60_000, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        _download(tmp_path, first)
    assert _names(tmp_path) == ["images.gz.part", "images.gz.part.json"]
    first.requests.clear()
    _download(tmp_path, first)
    assert first.requests == [{"Range": "bytes=60000-", "If-Range": '"one"'}]
    assert _names(tmp_path) == ["images.gz"]


def test_a_server_without_ranges_is_asked_for_the_whole_again(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, _ = mirrors
    first.cut_after, first.ranges = [100_000], False
    _download(tmp_path, first)
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED


def test_a_file_that_changed_in_between_is_not_put_together_of_two(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, _ = mirrors
    first.cut_after = [100_000, 0, 0, 0, 0]
    with pytest.raises(DownloadFailed):
        _download(tmp_path, first)
    first.content, first.etag = gzip.compress(CONTENT, compresslevel=1, mtime=7), '"two"'
    _download(tmp_path, first)
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == first.content


def test_a_size_that_changed_in_between_starts_again_without_an_etag(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, _ = mirrors
    first.cut_after, first.etag = [100_000, 0, 0, 0, 0], ""
    with pytest.raises(DownloadFailed):
        _download(tmp_path, first)
    first.content = PACKED + gzip.compress(b"")  # the same bytes, unpacked
    _download(tmp_path, first)
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == first.content


def test_a_part_beyond_the_end_of_the_file_starts_again(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, _ = mirrors
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "images.gz.part").write_bytes(PACKED + b"more")
    note = {"url": f"{first.url}images.gz", "version": '"one"', "total_bytes": None}
    (tmp_path / "mnist" / "images.gz.part.json").write_text(json.dumps(note))
    _download(tmp_path, first)
    assert [request.get("Range") for request in first.requests] == [f"bytes={len(PACKED) + 4}-", None]
    assert _names(tmp_path) == ["images.gz"]


@pytest.mark.parametrize("note", ["", "[1]", '{"url": 1}', '{"url": "http://other/", "version": "", "total_bytes": 9}'])
def test_a_part_of_unknown_origin_is_not_continued(tmp_path: Path, mirrors: tuple[Mirror, Mirror], note: str) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "images.gz.part").write_bytes(b"something")
    (tmp_path / "mnist" / "images.gz.part.json").write_text(note)
    _download(tmp_path, mirrors[0])
    assert mirrors[0].requests == [{}]
    assert _names(tmp_path) == ["images.gz"]


def test_a_corrupted_file_is_taken_from_the_next_mirror(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, second = mirrors
    first.content = PACKED[:1000] + bytes([PACKED[1000] ^ 1]) + PACKED[1001:]
    assert _download(tmp_path, first, second) == [f"images.gz: downloaded from {second.url}, SHA-256 right"]
    assert (tmp_path / "mnist" / "images.gz").read_bytes() == PACKED


def test_whole_content_that_is_another_file_is_not_taken(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    mirrors[0].content = gzip.compress(CONTENT[::-1])
    with pytest.raises(DownloadFailed, match="its content is not what it should be"):
        _download(tmp_path, mirrors[0])
    assert _names(tmp_path) == []


def test_a_mirror_without_the_file_is_passed_over_at_once(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, second = mirrors
    first.statuses = [404]
    _download(tmp_path, first, second)
    assert (len(first.requests), len(second.requests)) == (1, 1)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_overloaded_server_is_asked_again(tmp_path: Path, mirrors: tuple[Mirror, Mirror], status: int) -> None:
    first, second = mirrors
    first.statuses = [status, status]
    _download(tmp_path, first, second)
    assert (len(first.requests), len(second.requests)) == (3, 0)


@pytest.mark.parametrize("told_length", [True, False])
def test_a_file_without_end_is_not_stored(tmp_path: Path, mirrors: tuple[Mirror, Mirror], told_length: bool) -> None:
    mirrors[0].content, mirrors[0].told_length = bytes(2_000_000), told_length
    with pytest.raises(DownloadFailed, match="than it should"):
        _download(tmp_path, mirrors[0])
    assert _names(tmp_path) == []


def test_an_untold_end_is_found_by_the_hash(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, second = mirrors
    first.told_length, first.cut_after = False, [100_000]
    assert _download(tmp_path, first, second) == [f"images.gz: downloaded from {second.url}, SHA-256 right"]


def test_the_failure_of_all_mirrors_is_one_sentence_with_each_reason(
    tmp_path: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, second = mirrors
    first.statuses, second.statuses = [404], [500] * 5
    with pytest.raises(DownloadFailed) as caught:
        _download(tmp_path, first, second)
    message = str(caught.value)
    assert message.startswith("no mirror gives images.gz (")
    assert f"{first.url}images.gz: the server answers 404" in message
    assert f"{second.url}images.gz: the server answers 500" in message
    assert "\n" not in message
    assert len(second.requests) == 5


def test_a_server_that_is_not_there_is_a_failure_like_others(tmp_path: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    first, _ = mirrors
    lines = list(download_mnist(tmp_path, ["http://127.0.0.1:1/", "nonsense", first.url], FILES, NO_WAIT))
    assert lines == [f"images.gz: downloaded from {first.url}, SHA-256 right"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite, match="cannot be written"):
        list(download_mnist(tmp_path / "file", [], FILES, NO_WAIT))
