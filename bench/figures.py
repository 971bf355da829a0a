"""Figures of a measurement, as people read them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What was measured, and what it may be at most."""

    what: str
    measured: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether it stays below its limit."""
        return self.measured < self.limit


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many percent of the others do not exceed; nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def print_row(*cells: object) -> None:
    """Print one row of a table, at once."""
    sys.stdout.write("  ".join(f"{cell!s:>12}" for cell in cells) + "\n")
    sys.stdout.flush()


def conclude(claim: Claim) -> int:
    """Print the claim and return the program's exit code."""
    verdict = "holds" if claim.holds else "FAILS"
    sys.stdout.write(
        f"{claim.what}: {claim.measured:.1f} {claim.unit}, "
        f"claimed under {claim.limit:.0f} {claim.unit}: {verdict}\n"
    )
    return 0 if claim.holds else 1
