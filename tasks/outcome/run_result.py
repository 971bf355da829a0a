"""`AgentRunResult`: what a run returns, stored as JSON in the result storage."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.vocabulary.error_codes import Cause, ErrorCode

RESULT_VERSION = 1


class FrozenModel(BaseModel):
    """A frozen value; unknown fields of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TokenUsage(FrozenModel):
    """Tokens summed over the results of a run; null if Claude Code did not report them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class SessionParameters(FrozenModel):
    """What a later run needs to resume this session in the same environment."""

    cwd: str | None = None
    workspace_id: str | None = None
    repo_url: str | None = None
    repo_ref: str | None = None
    bundle_sha256: str | None = None


class LineRange(FrozenModel):
    """Stdout lines `first` to `last`, numbered from 1, both included."""

    first: int
    last: int


class TranscriptProof(FrozenModel):
    """How much of the agent's stdout was received.

    `complete` is `True` only if the trailer's count and hash match what was received, `False` if
    lines are known to be missing, and `None` if neither could be proven.
    """

    complete: bool | None = None
    lines: int = 0
    stdout_bytes: int = 0
    sha256: str | None = None
    missing: tuple[LineRange, ...] = ()
    storage_key: str | None = None


class CheckResult(FrozenModel):
    """How the check of the agent's work ended; null is unknown.

    Attributes:
        exit_code: Null where it did not run, or its end was not seen; 124 after its time limit.
        timed_out: It was stopped at its time limit.
        duration_seconds: How long it ran, in whole seconds of the node's clock.
        last_lines: The end of what it printed on stdout and stderr; known secrets redacted.
        lines_skipped: Lines before these that are not here.
    """

    exit_code: int | None = None
    timed_out: bool = False
    timeout_seconds: int | None = None
    duration_seconds: int | None = None
    last_lines: str = ""
    lines_skipped: int | None = None


class WorkFile(FrozenModel):
    """A file that differs between the commit the agent started from and its work.

    Attributes:
        path: From the top of the repository; what is not UTF-8 is replaced, line feeds are escaped.
        insertions: Added lines; null for binary files.
        deletions: Removed lines; null for binary files.
        size_bytes: Of the new content; null for deleted files, submodules and what was left out.
        sha256: Of the new content, 64 hex digits; null where the size is.
    """

    path: str
    status: Literal["added", "modified", "deleted", "type_changed"]
    insertions: int | None = None
    deletions: int | None = None
    size_bytes: int | None = None
    sha256: str | None = None


class PublishedWork(FrozenModel):
    """Where the work was to be published, and whether it is there; null is unknown.

    Attributes:
        remote: Address of the repository, without credentials.
        commit: What the branch had when the remote was asked after the push; null if it was not
            pushed.
        replaced_commit: The work of an earlier run that was on the branch, and is no longer.
        pull_request_url: The page of the pull or merge request.
        problem: Why not all of it is there, one sentence; null if it is.
        advice: What to do about that, likewise.
    """

    deliver: Literal["push", "pull_request"]
    remote: str
    branch: str
    commit: str | None = None
    replaced_commit: str | None = None
    pull_request_url: str | None = None
    pull_request_number: int | None = None
    problem: str | None = None
    advice: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether the remote was seen to have all that was asked for."""
        has_request = self.deliver == "push" or self.pull_request_number is not None
        return self.commit is not None and has_request and self.problem is None


class WorkResult(FrozenModel):
    """What the agent made of its repository, and where it lies; null is unknown.

    Attributes:
        collected: All of it lies in the result storage, except for what `left_out` says.
        problem: Why it was not collected, one sentence; null if it was.
        checkpoint_at: When the checkpoint was made that all else is about, if it is none of the
            agent's end; UTC.
        base_commit: The commit the agent started from.
        head_commit: The commit it had checked out at its end.
        work_commit: That commit and what was not committed; equals it if nothing was.
        branch: The branch it had checked out; null if none.
        commits: In `head_commit` and not in `base_commit`.
        files_changed: Between `base_commit` and `work_commit`, as are the lines.
        files: The first 200 of them.
        left_out: What could not be collected, each a sentence for people.
        bundle_key: Of the Git bundle in the result storage; null if there is none.
        patch_key: Of the binary patch from `base_commit` to `work_commit`, likewise.
        files_key: Of the JSON of all changed files, likewise.
        published: Where it was pushed; null where nobody asked, or nothing changed.
    """

    collected: bool
    problem: str | None = None
    checkpoint_at: datetime | None = None
    base_commit: str | None = None
    head_commit: str | None = None
    work_commit: str | None = None
    branch: str | None = None
    commits: int | None = None
    files_changed: int | None = None
    insertions: int | None = None
    deletions: int | None = None
    files: tuple[WorkFile, ...] = ()
    left_out: tuple[str, ...] = ()
    bundle_key: str | None = None
    patch_key: str | None = None
    files_key: str | None = None
    bundle_bytes: int | None = None
    bundle_sha256: str | None = None
    published: PublishedWork | None = None

    @property
    def is_unchanged(self) -> bool:
        """Whether it is known that there is neither a commit nor a changed file."""
        return self.commits == 0 and self.files_changed == 0 and self.checkpoint_at is None

    @property
    def changes(self) -> str | None:
        """How much was changed, in words; `None` where nothing of that is known."""
        if self.commits == 0 and self.files_changed == 0:
            return "nothing changed"
        counts = ((self.commits, "commit"), (self.files_changed, "changed file"))
        parts = [
            f"{count:,} {noun}{'' if count == 1 else 's'}"
            for count, noun in counts
            if count is not None
        ]
        if self.insertions is not None and self.deletions is not None:
            parts.append(f"+{self.insertions:,} −{self.deletions:,} lines")
        return ", ".join(parts) or None


class Timings(FrozenModel):
    """Times in UTC; null if never reached or not observed."""

    started_at: datetime
    job_created_at: datetime | None = None
    agent_started_at: datetime | None = None
    agent_ended_at: datetime | None = None
    ended_at: datetime


class KubernetesNames(FrozenModel):
    """The Kubernetes objects of the run; null if they did not exist.

    Attributes:
        still_running: Other containers of the pod that had not ended when the run was concluded
            after its agent's end, by name; while one of them runs, the Job does not finish.
    """

    namespace: str
    job_name: str | None = None
    job_uid: str | None = None
    pod_name: str | None = None
    pod_uid: str | None = None
    node_name: str | None = None
    image: str | None = None
    still_running: tuple[str, ...] = ()


class PermissionDenial(FrozenModel):
    """A tool use that was denied to Claude."""

    tool_name: str
    tool_use_id: str | None = None


class AgentRunResult(FrozenModel):
    """The typed outcome of one run of one agent.

    Success is `error_code is None` and nothing else. Unknown values are null, never zero.

    Attributes:
        signal: Number of the signal that ended the agent (128 + n of the exit code, or the
            kubelet's); null for an ordinary exit.
        clear_session: The session must not be resumed by the next run.
        recurs_in_session: The session itself may be why it ended so; resumed, it may end likewise.
        cost_usd: From the last result; cumulative over the run.
        summary: The last non-empty result text, else the main agent's own texts.
        output: The answer as JSON, where the run has an `output_schema`; else null.
        check: How the check of the work ended; null where none was asked for.
        work: What the agent made of its repository; null where it was not to be collected.
        reattached_from: Flow run id of the earlier run that the Job, prompt and output belong to.
        check_first: What to look at first; completes "First check …". Null after success, and where
            the message says it.
        observed: What was seen of the run's end: names and values, in the order of a table.
        cluster_said: What the cluster reported about the ending; null if it reported nothing.
        facts_used: The facts behind the verdict, the deciding one first.
        not_observed: What was not observed, although it might have shown more.
        warnings: What may be wrong although the verdict does not rest on it.
        unknown_events: Event types that this version does not know, with their counts.
        last_result: The last result event as Claude Code printed it, known secrets redacted.
    """

    version: Literal[1] = RESULT_VERSION
    agent_id: str
    flow_run_id: str
    task_id: str | None = None
    attempt: int | None = None

    error_code: ErrorCode | None = None
    cause: Cause | None = None
    message: str
    check_first: str | None = None
    advice: str | None = None
    observed: tuple[tuple[str, str], ...] = ()
    cluster_said: str | None = None
    facts_used: tuple[str, ...] = ()
    not_observed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: int | None = None
    timed_out: bool = False

    session_id: str | None = None
    session: SessionParameters = SessionParameters()
    clear_session: bool = False
    recurs_in_session: bool = False
    resumed: bool = False

    model: str | None = None
    provider: str | None = None
    usage: TokenUsage = TokenUsage()
    cost_usd: float | None = None
    num_turns: int | None = None
    duration_ms: int | None = None
    summary: str | None = None
    output: Any = None
    check: CheckResult | None = None
    work: WorkResult | None = None
    permission_denials: tuple[PermissionDenial, ...] = ()
    unknown_events: tuple[tuple[str, int], ...] = ()

    transcript: TranscriptProof = TranscriptProof()
    timings: Timings
    kubernetes: KubernetesNames
    reattached_from: str | None = None
    prompt_bytes: int | None = None
    system_prompt_bytes: int | None = None
    last_result: dict[str, Any] | None = Field(default=None)

    @property
    def succeeded(self) -> bool:
        """Whether the run succeeded."""
        return self.error_code is None
