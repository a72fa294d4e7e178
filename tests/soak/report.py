"""What a soak has found -> the page that is printed, and whether it is good."""

from dataclasses import dataclass, field

from tests.service.conformance import Finding
from tests.soak.memory import MOST_GROWTH, Verdict
from tests.soak.tally import Tally

_MIB = 1 << 20


@dataclass(frozen=True)
class Report:
    """Everything that was found.

    `load` is how many of the requests came in `seconds`, before everything was asked once more; `faults` and `missing`,
    kinds of requests that never came, are to be empty.
    """

    tally: Tally
    load: int
    seconds: float
    memory: Verdict
    faults: list[str]
    missing: set[str]
    conformance: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was wrong."""
        deviating = any(finding.code for finding in self.conformance)
        return not (self.tally.failures or self.faults or self.missing or deviating or self.memory.flat is False)

    def text(self) -> str:
        """Return the page."""
        memory = self.memory
        flat = {True: "flat", False: "NOT FLAT", None: "too short a time to say whether it is flat"}[memory.flat]
        lines = [
            self.tally.table(),
            "",
            f"{self.tally.requests:,} requests, {self.load:,} of them in {self.seconds:.0f} s, the others one by one",
            f"resident memory: {memory.start_bytes / _MIB:.1f} MiB at the start, {memory.warm_bytes / _MIB:.1f} after "
            f"warming up, {memory.end_bytes / _MIB:.1f} at the end, {memory.peak_bytes / _MIB:.1f} at most: "
            f"× {memory.growth:.3f} (at most {MOST_GROWTH}): {flat}",
        ]
        for finding in self.conformance:
            lines.append(f"schemathesis, meanwhile: {finding.requests:,} requests, exit code {finding.code}")
            lines += [finding.words] if finding.code else []
        lines += [
            f"FAULT: {fault}" for fault in (*self.faults, *(f"no request '{kind}'" for kind in sorted(self.missing)))
        ]
        lines += self.tally.told
        lines.append("good" if self.good else "NOT GOOD")
        return "\n".join(lines)
