"""A run and its folder of photographs -> where a model comes from, for its card. No paths of this machine."""

from collections import Counter
from pathlib import Path
from typing import Any

from training.photo.pictures import is_validation, list_pictures
from training.photo.trainer import Settings
from training.provenance import describe_environment

SOURCES_FILE = "sources.tsv"
LICENCE = "MIT"

# Settings that say where a run was, but not what it makes.
_OF_THE_MACHINE = {"data", "device", "threads", "log_steps", "check_pixels", "save_minutes", "keep_pixels"}


def describe_origin(settings: Settings, step: int, pixels: int, folder: Path) -> dict[str, Any]:
    """Return data, licences, settings and versions.

    Args:
        settings: of the run's last phase.
        step: that the weights are of.
        pixels: that were trained on, in all phases.
        folder: of the photographs; their sources are read from `sources.tsv` beside it, where that is.
    """
    names = [path.name for path in list_pictures(folder)][:: settings.every]
    validation = sum(is_validation(name, settings.validation_share) for name in names)
    training = {name: value for name, value in settings.values().items() if name not in _OF_THE_MACHINE}
    return {
        "licence": LICENCE,
        "training": {"megapixels": pixels // 1_000_000, "last_phase_steps": step, **training},
        "data": {
            "pictures": len(names) - validation,
            "validation_pictures": validation,
            "sources": read_sources(folder, names),
        },
        "environment": describe_environment(),
    }


def read_sources(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return source, licence and number of pictures, the most first; nothing without `sources.tsv`.

    Its lines have a file, its source (a repository or a Debian package, and the path there), and its licence.
    """
    path = folder.parent / SOURCES_FILE
    if not path.is_file():
        return []
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = {f"{folder.name}/{name}" for name in names}
    counts = Counter((_source_of(source), licence) for file, source, licence in lines if file in wanted)
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"source": source, "licence": licence, "pictures": count} for (source, licence), count in rows]


def _source_of(text: str) -> str:
    words = text.split(" ")
    return " ".join(words[: 2 if words[0] == "Debian" else 1])
