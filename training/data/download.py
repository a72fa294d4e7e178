"""Public mirrors -> the data set's files in a folder, each whole and right, or not there.

A file is streamed into `NAME.gz.part`, with a note of where it comes from beside it, so that a download that broke off
goes on where it stopped, even in a later run. It gets its own name once its unpacked bytes have the right SHA-256.
Knows what the files should hold from `training.data.mnist`, and nothing of images.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import tenacity
from tqdm import tqdm

from training.atomic import write_atomically
from training.data.mnist import FILES, FOLDER, DataFile, verified_bytes
from training.errors import CannotWrite, CorruptData, DownloadFailed

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

TIMEOUT_S = 30.0
ATTEMPTS = 5

# gzip never makes a file longer than this.
_GZIP_OVERHEAD_BYTES = 1 << 16

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _Transient(Exception):
    """Something that may be better in a moment: the connection broke off, or the server is overloaded."""


class _Refused(Exception):
    """This mirror does not give the file."""


class _Note(NamedTuple):
    """Where the bytes of a `.part` come from: a file may be continued only by the same version of itself."""

    url: str
    version: str
    total_bytes: int | None


def download_mnist(
    data_dir: Path,
    mirrors: Sequence[str] = MIRRORS,
    files: Mapping[str, DataFile] = FILES,
    wait: tenacity.wait.wait_base | None = None,
) -> Iterator[str]:
    """Bring the files into `data_dir/mnist`, and give one line about each as it is done.

    Args:
        data_dir: made if it is not there.
        mirrors: addresses of folders that hold the files, tried in turn for each file.
        files: what to bring.
        wait: between attempts at one mirror; by default growing from one second, with jitter.

    Raises:
        DownloadFailed: no mirror gave a file whole and right. What was brought before stays.
        CannotWrite: the disk is full, or the folder read-only.
    """
    folder = data_dir / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
            for name, expected in files.items():
                yield _bring(client, folder, name, expected, mirrors, wait or tenacity.wait_exponential_jitter(max=20))
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written: {error.strerror}") from error


def _bring(
    client: httpx.Client,
    folder: Path,
    name: str,
    expected: DataFile,
    mirrors: Sequence[str],
    wait: tenacity.wait.wait_base,
) -> str:
    target = folder / f"{name}.gz"
    present = [path for path in (folder / name, target) if path.is_file()]
    for path in present:
        if _is_right(path, expected):
            return f"{path.name}: already there, SHA-256 right"
    failures = []
    part, note = folder / f"{name}.gz.part", folder / f"{name}.gz.part.json"
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        try:
            _fetch_with_retries(client, url, part, note, expected, wait)
        except _Transient as error:
            failures.append(f"{url}: {error}")  # a later run may go on with what has come
            continue
        except _Refused as error:
            failures.append(f"{url}: {error}")
            _forget(part, note)
            continue
        if not _is_right(part, expected):
            failures.append(f"{url}: its content is not what it should be")
            _forget(part, note)
            continue
        part.replace(target)
        note.unlink(missing_ok=True)
        if folder / name in present:
            (folder / name).unlink()  # damaged, and it would be read instead
        return f"{target.name}: downloaded from {mirror}, SHA-256 right{', in place of a damaged one' * bool(present)}"
    raise DownloadFailed(f"no mirror gives {name}.gz ({'; '.join(failures)})")


def _is_right(path: Path, expected: DataFile) -> bool:
    try:
        verified_bytes(path, expected)
    except CorruptData:
        return False
    return True


def _fetch_with_retries(
    client: httpx.Client, url: str, part: Path, note: Path, expected: DataFile, wait: tenacity.wait.wait_base
) -> None:
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Transient),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=wait,
        reraise=True,
    )
    for attempt in retrying:
        with attempt:
            _fetch(client, url, part, note, expected.unpacked_bytes + _GZIP_OVERHEAD_BYTES)


def _fetch(client: httpx.Client, url: str, part: Path, note: Path, max_bytes: int) -> None:
    """Make one request for what `part` lacks of the file at `url`, and write it there.

    Raises:
        _Transient: to be tried again; what has come so far is in `part`.
        _Refused: not to be had there.
    """
    have, before = _resumable(part, note, url)
    if before and before.total_bytes == have:
        return
    headers = {}
    if before and have:
        headers["Range"] = f"bytes={have}-"
        if before.version:
            headers["If-Range"] = before.version
    try:
        with client.stream("GET", url, headers=headers) as response:
            start, total = _accept(response, part, note, have, before, max_bytes)
            # The ETag if it is one that allows to continue byte by byte, else the date.
            tag = response.headers.get("ETag", "")
            version = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
            if not start:
                part.unlink(missing_ok=True)  # never the bytes of one version beside the note of another
            write_atomically(note, json.dumps(_Note(url, version, total)._asdict()).encode())
            _receive(response, part, start, total, max_bytes)
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise _Transient(f"the connection failed ({type(error).__name__})") from error
    except httpx.HTTPError as error:
        raise _Refused(f"not to be had ({type(error).__name__})") from error
    except httpx.InvalidURL as error:
        raise _Refused("not an address") from error


def _accept(
    response: httpx.Response, part: Path, note: Path, have: int, before: _Note | None, max_bytes: int
) -> tuple[int, int | None]:
    """Return the byte from which the response goes on, and the size of the whole file if it is told."""
    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        raise _Transient(f"the server answers {status}")
    start, total = 0, None
    if status == 206:
        told = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if told is not None:
            start, total = int(told[1]), None if told[2] == "*" else int(told[2])
        if told is None or start != have or (before and before.total_bytes not in (None, total)):
            _forget(part, note)
            raise _Transient("the file changed on the server")
    elif status == 416:
        _forget(part, note)
        raise _Transient("the file changed on the server")
    elif status == 200:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isascii() and length.isdigit() else None
    else:
        raise _Refused(f"the server answers {status}")
    if total is not None and total > max_bytes:
        raise _Refused(f"the file has {total:,} bytes, more than it should")
    return start, total


def _receive(response: httpx.Response, part: Path, start: int, total: int | None, max_bytes: int) -> None:
    """Write the response's body into `part` from byte `start` on."""
    have = start
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        for chunk in response.iter_raw():
            have += len(chunk)
            if have > max_bytes:
                raise _Refused("the file is longer than it should be")
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and have < total:
        raise _Transient(f"the connection closed after {have:,} of {total:,} bytes")


def _resumable(part: Path, note: Path, url: str) -> tuple[int, _Note | None]:
    """Return how many bytes of the file at `url` are in `part`, and its note; drop what cannot be continued."""
    try:
        found = _Note(**json.loads(note.read_bytes()))
        size = part.stat().st_size
    except (OSError, ValueError, TypeError):
        found, size = None, 0
    if found is None or found.url != url:
        _forget(part, note)
        return 0, None
    return size, found


def _forget(part: Path, note: Path) -> None:
    part.unlink(missing_ok=True)
    note.unlink(missing_ok=True)
