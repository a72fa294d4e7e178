"""Counts the outcome of each request, from several threads."""

import threading
from collections import Counter
from collections.abc import Sequence

# A batch that a restart of its replica interrupted, and that was sent again.
INTERRUPTED = "interrupted"
# Outcomes that must not occur.
WRONG, SERVER_ERROR, NO_RESPONSE = "WRONG", "5xx", "NO RESPONSE"
FAILURES = (WRONG, SERVER_ERROR, NO_RESPONSE)
MAX_MESSAGES = 20


class Tally:
    """Outcomes by kind of request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.messages: list[str] = []

    def count(self, kind: str, outcome: str, message: str | None = None) -> None:
        """Count one request; `message` says what was wrong, if anything was."""
        with self._lock:
            self._counts[kind, outcome] += 1
            if message is not None and len(self.messages) < MAX_MESSAGES:
                self.messages.append(f"{kind}: {outcome}: {message}")

    @property
    def requests(self) -> int:
        """Number of requests."""
        return self._counts.total()

    @property
    def failures(self) -> int:
        """Number of requests with an outcome that must not occur."""
        return sum(self.of(outcome) for outcome in FAILURES)

    def of(self, outcome: str) -> int:
        """Return the number of requests with this outcome."""
        with self._lock:
            return sum(count for (_, found), count in self._counts.items() if found == outcome)

    def kinds(self) -> set[str]:
        """Return the kinds of the requests."""
        return {kind for kind, _ in self._counts}

    def table(self) -> str:
        """Return all counts, a line for each kind."""
        outcomes = sorted(
            {outcome for _, outcome in self._counts}, key=lambda outcome: (outcome in FAILURES, -self.of(outcome))
        )
        shown = [*(outcome for outcome in outcomes if outcome not in FAILURES), *FAILURES]
        kinds = sorted(self.kinds())
        rows = [["requests", *shown]]
        rows += [[kind, *(f"{self._counts[kind, outcome]:,}" for outcome in shown)] for kind in kinds]
        rows += [["all", *(f"{self.of(outcome):,}" for outcome in shown)]]
        return _columns(rows)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(lines)
