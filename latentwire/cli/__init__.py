"""The command line: `latentwire encode|decode|inspect FILE…` and `latentwire models`, also `python -m latentwire`.

A failed file is one sentence on standard error and exit code 1; the other files are processed. Exit code 2 stands for a
wrong command line, 3 for images that were decoded in part, 130 for Ctrl-C.
"""

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from latentwire import __version__
from latentwire.cli.arguments import Parser
from latentwire.cli.console import Console, WrongUsage
from latentwire.effort import EFFORTS
from latentwire.errors import CodecError
from latentwire.options import BACKGROUNDS, FITS, FRAMINGS, ON_OOD

# Each command imports its module when it runs, as numpy, Pillow and onnxruntime would delay `--help`.

FORMATS = ("png", "webp", "npy")

_FILES = "a file, a folder with all files in it, or - for standard input"


def main(arguments: Sequence[str] | None = None, prog: str = "latentwire") -> int:
    """Run one command; return its exit code."""
    parser, commands = _parsers(prog)
    known, unknown = parser.parse_known_args(arguments)
    if known.command is None:
        parser.print_help()
        return 0
    if unknown:
        commands[known.command].reject_unknown(unknown)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may have letters that the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(prog, quiet=known.quiet)
    try:
        run_command: Callable[[argparse.Namespace, Console], None] = known.run_command
        run_command(known, console)
        console.finish()
    except WrongUsage as error:
        return console.error(error, 2)
    except CodecError as error:
        return console.error(error, 1)
    except KeyboardInterrupt:
        return console.error("stopped", 130)
    except BrokenPipeError:
        _discard_stdout()
        return 1
    except OSError as error:
        if error.filename is not None:
            return console.error(f"{error.filename}: {error.strerror}", 1)
        _discard_stdout()
        return console.error(f"standard output cannot be written: {error.strerror}", 1)
    return 1 if console.failures else 3 if console.incomplete else 0


def _discard_stdout() -> None:
    """Discard what standard output did not take. Otherwise Python would fail to flush it at exit, and print that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parsers(prog: str) -> tuple[Parser, dict[str, Parser]]:
    parser = Parser(
        prog=prog,
        description="Turns images into bitstreams of a few bytes, and back.",
        epilog="Results are written beside their sources, unless --out names a place. Only --force overwrites files.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"latentwire {__version__}")
    adder = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands: dict[str, Parser] = {}

    def add(name: str, run_command: Callable[[argparse.Namespace, Console], None], summary: str) -> Parser:
        command = adder.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.set_defaults(run_command=run_command, quiet=False)
        commands[name] = command
        return command

    def add_models(command: Parser) -> None:
        command.add_argument(
            "--models-dir",
            type=_path,
            default=Path(os.environ.get("LATENTWIRE_MODELS_DIR") or "models"),
            metavar="DIR",
            help="folder with one folder for each model; default: LATENTWIRE_MODELS_DIR, else models",
        )

    def add_files(command: Parser, usual_model: str) -> None:
        command.add_argument("files", nargs="+", type=_name, metavar="FILE", help=_FILES)
        add_models(command)
        command.add_argument("--model", type=_name, metavar="NAME", help=usual_model)

    def add_output(command: Parser, usual: str) -> None:
        command.add_argument("--out", type=_name, metavar="PATH", help=f"{usual}; - for standard output")
        command.add_argument("--force", action="store_true", help="overwrite existing files")
        command.add_argument("--quiet", action="store_true", help="print only warnings and errors")

    command = add("encode", _encode, "Turn image files into bitstreams.")
    add_files(command, "model to encode with; default: LATENTWIRE_DEFAULT_MODEL, else that of the folder")
    command.add_argument(
        "--quality",
        type=_percent,
        metavar="Q",
        help="of images of any size: from 0, the fewest bytes, to 100; default: 50",
    )
    command.add_argument(
        "--target-bytes",
        type=_count,
        metavar="N",
        help="choose the model, or the quality, for each image: the best picture in at most N bytes",
    )
    command.add_argument(
        "--min-psnr",
        type=_decibels,
        metavar="DB",
        help="choose the model, or the quality, for each image: the smallest bitstream whose picture has a PSNR of at "
        "least DB",
    )
    command.add_argument(
        "--effort",
        type=int,
        choices=EFFORTS,
        help="of images of any size: 1 for one pass, the default over 65,536 pixels; 2, the default below, or 3 "
        "for fewer bytes at the same PSNR, 7 and 20 times as long",
    )
    command.add_argument(
        "--fit",
        choices=FITS,
        help="images of another size or colour mode than a vector model's: refuse them (strict, the default), scale "
        "them, or pad them; strict also never scales an image of any size down for --target-bytes",
    )
    command.add_argument(
        "--background",
        choices=BACKGROUNDS,
        default="auto",
        help="what shows through transparent pixels, and around padded images; auto, the default, takes the one that "
        "differs more from the visible pixels, and pads images without transparency with black",
    )
    command.add_argument(
        "--framing", choices=FRAMINGS, default="full", help="raw leaves out header and checksum, which take 8 bytes"
    )
    command.add_argument(
        "--container",
        type=_name,
        metavar="PATH",
        help="write all images into this one container, in order; - for standard output",
    )
    command.add_argument(
        "--names", type=_name, metavar="PATH", help="write the names of the container's images into this file"
    )
    command.add_argument(
        "--on-ood",
        choices=ON_OOD,
        default="fallback",
        help="out-of-distribution images: refuse them, encode them with a warning, or encode them losslessly "
        "(fallback, the default)",
    )
    command.add_argument(
        "--max-mse",
        type=_share,
        metavar="X",
        help="maximum mean squared error, values in [0, 1]; an image beyond it is out-of-distribution; replaces the "
        "limit of the model; not for --container",
    )
    command.add_argument(
        "--verify-reconstruction",
        action=argparse.BooleanOptionalAction,
        help="decode each bitstream to measure what a receiver will see; default: yes if the model has a decoder, no "
        "for --container",
    )
    command.add_argument(
        "--max-image-pixels",
        type=_count,
        default=50_000_000,
        metavar="N",
        help="maximum number of pixels of an image; default: 50000000",
    )
    add_output(command, "file, or folder for several files; default: beside the image, as .lw or .raw")

    command = add("decode", _decode, "Turn bitstreams and containers into image files.")
    add_files(command, "require this model, NAME or NAME@MODEL_ID; needed with --framing raw")
    command.add_argument("--framing", choices=FRAMINGS, default="full", help="raw: no header and no checksum")
    command.add_argument("--format", choices=FORMATS, default="png", help="format of the images; webp is lossless")
    command.add_argument(
        "--partial",
        action="store_true",
        help="decode what is whole of damaged images of any size, and say what is missing; exit code 3 if anything is",
    )
    command.add_argument(
        "--names", type=_name, metavar="PATH", help="name a container's images by this file of `encode --names`"
    )
    add_output(
        command,
        "file, or folder for several files and for the numbered images of a container; default: beside the source",
    )

    command = add("inspect", _inspect, "Show what bitstreams and containers hold, without decoding them.")
    add_files(command, "model that made the payloads; only with --framing raw")
    command.add_argument("--framing", choices=FRAMINGS, default="full", help="raw: no header and no checksum")
    command.add_argument("--json", action="store_true", help="print one JSON object a line for each file")

    command = add("models", _list_models, "List the models that there are.")
    add_models(command)
    command.add_argument("--json", action="store_true", help="print one JSON object a line for each model")
    return parser, commands


def _encode(arguments: argparse.Namespace, console: Console) -> None:
    from latentwire.cli.encode import encode

    encode(arguments, console)


def _decode(arguments: argparse.Namespace, console: Console) -> None:
    from latentwire.cli.decode import decode

    decode(arguments, console)


def _inspect(arguments: argparse.Namespace, console: Console) -> None:
    from latentwire.cli.inspect import inspect

    inspect(arguments, console)


def _list_models(arguments: argparse.Namespace, console: Console) -> None:
    from latentwire.cli.list_models import list_models

    list_models(arguments, console)


def _name(text: str) -> str:
    # An unset variable of a shell is an empty argument, and an empty path would be the current folder.
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def _path(text: str) -> Path:
    return Path(_name(text))


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


def _percent(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 100")
    return value


def _decibels(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of dB, 0 or more")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 999999999")
    return int(text)
