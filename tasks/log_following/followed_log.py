"""What came of following an agent's output."""

from dataclasses import dataclass

from tasks.outcome.run_result import LineRange, TranscriptProof
from tasks.transcript.line_grammar import Trailer
from tasks.transcript.numbered_lines import Transcript


@dataclass(frozen=True)
class FollowedLog:
    """What was had in the end.

    Attributes:
        proof: How much of stdout was delivered, and whether that is proven.
        trailer: The script's account, if it could be read.
        stderr_lines: The kept lines of the agent's stderr.
        numbered: Whether lines bore numbers; None when nothing was read that tells.
        gave_up: Why reading ended before the end was reached, a sentence; None when it was.
    """

    proof: TranscriptProof
    trailer: Trailer | None
    stderr_lines: tuple[bytes, ...]
    numbered: bool | None
    gave_up: str | None

    @classmethod
    def of(cls, transcript: Transcript, gave_up: str | None) -> "FollowedLog":
        """Sum up what was put together."""
        had = transcript.proof()
        return cls(
            proof=TranscriptProof(
                complete=had.complete,
                lines=had.lines,
                stdout_bytes=had.stdout_bytes,
                sha256=had.sha256,
                missing=tuple(LineRange(first=gap.first, last=gap.last) for gap in had.missing),
            ),
            trailer=transcript.trailer,
            stderr_lines=transcript.stderr_lines,
            numbered=transcript.numbered if transcript.header or had.lines else None,
            gave_up=gave_up,
        )
