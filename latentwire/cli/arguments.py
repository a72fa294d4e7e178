"""The command lines' parser. Knows no command."""

import argparse
import difflib
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one sentence, and which option may have been meant."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and a sentence."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")

    def reject_unknown(self, words: list[str]) -> NoReturn:
        """End as `error` does, over words that no option took."""
        word = next((word for word in words if word.startswith("-")), words[0]).split("=")[0]
        close = difflib.get_close_matches(word, self._option_string_actions, n=1)
        self.error(f"there is no option '{word}'" + (f", did you mean '{close[0]}'?" if close else ""))
