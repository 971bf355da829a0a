"""The wording of every ending, as data: what happened, what to check first, what to do.

Names in braces are filled in by the diagnosis and are empty where there is nothing to say.
"""

from typing import NamedTuple

from tasks.outcome.precedence import Reason
from tasks.vocabulary.error_codes import Cause


class Wording(NamedTuple):
    """`check` completes "first check …"; both it and `advice` are missing for success alone."""

    happened: str
    check: str | None
    advice: str | None


WORDINGS: dict[Reason, Wording] = {
    Reason.CANCELLED: Wording(
        "The run was cancelled in Prefect, and its Job was ended with {output} read",
        "who cancelled the flow run, in its list of states",
        "Nothing is broken; start a new run to go on, it resumes the session.",
    ),
    Reason.TIMEOUT: Wording(
        "The agent was ended because a time limit{limit} was reached, with {output} read",
        "at the end of the log whether the agent was busy or waiting",
        "Give the run a longer timeout or a smaller task; the session is kept, so that the next "
        "run goes on from here.",
    ),
    Reason.STALLED: Wording(
        "The agent was ended because it had printed nothing for {silence}, with {output} read",
        "the last tool call in the log, which may still have been waiting",
        "Make that tool end by itself, or lengthen or switch off the stall rule.",
    ),
    Reason.JOB_DELETED: Wording(
        "{job} was deleted by somebody else before the agent had ended, with {output} read "
        "[{forensics}]",
        "who deletes Jobs in that namespace: people, quotas, clean-up jobs or a drain",
        "Look in the API server's audit log for the deletion, then start the run again; the "
        "session is kept.",
    ),
    Reason.API_LOST: Wording(
        "The Kubernetes API has not answered for {api_silence}, so how {job} ended is unknown; it "
        "was left alone and may still be running",
        "whether the API server can be reached from the flow run's pod",
        "Once the API answers, start the run again: it finds the Job and takes over or collects "
        "its result.",
    ),
    Reason.REVOKED: Wording(
        "Another run had taken over this agent before the prompt was handed over, so Claude Code "
        "was not started",
        "which other run of this agent is active",
        "Start the run again when the other one has ended; nothing was sent and nothing paid.",
    ),
    Reason.CLOSING_RESULT_LOST: Wording(
        "The agent's closing result was printed but could not be read{missing}, so how it ended is "
        "unknown",
        "whether the flow run's identity may `exec` into pods, which recovers lost lines",
        "Allow `get` and `create` on pods/exec; resume the session to ask the agent for its "
        "answer again.",
    ),
    Reason.SESSION_UNKNOWN: Wording(
        "Claude Code does not know the session it was told to resume{said}",
        "that HOME and the working folder are the same persistent volume as in the session's run",
        "The session has been cleared; the next run starts a fresh one.",
    ),
    Reason.MAX_TURNS: Wording(
        "The agent used up its number of turns before it was done{said}",
        "in the transcript whether it was making progress or going round in circles",
        "Raise max turns, or cut the task into smaller ones; the session has been cleared.",
    ),
    Reason.MAX_BUDGET: Wording(
        "The agent used up its budget before it was done{said}",
        "what the run cost, and on what, in the report",
        "Raise the budget and start again; the session is kept.",
    ),
    Reason.PROMPT_TOO_LONG: Wording(
        "The session has become longer than the model can read{said}",
        "the size of the prompt and of what the session has gathered",
        "Shorten the prompt or start a fresh session.",
    ),
    Reason.REFUSED: Wording(
        "The model declined to answer{said}",
        "what in the prompt or in the files it read may have been taken for harmful",
        "Rephrase the task, or choose another model.",
    ),
    Reason.LOGIN: Wording(
        "The model API did not accept the agent's login{status}{fields}{said}",
        "the key or token in the Kubernetes Secret that the agent block's credentials name",
        "Put a valid API key, auth token or OAuth token (`claude setup-token`) into that Secret; "
        "nobody can log in inside a pod.",
    ),
    Reason.RATE_LIMITED: Wording(
        "The model API turned the agent away for too many requests or too much usage{status}"
        "{fields}{retries}{resets}{said}",
        "how many agents share this account",
        "Run again later, or with fewer agents at a time; the session is kept.",
    ),
    Reason.BILLING: Wording(
        "The model API refused because of the account's billing{status}{fields}{said}",
        "the balance and the plan of the account that the credentials belong to",
        "Buy credit or change the plan, then run again; retrying alone does not help.",
    ),
    Reason.MODEL_UNKNOWN: Wording(
        "The model API does not know the model, or not for this account{status}{fields}{said}",
        "the model's name in the agent block, and whether the account may use it",
        "Choose a model that the account has.",
    ),
    Reason.OUTPUT_LIMIT: Wording(
        "The model's answer was longer than the limit for one answer{fields}{said}",
        "what the agent was about to write in one piece",
        "Raise CLAUDE_CODE_MAX_OUTPUT_TOKENS, or ask for the work in smaller pieces.",
    ),
    Reason.CONNECTION: Wording(
        "The connection to the model API failed or broke off{fields}{retries}{said}",
        "the pod's way to the API: network policy, proxy, DNS and ANTHROPIC_BASE_URL",
        "Run again once the way is clear; the session is kept.",
    ),
    Reason.API_FAILED: Wording(
        "A request to the model API failed{status}{fields}{retries}{said}",
        "the status page of the model's provider",
        "Usually temporary: run again later; the session is kept.",
    ),
    Reason.ERROR_RESULT: Wording(
        "Claude Code ended the run with an error result{subtype}{said}",
        "the last lines of the transcript",
        "Run again to resume the session, or change what the transcript shows as failing.",
    ),
    Reason.EXIT_UNREADABLE: Wording(
        "Claude Code printed a result, but how its process ended could not be observed",
        "whether the pod was evicted or deleted, or its node lost, in the namespace's events",
        "The result is kept in the report; run again if it must be certain that the work was "
        "finished.",
    ),
    Reason.ENDED_AFTER_RESULT: Wording(
        "The agent was working on after its last result when it ended",
        "what it had running in the background, at the end of the transcript",
        "The answer so far is in the report; run again to resume the session.",
    ),
    Reason.EXIT_AFTER_RESULT: Wording(
        "Claude Code printed a good result, but its process did not end well",
        "the lines of stderr at the end of the log",
        "The answer is in the report; make sure that the work is done, then decide about another "
        "run.",
    ),
    Reason.ERROR_UNSAID: Wording(
        "Claude Code printed a result{subtype} that does not say whether it is an error{said}",
        "the version of Claude Code in the image",
        "Use a version of Claude Code whose results carry `is_error`.",
    ),
    Reason.NO_ANSWER: Wording(
        "Claude Code ended without an error and without an answer: its result is empty",
        "the transcript: the model may have said nothing, or only used tools",
        "Run again, or ask in the prompt for a closing summary.",
    ),
    Reason.SUCCESS: Wording("Claude Code finished and gave an answer", None, None),
    Reason.NEVER_RAN: Wording(
        "The agent's container never ran",
        "the pod's events in the report",
        "Remove what keeps the pod from starting, then run again; nothing was sent to Claude.",
    ),
    Reason.LINES_LOST: Wording(
        "The agent printed output that could not be read{missing}, and no result was found in the "
        "rest",
        "whether the flow run's identity may `exec` into pods, which recovers lost lines",
        "Allow `get` and `create` on pods/exec; resume the session to go on.",
    ),
    Reason.EMPTY_MODEL_ANSWER: Wording(
        "The model API answered with an empty message, and Claude Code gave no result",
        "that the model's provider, or the gateway before it, serves this model",
        "Run again; if it stays so, try another model or gateway.",
    ),
    Reason.BAD_INPUT: Wording(
        "Claude Code was not started because what was handed to the pod could not be used{refused}",
        "the run's Secret, and where skills and instructions come from",
        "Run again; if it stays so, build the bundle anew so that its hash fits.",
    ),
    Reason.NO_STDOUT: Wording(
        "Claude Code ended without printing anything{stderr}",
        "the image and the extra arguments of the agent block",
        "Correct what stderr says; without a word there, start the image by hand with `claude "
        "--version`.",
    ),
    Reason.NO_RESULT: Wording(
        "The agent was at work when its output ended without a result, with {output} read{plain}",
        "the end of the log, and the namespace's events about the pod",
        "Run again to resume the session; what was said so far is in the transcript.",
    ),
    Reason.START_UP_ONLY: Wording(
        "Claude Code started but ended before the model said anything{fields}{retries}{plain}",
        "the credentials, and whether the account may use the model",
        "Correct them, then run again.",
    ),
    Reason.UNMATCHED: Wording(
        "Claude Code ended without a single stream-json event{plain}",
        "that the image's `claude` is Claude Code itself and not a wrapper that prints otherwise",
        "Correct what the output says, then run again.",
    ),
}

# Endings without a reason of their own: where the cause is known, it says what to look at.
EXPLAINED_BY_CAUSE = frozenset(
    {
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

_START_AGAIN = "Run again; the session is kept, so that nothing before the last message is lost."


class CauseWording(NamedTuple):
    """What to check first and what to do, by what ended the container."""

    check: str
    advice: str


BY_CAUSE: dict[Cause | None, CauseWording] = {
    Cause.OOM_KILLED: CauseWording(
        "what the agent ran just before, and the memory limit of the runtime block",
        "Raise the memory limit, then run again; the session is kept.",
    ),
    Cause.SIGKILL: CauseWording(
        "the node's events for a memory or disk problem, since nothing says who sent the signal",
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
        "who deleted the first pod, in the namespace's events",
        _START_AGAIN,
    ),
    Cause.PREEMPTED: CauseWording(
        "which pod of a higher priority came in its place",
        "Give agents a priority class of their own or more room, then run again.",
    ),
    Cause.NODE_LOST: CauseWording(
        "what became of the node",
        _START_AGAIN,
    ),
    Cause.IMAGE_PULL: CauseWording(
        "the image's name and tag, and the pull secret",
        "Correct the image in the runtime block, then run again; nothing was sent to Claude.",
    ),
    Cause.UNSCHEDULABLE: CauseWording(
        "whether a node has room and fits the selector and tolerations",
        "Make room or ask for less, then run again; nothing was sent to Claude.",
    ),
    Cause.CONFIG_ERROR: CauseWording(
        "the Secrets, ConfigMaps and the command that the container needs",
        "Correct what the kubelet names, then run again.",
    ),
}
