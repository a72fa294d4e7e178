"""Public mirrors -> the data set's files in a folder, each whole and right, or not there.

pooch downloads a file under a temporary name, retries, and moves it into place once its SHA-256 is right.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pooch
from requests import RequestException

from training.data.mnist import FILES, FOLDER, DataFile, verified_bytes
from training.errors import CannotWrite, CorruptData, DownloadFailed

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

TIMEOUT_S = 30.0
RETRIES = 2


def download_mnist(
    data_dir: Path, mirrors: Sequence[str] = MIRRORS, files: Mapping[str, DataFile] = FILES
) -> Iterator[str]:
    """Download the files that `data_dir/mnist` lacks, and yield one line about each when it is done.

    Args:
        data_dir: the data folder, which is made if it does not exist.
        mirrors: addresses of folders with the `.gz` files, tried in turn for each file.
        files: what to download.

    Raises:
        DownloadFailed: no mirror gave a file whole and right. Files that were downloaded before stay.
        CannotWrite: the disk is full, or the folder read-only.
    """
    pooch.get_logger().setLevel("WARNING")
    folder = data_dir / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, expected in files.items():
            yield _download(folder, name, expected, mirrors)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written: {error.strerror}") from error


def _download(folder: Path, name: str, expected: DataFile, mirrors: Sequence[str]) -> str:
    plain, packed = folder / name, folder / f"{name}.gz"
    present = [path for path in (plain, packed) if path.is_file()]
    for path in present:
        if _is_right(path, expected):
            return f"{path.name}: already there, SHA-256 right"
    failures = []
    for mirror in mirrors:
        store = pooch.create(
            folder, f"{mirror.rstrip('/')}/", registry={packed.name: expected.packed_sha256}, retry_if_failed=RETRIES
        )
        try:
            store.fetch(packed.name, downloader=pooch.HTTPDownloader(sys.stderr.isatty(), timeout=TIMEOUT_S))
        except (RequestException, ValueError) as error:  # pooch raises ValueError for a wrong SHA-256
            failures.append(f"{mirror}: {error}")
            continue
        plain.unlink(missing_ok=True)  # a damaged plain file would be read instead
        return f"{packed.name}: downloaded from {mirror}, SHA-256 right{', in place of a damaged one' * bool(present)}"
    raise DownloadFailed(f"no mirror gives {packed.name} ({'; '.join(failures)})")


def _is_right(path: Path, expected: DataFile) -> bool:
    try:
        verified_bytes(path, expected)
    except CorruptData:
        return False
    return True
