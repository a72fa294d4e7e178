"""A folder of models -> the names of its models, and the one that the folder names as its default.

Symlinks are followed, as hub caches and Kubernetes volumes are made of them. The SHA-256 in a card holds for the bytes
of a graph, wherever they are.
"""

from pathlib import Path

from latentwire.model.card import CARD_FILE, DECODER_FILE, ENCODER_FILE, MODEL_NAME

DEFAULT_MODEL_FILE = "default-model.txt"


def find_models(folder: Path) -> list[str]:
    """Return the names of the models in `folder`, sorted, also of those that are damaged or cannot be read.

    A model is a folder with a card or a graph. A folder whose name starts with a dot is a model that is being written.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(each.name for each in folder.iterdir() if not each.name.startswith(".") and _is_model(each))


def default_model(folder: Path) -> str | None:
    """Return the name in the first line of the file `default-model.txt` of `folder`; None without such a file.

    Raises:
        OSError: the file cannot be read.
    """
    lines = _lines_of_defaults(folder)
    return lines[0] if lines else None


def default_any_size_model(folder: Path) -> str | None:
    """Return the name in the second line of that file, of the default model for images of any size; None without one.

    Raises:
        OSError: the file cannot be read.
    """
    lines = _lines_of_defaults(folder)
    return (lines and lines[1]) or None


def _lines_of_defaults(folder: Path) -> list[str]:
    path = folder / DEFAULT_MODEL_FILE
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return [file.readline(1000).strip() for _ in range(2)]


def _is_model(folder: Path) -> bool:
    try:
        if folder.is_symlink() and not folder.exists():
            return True  # it was a model, or will be one
        files = [folder / name for name in (CARD_FILE, ENCODER_FILE, DECODER_FILE)]
        return any(file.exists() or file.is_symlink() for file in files)
    except OSError:
        # Nobody may look into `lost+found`, and no model can have that name.
        return MODEL_NAME.fullmatch(folder.name) is not None
