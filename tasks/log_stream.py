"""The agent's output: followed, summed up, and shown while it comes."""

import asyncio
import time
from collections.abc import Sequence

from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import LineKind, RenderedLine, render_event, render_stderr
from tasks.log_following.log_follower import FollowedLog, LogFollower, LogTarget, PodView
from tasks.orchestrator.stage import stage
from tasks.run.agent_credentials import learn_credentials
from tasks.run.progress_page import keep_progress_published
from tasks.run.run_context import AttemptInProgress, RunContext
from tasks.text.quoting import telling_line
from tasks.transcript.line_grammar import StdoutLine
from tasks.vocabulary.names import AGENT_CONTAINER, WORK_DIR

_FIRST_KEEP_ALIVE_SECONDS = 60.0
_LONGEST_KEEP_ALIVE_SECONDS = 300.0


@stage("Stream logs")
async def stream_logs(context: RunContext) -> FollowedLog:
    """Follow the agent's output to its end and show it; goes on where an earlier call stopped."""
    attempt = context.attempt_at_work
    show = OutputStream(context)
    if attempt.follower is None:
        # By now the agent has its credentials, and nothing that it says has been shown yet.
        await learn_credentials(context)
        attempt.follower = build_follower(context, show)
    beside = [
        asyncio.create_task(show.keep_flushing()),
        asyncio.create_task(keep_progress_published(context)),
    ]
    try:
        attempt.followed = await attempt.follower.follow()
    finally:
        for task in beside:
            task.cancel()
        show.flush()
    followed = attempt.followed
    if attempt.stderr_line is None:
        attempt.stderr_line = telling_line(
            line.decode("utf-8", errors="replace") for line in followed.stderr_lines
        )
    show.add([render_stderr(line) for line in followed.stderr_lines])
    show.flush()
    return followed


def build_follower(context: RunContext, show: "OutputStream") -> LogFollower:
    """Return a follower of the attempt's pod."""
    attempt = context.attempt_at_work
    return LogFollower(
        context.client,
        LogTarget(
            namespace=context.namespace,
            pod_name=attempt.pod_name or "",
            container=AGENT_CONTAINER,
            token=attempt.line_token,
            work_dir=WORK_DIR,
            exec_allowed=True,
        ),
        spool=attempt.spool,
        observe=lambda: view_pod(attempt),
        on_lines=show.take,
    )


def view_pod(attempt: AttemptInProgress) -> PodView:
    """Return what the follower needs to know of the attempt's pod."""
    pod = attempt.pod
    if pod is None:
        is_gone = attempt.observer.observation.job_is_gone
        return PodView(container_started=False, container_ended=False, pod_gone=is_gone)
    agent = pod.agent
    return PodView(
        container_started=agent is not None and agent.has_run is not False,
        container_ended=pod.ended or (agent is not None and agent.terminated is not None),
        pod_gone=attempt.pod_is_gone,
        termination_message=agent.terminated.message if agent and agent.terminated else None,
    )


class OutputStream:
    """Takes the agent's lines, sums them up and shows them, joined into records."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._attempt = context.attempt_at_work
        self._records = context.attempt_at_work.records

    async def take(self, lines: Sequence[StdoutLine]) -> None:
        """Take the next lines; rendered ones go out within a second."""
        attempt = self._attempt
        attempt.last_output_at = time.monotonic()
        for line in lines:
            event = parse_event_leniently(line.payload)
            attempt.session.apply(event)
            attempt.progress.apply(event)
            self.add(render_event(event))

    def add(self, lines: Sequence[RenderedLine]) -> None:
        """Show rendered lines, secrets masked."""
        if not lines:
            return
        redact = self._context.redactor.text
        safe = [line.rewritten(redact) for line in lines]
        self._attempt.page.add(safe)
        self._say(safe)

    def _say(self, lines: Sequence[RenderedLine]) -> None:
        now = time.monotonic()
        for line in lines:
            self._attempt.last_lines.append(line.text)
            self._log(self._records.add(line.text, now))
        self._context.show(lines)

    def flush(self) -> None:
        """Log what waits."""
        self._log(self._records.flush())

    async def keep_flushing(self) -> None:
        """Log what has waited long enough, and that the agent is silent, until cancelled."""
        keep_alive = _FIRST_KEEP_ALIVE_SECONDS
        said_at = time.monotonic()
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            due_at = self._records.due_at()
            if due_at is not None and now >= due_at:
                self.flush()
            if self._attempt.last_output_at > said_at:
                keep_alive, said_at = _FIRST_KEEP_ALIVE_SECONDS, self._attempt.last_output_at
            if now - said_at >= keep_alive:
                silent = now - self._attempt.last_output_at
                self._say([RenderedLine(LineKind.NOTE, f"no output for {silent:.0f} s")])
                keep_alive, said_at = min(2 * keep_alive, _LONGEST_KEEP_ALIVE_SECONDS), now

    def _log(self, records: Sequence[str]) -> None:
        for record in records:
            self._context.log.info(record)
