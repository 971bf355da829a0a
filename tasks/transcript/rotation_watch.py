"""When a silent follow is suspected to hang at a rotated file.

Once more was printed than a log file holds, it may be rotated at any time. Seen on a kubelet of
1.20: the follow then ends, or says nothing for 17 s and more; what it misses is in the copy alone.
"""

from tasks.transcript.line_grammar import ACKNOWLEDGED_BYTES_PER_LINE
from tasks.transcript.numbered_lines import Transcript

FIRST_QUIET_SECONDS = 5.0
LONGEST_QUIET_SECONDS = 40.0  # a third of what the script waits for the acknowledgement
_SUSPICIOUS_SHARE = 0.125  # much more may have been printed than has come through


class RotationWatch:
    """Weighs what was delivered against what a log file holds."""

    def __init__(self, transcript: Transcript, log_file_bytes: int) -> None:
        self._transcript = transcript
        self._log_file_bytes = log_file_bytes
        self._quiet_seconds = FIRST_QUIET_SECONDS
        self._weight_at_rotation = 0

    @property
    def may_be_rotated(self) -> bool:
        """Whether so much was printed that a file may have been rotated away."""
        return self._weight > self._log_file_bytes * _SUSPICIOUS_SHARE

    @property
    def quiet_seconds(self) -> float:
        """How long a follow may say nothing before it is suspected, when it may be rotated."""
        # The next rotation is as far away as the first one was.
        is_due = self._weight - self._weight_at_rotation > self._log_file_bytes
        return self._quiet_seconds if is_due else LONGEST_QUIET_SECONDS

    def note_progress(self) -> None:
        """Something new has come."""
        self._quiet_seconds = FIRST_QUIET_SECONDS

    def note_silence(self) -> None:
        """Nothing had come; a suspicion that proves wrong is slower the next time."""
        self._quiet_seconds = min(2 * self._quiet_seconds, LONGEST_QUIET_SECONDS)

    def note_rotation(self) -> None:
        """A follow was seen to miss lines: they are in a file that is rotated away."""
        self._weight_at_rotation = self._weight

    @property
    def _weight(self) -> int:
        had = self._transcript.proof()
        return had.stdout_bytes + ACKNOWLEDGED_BYTES_PER_LINE * had.lines
