"""Fuzzes one target with atheris: `python -m tests.fuzz code --seconds 600`.

Inputs with new coverage go into `build/fuzz/<target>/`, from where a later run continues; inputs that break a target
are written beside that folder. `--keep` minimizes them into `tests/fuzz/corpus/<target>/`, which the tests replay.
"""

import argparse
import sys
from pathlib import Path

FOLDER = Path("build") / "fuzz"


def main() -> int:
    """Run until the time is over, or the target breaks."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the readers of untrusted bytes.")
    parser.add_argument("target", choices=["code", "raw", "card", "container", "image", "any-size"])
    parser.add_argument("--seconds", type=int, default=120, metavar="N", help="default: %(default)s")
    parser.add_argument("--max-bytes", type=int, default=4096, metavar="N", help="of an input; default: %(default)s")
    parser.add_argument("--keep", action="store_true", help="minimize the inputs found so far, instead of fuzzing")
    arguments = parser.parse_args()
    if arguments.keep:
        return _keep(arguments.target)
    try:
        import atheris
    except ImportError:
        parser.exit(1, f"{parser.prog}: atheris is missing; install it with `.venv/bin/pip install -e '.[fuzz]'`\n")
    with atheris.instrument_imports(include=["latentwire"]):
        from tests.fuzz.targets import TARGETS, seeds
    corpus = FOLDER / arguments.target
    corpus.mkdir(parents=True, exist_ok=True)
    for name, data in seeds(arguments.target).items():
        (corpus / name).write_bytes(data)
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-max_len={arguments.max_bytes}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={FOLDER}/{arguments.target}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[arguments.target])
    atheris.Fuzz()
    return 0


def _keep(target: str) -> int:
    from tests.fuzz.keep import CORPUS, keep
    from tests.fuzz.targets import TARGETS, kept_seeds, written_seeds

    found = [path.read_bytes() for path in (FOLDER / target).glob("*")]
    kept = keep(TARGETS[target], list(written_seeds(target).values()), found + kept_seeds(target), CORPUS / target)
    print(f"{target}: {len(kept)} inputs of {sum(map(len, kept)):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
