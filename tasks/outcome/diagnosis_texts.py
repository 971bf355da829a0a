"""The text of every ending, as data: what happened, what to check first, what to do.

Names in braces are filled in by the diagnosis; they are empty if there is nothing to report.
"""

from typing import NamedTuple

from tasks.observation.cluster_evidence import ARCHITECTURE_ADVICE
from tasks.outcome.reasons import Reason
from tasks.vocabulary.error_codes import Cause


class Wording(NamedTuple):
    """`check` completes "First check …"; only success has neither `check` nor `advice`."""

    happened: str
    check: str | None
    advice: str | None


WORDINGS: dict[Reason, Wording] = {
    Reason.CANCELLED: Wording(
        "The run was cancelled in Prefect and its Job was stopped, after {output} had been read",
        "who cancelled the flow run, in its list of states",
        "Nothing is broken. To continue, start a new run; it resumes the session.",
    ),
    Reason.TIMEOUT: Wording(
        "The agent was stopped because a time limit{limit} was reached, after {output} had been "
        "read{had}",
        "at the end of the log whether the agent was busy or waiting",
        "Give the run a longer timeout or a smaller task. The session is kept, so the next run "
        "continues from here.",
    ),
    Reason.STALLED: Wording(
        "The agent was stopped because it had printed nothing for {silence}, after {output} had "
        "been read{had}",
        "the last tool call in the log, which may still have been waiting",
        "Give that tool a time limit of its own, or raise or remove `stall_seconds`.",
    ),
    Reason.JOB_DELETED: Wording(
        "{job} was deleted by somebody else {before}, after {output} had been read",
        "who deletes Jobs in that namespace: people, quotas, clean-up jobs or a drain",
        "Find the deletion in the API server's audit log, then run again; the session is kept.",
    ),
    Reason.PREEMPTED_BY_QUEUE: Wording(
        "The queue of {job} suspended it while the agent was at work, after {output} had been "
        "read; the Job was deleted, because its next pod could not have gone on",
        "which work the queue admitted in its place",
        "Run again when the queue has room; the session is kept up to its last message. Agents "
        "that must not be interrupted need a higher priority in their queue.",
    ),
    Reason.API_REFUSED: Wording(
        "The Kubernetes API has refused every read for {api_silence}{api_failure}, so the state of "
        "{job} is unknown; it was not touched and may still be running",
        "the credentials that the run uses, and what their Role allows",
        "Renew the credentials or restore the permissions (`claude-jobs preflight` names what is "
        "missing), then start the run again: it finds the Job, and takes it over or stores its "
        "result.",
    ),
    Reason.API_LOST: Wording(
        "The Kubernetes API has not answered for {api_silence}{api_failure}, so the state of "
        "{job} is unknown; it was not touched and may still be running",
        "whether the API server can be reached from the flow run's pod",
        "Once the API answers, run again: that takes the Job over or stores its result.",
    ),
    Reason.REVOKED: Wording(
        "Another run took over this agent before the prompt was delivered, so Claude Code was not "
        "started",
        "which other run of this agent is active",
        "Start the run again when the other one has ended; nothing was sent to Claude.",
    ),
    Reason.CLOSING_RESULT_TORN: Wording(
        "Only a piece of the agent's last result is there, so the outcome is unknown",
        "what ended Claude Code at that moment, at the end of the log",
        "{see_answer}Resume the session to ask the agent for its answer again.",
    ),
    Reason.CLOSING_RESULT_LOST: Wording(
        "The agent's last result was printed but could not be read{missing}, so the outcome is "
        "unknown",
        "whether the flow run's service account may `exec` into pods, which recovers lost lines",
        "Allow `get` and `create` on pods/exec; resume the session to ask for the answer again.",
    ),
    Reason.SESSION_UNKNOWN: Wording(
        "Claude Code could not resume the session{said}",
        "that HOME and the working folder are on the persistent volume of the session's run",
        "A fresh session is tried once; the old one is forgotten as soon as that has begun.",
    ),
    Reason.MAX_TURNS: Wording(
        "The agent reached its maximum number of turns before it was done{said}",
        "in the transcript whether it was making progress or going in circles",
        "Raise `max_turns`, or split the task into smaller ones; the session has been cleared.",
    ),
    Reason.MAX_BUDGET: Wording(
        "The agent used up its budget before it was done{said}",
        "what the run cost, and on what, in the report",
        "Raise the budget and start again; the session is kept.",
    ),
    Reason.PROMPT_TOO_LONG: Wording(
        "The session has become longer than the model can read{said}",
        "the size of the prompt and of the session's history",
        "It will fail again in the same session. Shorten the prompt, or start a fresh session "
        "(`session: fresh`).",
    ),
    Reason.REFUSED: Wording(
        "The model declined to answer{said}",
        "what in the prompt, or in the files it read, may have looked harmful",
        "Rephrase the task, or choose another model.",
    ),
    Reason.LOGIN: Wording(
        "The model API did not accept the agent's login{status}{fields}{said}",
        "the key or token in the Kubernetes Secret that the agent block's credentials name",
        "Put a valid API key, auth token or OAuth token (`claude setup-token`) into that Secret; "
        "nobody can log in inside a pod.",
    ),
    Reason.RATE_LIMITED: Wording(
        "The model API rejected the agent because of too many requests or too much usage{status}"
        "{fields}{retries}{resets}{said}",
        "how many agents share this account",
        "Run again later, or run fewer agents at the same time; the session is kept.",
    ),
    Reason.BILLING: Wording(
        "The model API rejected the request because of the account's billing{status}{fields}{said}",
        "the credit and the plan of the account that the credentials belong to",
        "Buy credit or change the plan, then run again; retrying alone does not help.",
    ),
    Reason.MODEL_UNKNOWN: Wording(
        "The model does not exist, or not for this account{status}{fields}{said}",
        "the model's name in the agent block, and whether the account may use it",
        "Choose a model that is available to the account.",
    ),
    Reason.OUTPUT_LIMIT: Wording(
        "The model's answer was longer than the limit for one answer{fields}{said}",
        "what the agent was about to write in one piece",
        "Raise CLAUDE_CODE_MAX_OUTPUT_TOKENS, or ask for the work in smaller pieces.",
    ),
    Reason.CONNECTION: Wording(
        "The connection to the model API failed or broke off{fields}{retries}{said}",
        "the pod's connection to the API: network policy, proxy, DNS and ANTHROPIC_BASE_URL",
        "Run again once the connection works; the session is kept.",
    ),
    Reason.API_REJECTED: Wording(
        "The model API rejected the request{status}{fields}{said}",
        "what the API names: the prompt, a file or image in the session, or an option",
        "It will fail again in the same session. Correct what the API names, or start a fresh one "
        "(`session: fresh`).",
    ),
    Reason.API_UNAVAILABLE: Wording(
        "A request to the model API failed{status}{fields}{retries}{said}",
        "the status page of the model's provider",
        "Usually temporary: run again later; the session is kept.",
    ),
    Reason.API_FAILED: Wording(
        "A request to the model API failed{status}{fields}{retries}{said}",
        "what the API or the gateway in front of it said, in the transcript",
        "Run again once that is mended; the session is kept.",
    ),
    Reason.OUTPUT_INVALID: Wording(
        "The agent gave no answer that fits its output schema{said}",
        "in the transcript how it called `StructuredOutput`, and what it was told",
        "Make `output_schema` simpler, or say in the prompt what each field means.",
    ),
    Reason.HOOK_STOPPED: Wording(
        "A hook ended the run before the work was done{hook}{said}",
        "the hook's answer in the transcript, and the settings that configure it",
        "Change the hook or the task, then run again; the session is kept.",
    ),
    Reason.TOOL_DEFERRED: Wording(
        "The run ended at a tool call that a hook put off{tool}",
        "which hook answered `defer`, and whether the tool is still configured",
        "Resume the session where that hook allows or denies the call.",
    ),
    Reason.ABORTED: Wording(
        "Claude Code was interrupted before the work was done{said}",
        "what interrupted it: a signal, a hook or a permission check",
        "Run again to resume the session.",
    ),
    Reason.ERROR_RESULT: Wording(
        "Claude Code ended the run with an error result{subtype}{said}",
        "the last lines of the transcript",
        "Run again to resume the session, or fix what fails in the transcript.",
    ),
    Reason.UNFINISHED: Wording(
        "Claude Code ended in the middle of its work{word}{last_words}",
        "the end of the transcript",
        "Run again to resume the session.",
    ),
    Reason.EXIT_UNREADABLE: Wording(
        "Claude Code printed a result, but its exit code could not be observed",
        "whether the pod was evicted or deleted, or its node lost, in the namespace's events",
        "The result is in the report; run again if you need to be certain that the work was "
        "finished.",
    ),
    Reason.ENDED_AFTER_RESULT: Wording(
        "The agent was still working after its last result when its output ended",
        "at the end of the transcript what was running in the background",
        "{see_answer}Run again to resume the session.",
    ),
    Reason.EXIT_AFTER_RESULT: Wording(
        "Claude Code printed {kind_of_result}, but its process failed",
        "the lines of stderr at the end of the log",
        "{see_answer}Check whether the work is done before you run again.",
    ),
    Reason.ERROR_UNSAID: Wording(
        "Claude Code printed a result{subtype} that does not say whether it is an error{said}",
        "the version of Claude Code in the image",
        "Use a version of Claude Code whose results have the fields `is_error` and `subtype`.",
    ),
    Reason.ANSWERED_BY_CLI: Wording(
        "Claude Code ended with a message of its own instead of the model's answer{said}",
        "what the message names: a limit, the login, or the connection to the model API",
        "Run again once that is mended; the session is kept.",
    ),
    Reason.NO_ANSWER: Wording(
        "Claude Code ended without an error and without an answer: its result is empty",
        "in the transcript whether the model said nothing, or only used tools",
        "Run again, or ask in the prompt for a closing summary.",
    ),
    Reason.CHECK_UNKNOWN: Wording(
        "The agent finished, but the result of its check is unknown: {check_unknown}",
        "in the namespace's events what became of the pod",
        "The answer is in the report. Run again to resume the session; the check then runs again.",
    ),
    Reason.CHECK_TIMED_OUT: Wording(
        "The agent finished, but its check did not end within its limit{check_limit}{check_said}",
        "in the report what the check printed, and whether it waits for something",
        "Raise the check's `timeout_seconds`, or let it check less; the session is kept.",
    ),
    Reason.CHECK_FAILED: Wording(
        "The agent finished, but its check failed with exit code {check_code}{check_said}",
        "in the report what the check printed",
        "Run again to resume the session, and tell the agent what the check found.",
    ),
    Reason.NO_CHANGES: Wording(
        "The agent finished, but it changed nothing in its repository{work_left_out}",
        "in the answer why: there may have been nothing to do",
        "Say in the prompt what to change, or run it without `expect_changes`.",
    ),
    Reason.WORK_NOT_DELIVERED: Wording(
        "The agent finished, but its work could not be collected. {work_problem}{work_waits}",
        "in the namespace's events what became of the pod and of its container `keeper`",
        "{work_advice}",
    ),
    Reason.WORK_NOT_PUBLISHED: Wording(
        "The agent finished, but its work is not where it was to be published. {unpublished}",
        "what is on that branch of the remote",
        "{publish_advice}",
    ),
    Reason.SUCCESS: Wording("Finished and answered", None, None),
    Reason.NEVER_RAN: Wording(
        "The agent's container {never_ran}",
        "the pod's events in the report",
        "Fix what keeps the pod from starting, then run again.",
    ),
    Reason.LINES_LOST: Wording(
        "Some of the agent's output could not be read{missing}, and the rest has no result",
        "whether the flow run's service account may `exec` into pods, which recovers lost lines",
        "Allow `get` and `create` on pods/exec; resume the session to continue.",
    ),
    Reason.EMPTY_MODEL_ANSWER: Wording(
        "The model API answered with an empty message, and Claude Code gave no result",
        "that the model's provider, or the gateway in front of it, serves this model",
        "Run again; if it happens again, try another model or gateway.",
    ),
    Reason.BAD_INPUT: Wording(
        "Claude Code was not started because the input of the pod could not be used{refused}",
        "the run's Secret, and the source of skills and instructions",
        "Run again; if it happens again, check whether something changes the Secrets of runs.",
    ),
    Reason.NO_STDOUT: Wording(
        "{silent_end}{stderr}",
        "the image and the extra arguments of the agent block",
        "Fix what stderr reports. If stderr is empty, run the image by hand with `claude "
        "--version`.",
    ),
    Reason.NO_RESULT: Wording(
        "The agent's output ended without a result while it was working, after {output}{last_said}",
        "the end of the log, and the namespace's events about the pod",
        "Run again to resume the session; the output so far is in the transcript.",
    ),
    Reason.START_UP_ONLY: Wording(
        "Claude Code started but ended before the model said anything{fields}{retries}{last_said}",
        "the credentials, and whether the account may use the model",
        "Correct them, then run again.",
    ),
    Reason.UNMATCHED: Wording(
        "Claude Code ended without a single stream-json event{plain}",
        "that the image's `claude` is Claude Code itself and not a wrapper with other output",
        "Fix what the output reports, then run again.",
    ),
}

# What to do about a limit that was reached although the result had been printed by then.
AFTER_RESULT: dict[Reason, str] = dict.fromkeys(
    (Reason.TIMEOUT, Reason.STALLED),
    "The answer is in the report. Find what kept Claude Code from ending, such as an MCP server "
    "or a command in the background; more time would not help.",
)

# Endings that their reason does not explain: if the cause is known, it decides what to check.
EXPLAINED_BY_CAUSE = frozenset(
    {
        Reason.CLOSING_RESULT_TORN,
        Reason.ENDED_AFTER_RESULT,
        Reason.EXIT_AFTER_RESULT,
        Reason.EXIT_UNREADABLE,
        Reason.NEVER_RAN,
        Reason.NO_RESULT,
        Reason.NO_STDOUT,
        Reason.START_UP_ONLY,
        Reason.UNMATCHED,
    }
)

_START_AGAIN = "Run again; the session is kept up to its last message."


class CauseWording(NamedTuple):
    """What to check first and what to do, for a known cause."""

    check: str
    advice: str


# Endings by lines that could not be read; where the log was refused, that is what to look into.
LOSES_LINES = frozenset({Reason.CLOSING_RESULT_LOST, Reason.LINES_LOST})
LOG_REFUSED = CauseWording(
    "why the pod's log is not served: `kubectl logs` gets the same answer",
    "Repair what serves it: the node's kubelet, the API server's way to it, or `get` on pods/log. "
    "With `get` and `create` on pods/exec, runs read the output from the pod itself meanwhile.",
)

# Endings of a process that may never have become the agent.
STARTS_NOTHING = frozenset({Reason.NEVER_RAN, Reason.NO_STDOUT, Reason.UNMATCHED})
WRONG_ARCHITECTURE = CauseWording(
    "for which architectures the image is built, and which one the node has",
    ARCHITECTURE_ADVICE,
)

# What goes before such an ending, where the cause is known.
LEADS: dict[Cause, str] = {
    Cause.OOM_KILLED: "Killed: out of memory{memory_limit}",
    Cause.HEAP_EXHAUSTED: "Aborted: Claude Code used up the memory that Node.js gives it",
    Cause.SIGKILL: "Killed (SIGKILL): by whom is unknown",
    Cause.SIGTERM: "Stopped: the agent's process was asked to end (SIGTERM)",
    Cause.EVICTED: "Evicted: the cluster removed the pod from its node",
    Cause.POD_REPLACED: "Lost: the pod was deleted",
    Cause.PREEMPTED: "Preempted: the pod made room for work with a higher priority",
    Cause.NODE_LOST: "Lost: the node was removed or no longer answers",
    Cause.IMAGE_PULL: "The container image could not be pulled",
    Cause.UNSCHEDULABLE: "No node or queue had room for the pod, or no node matched its rules",
    Cause.CONFIG_ERROR: "Something that the pod needs is invalid or missing",
}

BY_CAUSE: dict[Cause | None, CauseWording] = {
    Cause.OOM_KILLED: CauseWording(
        "what the agent ran just before that, and the memory limit in the runtime block",
        "Raise the memory limit, then run again; the session is kept.",
    ),
    Cause.HEAP_EXHAUSTED: CauseWording(
        "what the agent held in memory just before that; the container had some left",
        "Give Node.js a larger heap (`--max-old-space-size` in NODE_OPTIONS) within the "
        "container's memory limit, then run again; the session is kept.",
    ),
    Cause.SIGKILL: CauseWording(
        "the node's events for a memory or disk problem, since the signal's sender is unknown",
        _START_AGAIN,
    ),
    Cause.SIGTERM: CauseWording(
        "who stopped the pod: a person, a drain or another controller",
        _START_AGAIN,
    ),
    Cause.EVICTED: CauseWording(
        "the eviction's reason, usually memory, disk or a drain of the node",
        "Set requests and limits that fit the work, then run again; the session is kept.",
    ),
    Cause.POD_REPLACED: CauseWording(
        "who deleted the pod, in the audit log or the Kubernetes Events of the namespace",
        _START_AGAIN,
    ),
    Cause.PREEMPTED: CauseWording(
        "which pod with a higher priority took its place",
        "Give agents a higher priority class or more capacity, then run again.",
    ),
    Cause.NODE_LOST: CauseWording(
        "the state of the node",
        _START_AGAIN,
    ),
    Cause.IMAGE_PULL: CauseWording(
        "the image's name and tag, and the pull secret",
        "Correct the image in the runtime block, then run again; nothing was sent to Claude.",
    ),
    Cause.UNSCHEDULABLE: CauseWording(
        "whether a node has enough free resources and matches the selector and tolerations",
        "Add capacity or lower the requests, then run again; nothing was sent to Claude.",
    ),
    Cause.CONFIG_ERROR: CauseWording(
        "the Secrets, ConfigMaps and the command that the container needs",
        "Fix what the kubelet reports, then run again.",
    ),
}
