"""Counts what came of each request, from several threads."""

import threading
from collections import Counter
from collections.abc import Sequence

# What must not happen.
WRONG, SERVER_ERROR, NO_ANSWER = "WRONG", "5xx", "NO ANSWER"
FAILURES = (WRONG, SERVER_ERROR, NO_ANSWER)
MOST_TOLD = 20


class Tally:
    """Outcomes by kind of request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self.told: list[str] = []

    def count(self, kind: str, outcome: str, story: str | None = None) -> None:
        """Count one request; `story` says what was wrong with it, if something was."""
        with self._lock:
            self._counts[kind, outcome] += 1
            if story is not None and len(self.told) < MOST_TOLD:
                self.told.append(f"{kind}: {outcome}: {story}")

    @property
    def requests(self) -> int:
        """How many there were."""
        return self._counts.total()

    @property
    def failures(self) -> int:
        """How many of them must not have come out so."""
        return sum(self.of(outcome) for outcome in FAILURES)

    def of(self, outcome: str) -> int:
        """Return how many requests had this outcome."""
        with self._lock:
            return sum(count for (_, found), count in self._counts.items() if found == outcome)

    def kinds(self) -> set[str]:
        """Return the kinds of requests that there were."""
        return {kind for kind, _ in self._counts}

    def table(self) -> str:
        """Return all counts, a line for each kind."""
        outcomes = sorted({outcome for _, outcome in self._counts}, key=lambda one: (one in FAILURES, -self.of(one)))
        shown = [*(one for one in outcomes if one not in FAILURES), *FAILURES]
        kinds = sorted(self.kinds())
        rows = [["requests", *shown]]
        rows += [[kind, *(f"{self._counts[kind, one]:,}" for one in shown)] for kind in kinds]
        rows += [["all", *(f"{self.of(one):,}" for one in shown)]]
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
