"""The argument parser of all commands."""

import argparse
import difflib
from typing import NoReturn

from latentwire.cli.console import printable


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one sentence, and suggests the option that may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and a sentence."""
        self.exit(2, f"{self.prog}: {printable(message)}; see `{self.prog} --help`\n")

    def reject_unknown(self, words: list[str]) -> NoReturn:
        """Exit as `error` does, for words that no option takes."""
        word = next((word for word in words if word.startswith("-")), words[0]).split("=")[0]
        close = difflib.get_close_matches(word, self._option_string_actions, n=1)
        self.error(f"there is no option '{word}'" + (f", did you mean '{close[0]}'?" if close else ""))
