"""Container endings, classes of stream and what the API still shows: the facts of each pair."""

from dataclasses import replace
from typing import Any, NamedTuple

from tasks.claude_code.session_summary import SessionSummary
from tasks.observation.api_fields import Condition
from tasks.observation.cluster_evidence import NodeSnapshot
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.run_facts import JobGone, PodReplacement, RunFacts
from tasks.outcome.run_result import LineRange, TranscriptProof
from tasks.transcript.line_grammar import Refusal, Trailer
from tests.unit.outcome.recordings import read_recording, summarise

_POD, _JOB = "agent-x-1", "agent-x"
_TRAILER = Trailer(
    version=1,
    lines=3,
    stdout_bytes=5722,
    sha256="0" * 64,
    exit_code=0,
    timed_out=False,
    last_result_line=None,
    copied_lines=3,
    stderr_lines=0,
    stderr_skipped=0,
    refused=None,
)


class EndingFacts(NamedTuple):
    """How the container ended, and what the run script wrote about it; `None` is not seen."""

    fields: dict[str, Any]
    trailer: dict[str, Any] | None = None


class StreamFacts(NamedTuple):
    """What was read of the agent's output, and what its trailer said of it."""

    fields: dict[str, Any]
    trailer: dict[str, Any] | None = None


def _exit(code: int, reason: str | None = None) -> dict[str, Any]:
    return {"container_started": True, "container_exit_code": code, "container_reason": reason}


def _recorded(name: str) -> SessionSummary:
    return summarise(read_recording(name).stdout)


ENDINGS: dict[str, EndingFacts] = {
    "never ran": EndingFacts({"container_started": False}),
    "exit 0": EndingFacts(_exit(0)),
    "exit 1": EndingFacts(_exit(1)),
    "SIGTERM": EndingFacts(_exit(143)),
    "SIGKILL": EndingFacts(_exit(137)),
    "OOM": EndingFacts(_exit(137, "OOMKilled")),
    "child OOM": EndingFacts(_exit(0, "OOMKilled")),
    "timed out": EndingFacts(_exit(124), {"exit_code": 124, "timed_out": True}),
    "trailer 0": EndingFacts({"container_started": True}, {"exit_code": 0}),
    "unseen": EndingFacts({"container_started": True}),
    "made up": EndingFacts(_exit(137, "ContainerStatusUnknown")),
    "2nd pod": EndingFacts(
        _exit(76), {"exit_code": 76, "refused": Refusal.POD_REPLACED, "lines": 0}
    ),
}

STREAMS: dict[str, StreamFacts] = {
    "nothing": StreamFacts({}),
    "start-up": StreamFacts({"session": _recorded("killed_sigkill_after_init")}),
    "working": StreamFacts({"session": _recorded("killed_sigterm_during_tool")}),
    "answer": StreamFacts({"session": _recorded("ok")}),
    "went on": StreamFacts(
        {"session": replace(_recorded("ok"), output_after_result=True, turn_open=True)}
    ),
    "empty": StreamFacts({"session": _recorded("empty_text")}),
    "API error": StreamFacts({"session": _recorded("api_error_500")}),
    "max turns": StreamFacts({"session": _recorded("max_turns")}),
    "no session": StreamFacts({"session": _recorded("resume_unknown"), "resume_requested": True}),
    "lost": StreamFacts(
        {
            "session": _recorded("ok"),
            "transcript": TranscriptProof(
                complete=False, lines=2, missing=(LineRange(first=5, last=9),)
            ),
        },
        {"last_result_line": 7},
    ),
}

_PREEMPTED = KubernetesEventSnapshot(
    "Preempted", "Preempted by other/pod", "Warning", about_kind="Pod", about_name=_POD
)
_REPLACED = PodReplacement(_POD, "agent-x-2")

VIEWS: dict[str, dict[str, Any]] = {
    "Job and pod": {"pod_gone": False},
    "pod replaced": {"pod_gone": True, "pod_replaced": _REPLACED},
    "Job gone": {"pod_gone": True, "job_gone": JobGone("two reads of the Job by name", 61.0, 12)},
    "Job being deleted": {"pod_gone": False, "job_deletion_seen": True},
    "deadline": {
        "pod_gone": True,
        "job_conditions": (Condition("Failed", "True", "DeadlineExceeded"),),
    },
    "evicted": {"pod_gone": False, "pod_reason": "Evicted"},
    "preempted": {"pod_gone": True, "kubernetes_events": (_PREEMPTED,)},
    "node lost": {
        "pod_gone": False,
        "pod_deleting": True,
        "node": NodeSnapshot("n1", (Condition("Ready", "Unknown"),)),
        "pod_replaced": _REPLACED,
    },
    "API away": {"api_lost_seconds": 601.0},
}


def facts_of(ending: str, stream: str, view: str) -> RunFacts:
    """Return the facts of one cell of the matrix."""
    ended, said = ENDINGS[ending], STREAMS[stream]
    written = {**(said.trailer or {}), **(ended.trailer or {})}
    if said.trailer is not None:
        written.setdefault("exit_code", ended.fields.get("container_exit_code", 0))
    return RunFacts(
        **ended.fields,
        **said.fields,
        **VIEWS[view],
        job_name=_JOB,
        pod_name=_POD,
        trailer=replace(_TRAILER, **written) if written else None,
    )
