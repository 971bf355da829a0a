"""The agent's output: followed, summarised, and shown as it arrives."""

import asyncio
import time
from collections.abc import Sequence

from tasks.claude_code.events import parse_line
from tasks.claude_code.rendering import LineKind, RenderedLine, render_check, render_stderr
from tasks.log_following.log_follower import FollowedLog, LogFollower, LogTarget
from tasks.orchestrator.stage import stage
from tasks.outcome.result_building import last_lines_of_check
from tasks.run.agent_credentials import learn_credentials
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.run.progress_page import keep_progress_published
from tasks.text.quoting import telling_line
from tasks.transcript.line_grammar import StdoutLine
from tasks.vocabulary.names import AGENT_CONTAINER, WORK_DIR

_FIRST_KEEP_ALIVE_SECONDS = 60.0
_LONGEST_KEEP_ALIVE_SECONDS = 300.0


@stage("Stream logs")
async def stream_logs(run: AgentRun, work: AttemptAtWork) -> FollowedLog:
    """Follow the agent's output to its end and show it; resumes where an earlier call stopped."""
    show = OutputStream(run, work)
    if work.follower is None:
        # By now the agent has its credentials, and none of its output has been shown yet.
        await learn_credentials(run, work)
        work.follower = build_follower(run, work, show)
    beside = [
        asyncio.create_task(show.keep_flushing()),
        asyncio.create_task(keep_progress_published(run, work)),
    ]
    try:
        work.followed = await work.follower.follow()
    finally:
        for task in beside:
            task.cancel()
        show.flush()
    followed = work.followed
    if work.stderr_line is None:
        work.stderr_line = telling_line(
            line.decode("utf-8", errors="replace") for line in followed.stderr_lines
        )
    show.add([render_stderr(line) for line in followed.stderr_lines])
    show.say_if_check_began()
    last_lines = last_lines_of_check(followed.check_lines, run.outside.redactor)
    show.add([render_check(line) for line in last_lines])
    show.flush()
    return followed


def build_follower(run: AgentRun, work: AttemptAtWork, show: "OutputStream") -> LogFollower:
    """Return a follower of the attempt's pod."""
    return LogFollower(
        run.outside.client,
        LogTarget(
            namespace=run.outside.namespace,
            pod_name=work.pod_name or "",
            container=AGENT_CONTAINER,
            token=work.line_token,
            work_dir=WORK_DIR,
            exec_allowed=True,
        ),
        spool=work.spool,
        observe=work.view_pod,
        on_lines=show.take,
    )


class OutputStream:
    """Takes the agent's lines, summarises them and shows them, joined into records."""

    def __init__(self, run: AgentRun, work: AttemptAtWork) -> None:
        self._run = run
        self._work = work
        self._records = work.records
        self._has_said_check = False

    async def take(self, lines: Sequence[StdoutLine]) -> None:
        """Take the next lines; rendered ones go out within a second."""
        work = self._work
        work.last_output_at = time.monotonic()
        for line in lines:
            for event in parse_line(line.payload):
                work.session.apply(event)
                work.progress.apply(event)
                self.add(work.entries.read(event))

    def add(self, lines: Sequence[RenderedLine]) -> None:
        """Show rendered lines, secrets masked."""
        if not lines:
            return
        redact = self._run.outside.redactor.text
        safe = [line.rewritten(redact) for line in lines]
        self._work.page.add(safe)
        # The log has times of its own; a line more for each turn would tell little there.
        self._say([line for line in safe if line.kind is not LineKind.TURN])

    def _say(self, lines: Sequence[RenderedLine]) -> None:
        now = time.monotonic()
        for line in lines:
            self._work.last_lines.append(line.text)
            self._log(self._records.add(line.text, now))
        self._run.outside.diary.show(lines)

    def flush(self) -> None:
        """Log the waiting lines."""
        self._log(self._records.flush())

    def say_if_check_began(self) -> None:
        """Say that the agent's check has begun, once it has."""
        follower = self._work.follower
        begun = follower.check_begun if follower is not None else None
        if begun is None or self._has_said_check:
            return
        self._has_said_check = True
        self.flush()
        self._run.outside.say(
            f"The agent has ended, and its check has begun (limit {begun.timeout_seconds:,} s)."
        )

    async def keep_flushing(self) -> None:
        """Log lines that have waited long enough, and note silence; runs until cancelled."""
        keep_alive = _FIRST_KEEP_ALIVE_SECONDS
        said_at = time.monotonic()
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            self.say_if_check_began()
            due_at = self._records.due_at()
            if due_at is not None and now >= due_at:
                self.flush()
            if self._work.last_output_at > said_at:
                keep_alive, said_at = _FIRST_KEEP_ALIVE_SECONDS, self._work.last_output_at
            if now - said_at >= keep_alive:
                silent = now - self._work.last_output_at
                of_check = "; the check is at work" if self._has_said_check else ""
                note = f"no output for {silent:.0f} s{of_check}"
                self._say([RenderedLine(LineKind.NOTE, note)])
                keep_alive, said_at = min(2 * keep_alive, _LONGEST_KEEP_ALIVE_SECONDS), now

    def _log(self, records: Sequence[str]) -> None:
        for record in records:
            self._run.outside.log.info(record)
