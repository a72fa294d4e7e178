"""The command line of the codec: `latentwire encode|decode|inspect FILE…`, the same as `python -m latentwire`.

Words in, files and words out. What goes wrong with one file is one sentence on standard error, and the other files go
on: exit code 1. Exit code 2 is for what was typed, 130 for Ctrl-C.
"""

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from latentwire.cli.arguments import Parser
from latentwire.cli.console import Desk, WrongUsage
from latentwire.errors import CodecError
from latentwire.options import FITS, FRAMINGS, ON_OOD

# Each command imports what it needs when it runs: numpy, Pillow and onnxruntime take a while, `--help` should not.

FORMATS = ("png", "webp", "npy")

_FILES = "a file, a folder with all that is in it, or - for standard input"


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
        # A file's name may have letters that the terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    desk = Desk(prog, quiet=known.quiet)
    try:
        run_command: Callable[[argparse.Namespace, Desk], None] = known.run_command
        run_command(known, desk)
        desk.finish()
    except WrongUsage as error:
        return desk.complain(error, 2)
    except CodecError as error:
        return desk.complain(error, 1)
    except KeyboardInterrupt:
        return desk.complain("stopped", 130)
    except BrokenPipeError:
        _give_up_output()
        return 1
    except OSError as error:
        _give_up_output()
        return desk.complain(f"standard output cannot be written: {error.strerror}", 1)
    return 1 if desk.failures else 0


def _give_up_output() -> None:
    """Throw away what standard output did not take; Python would try once more, and complain, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parsers(prog: str) -> tuple[Parser, dict[str, Parser]]:
    parser = Parser(
        prog=prog,
        description="Turns images into codes of a few bytes, and back.",
        epilog="A result lies beside its source unless --out says where; without --force nothing is overwritten.",
        allow_abbrev=False,
    )
    adder = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands: dict[str, Parser] = {}

    def add(name: str, run_command: Callable[[argparse.Namespace, Desk], None], summary: str) -> Parser:
        command = adder.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        command.set_defaults(run_command=run_command, quiet=False)
        commands[name] = command
        command.add_argument("files", nargs="+", metavar="FILE", help=_FILES)
        return command

    def add_models(command: Parser, usual: str) -> None:
        command.add_argument(
            "--models-dir",
            type=Path,
            default=Path(os.environ.get("LATENTWIRE_MODELS_DIR", "models")),
            metavar="DIR",
            help="folder that holds one folder for each model; default: that of LATENTWIRE_MODELS_DIR, else models",
        )
        command.add_argument("--model", metavar="NAME", help=usual)

    def add_output(command: Parser, usual: str) -> None:
        command.add_argument("--out", metavar="PATH", help=f"{usual}; - for standard output")
        command.add_argument("--force", action="store_true", help="overwrite files that are there already")
        command.add_argument("--quiet", action="store_true", help="print nothing but what is wrong")

    command = add("encode", _encode, "Turn image files into codes.")
    add_models(command, "model to encode with; default: that of LATENTWIRE_DEFAULT_MODEL, else the only one")
    command.add_argument(
        "--target-bytes",
        type=_count,
        metavar="N",
        help="choose the model for each image: the best picture whose code has at most N bytes",
    )
    command.add_argument(
        "--min-psnr",
        type=_decibels,
        metavar="DB",
        help="choose the model for each image: the smallest code that gives this image at least so many dB",
    )
    command.add_argument("--fit", choices=FITS, default="strict", help="what to do with images of another size or kind")
    command.add_argument(
        "--framing", choices=FRAMINGS, default="full", help="raw leaves out who made the code: 8 bytes less"
    )
    command.add_argument(
        "--container", metavar="PATH", help="put all codes into this one file, in order; - for standard output"
    )
    command.add_argument(
        "--on-ood",
        choices=ON_OOD,
        default="fallback",
        help="images that the model is not for: refuse them, warn and encode them all the same, or send them as "
        "themselves, exactly (fallback, the default)",
    )
    command.add_argument(
        "--max-mse",
        type=_share,
        metavar="X",
        help="largest mean squared error, values in [0, 1], beyond which an image counts as out-of-distribution; "
        "replaces the model's own limit; not for --container",
    )
    command.add_argument(
        "--verify-reconstruction",
        action=argparse.BooleanOptionalAction,
        help="decode what is encoded, to know what a receiver will see; default: if the decoder is there, and not for "
        "--container",
    )
    command.add_argument(
        "--max-image-pixels",
        type=_count,
        default=1 << 22,
        metavar="N",
        help="most pixels of an image; default: 4194304",
    )
    add_output(command, "file, or folder for several; default: beside the image, as .lw or .raw")

    command = add("decode", _decode, "Turn codes and containers of codes into image files.")
    add_models(command, "model that the codes must be of; --framing raw needs it, as NAME or NAME@MODEL_ID")
    command.add_argument("--framing", choices=FRAMINGS, default="full", help="raw takes payloads alone")
    command.add_argument("--format", choices=FORMATS, default="png", help="of the images; webp is lossless")
    add_output(
        command,
        "file, or folder for several and for a container's numbered images; default: beside the code",
    )

    command = add("inspect", _inspect, "Tell what codes and containers hold, without decoding them.")
    add_models(command, "model that payloads of --framing raw are of")
    command.add_argument("--framing", choices=FRAMINGS, default="full", help="raw takes payloads alone")
    command.add_argument("--json", action="store_true", help="one JSON object on a line for each file")
    return parser, commands


def _encode(arguments: argparse.Namespace, desk: Desk) -> None:
    from latentwire.cli.encode import encode

    encode(arguments, desk)


def _decode(arguments: argparse.Namespace, desk: Desk) -> None:
    from latentwire.cli.decode import decode

    decode(arguments, desk)


def _inspect(arguments: argparse.Namespace, desk: Desk) -> None:
    from latentwire.cli.inspect import inspect

    inspect(arguments, desk)


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
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
