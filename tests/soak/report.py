"""The findings of a soak -> the page that is printed, and whether the soak passed."""

from dataclasses import dataclass, field

from tests.service.conformance import Finding
from tests.soak.memory import MAX_GROWTH, Verdict
from tests.soak.tally import Tally

_MIB = 1 << 20


@dataclass(frozen=True)
class Report:
    """All findings.

    `load` is the number of requests within `seconds`, before each valid request was sent once more. `faults`, and
    `missing`, the kinds of requests that never came, must be empty.
    """

    tally: Tally
    load: int
    seconds: float
    memory: Verdict
    faults: list[str]
    missing: set[str]
    restarts: int = 0
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
            f"{self.restarts} restarts of replicas, by SIGTERM and SIGKILL",
            f"resident memory: {memory.start_bytes / _MIB:.1f} MiB at the start, {memory.warm_bytes / _MIB:.1f} after "
            f"warming up, {memory.end_bytes / _MIB:.1f} at the end, {memory.peak_bytes / _MIB:.1f} at most: "
            f"× {memory.growth:.3f} (at most {MAX_GROWTH}): {flat}",
        ]
        for finding in self.conformance:
            lines.append(f"schemathesis, meanwhile: {finding.requests:,} requests, exit code {finding.code}")
            lines += [finding.words] if finding.code else []
        lines += [
            f"FAULT: {fault}" for fault in (*self.faults, *(f"no request '{kind}'" for kind in sorted(self.missing)))
        ]
        lines += self.tally.messages
        lines.append("good" if self.good else "NOT GOOD")
        return "\n".join(lines)
