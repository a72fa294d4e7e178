"""Words -> a command's exit code: 0, 2 for a wrong option or recipe, 130 for Ctrl-C, 1 for other failures.

Only the module of the command that runs is imported, because torch and matplotlib take seconds to load.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from latentwire.errors import CodecError
from training.cli.parser import make_parser
from training.errors import Interrupted, InvalidRecipe, TrainingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parser, commands = make_parser()
    known, unknown = parser.parse_known_args(arguments)
    if known.command is None:
        parser.print_help()
        return 0
    if unknown:
        commands[known.command].reject_unknown(unknown)
    try:
        run: Callable[[argparse.Namespace], int] = getattr(import_module(known.module), known.function)
        return run(known)
    except InvalidRecipe as error:
        return _fail(error, 2)
    except Interrupted as error:
        return _fail(error, 130)
    except (TrainingError, CodecError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:
        return 1


def _fail(message: object, code: int) -> int:
    print(f"python -m training: {message}", file=sys.stderr)
    return code
