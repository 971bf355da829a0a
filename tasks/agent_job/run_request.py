"""`AgentRunRequest`: the one parameter of a run."""

import json
import re
from itertools import takewhile
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import (
    CONTROLS,
    AbsolutePath,
    AgentSpec,
    Delivery,
    EnvName,
    Identifier,
    OutputSchema,
    SecretKey,
    SpecModel,
    WorkCheck,
)
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid

_Parameter = TypeVar("_Parameter", bound=BaseModel)

BlockName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=255)]
SessionId = Annotated[
    # `--resume` treats other text as a search; Claude Code's own ids are UUIDs.
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=128)
]

LinkedId = Annotated[
    # As `Identifier`, whose pattern a second one would replace. The agent gets them in one
    # variable, separated by commas.
    str, StringConstraints(pattern=rf"^[^{CONTROLS},]+$", max_length=256, strip_whitespace=True)
]


# Git takes a scheme in capitals too.
_HAS_CREDENTIALS = re.compile(r"https?://[^/]*@|[a-z][a-z0-9+.-]*://[^/@]*:[^/@]*@", re.IGNORECASE)
_SESSION_WORDS = frozenset({"fresh", "resume"})


class WakeComment(SpecModel):
    """A comment that the agent was woken to read."""

    body: str = Field(description="Text of the comment. Blank comments are left out of the prompt.")
    author: Identifier | None = Field(default=None, description="Author of the comment.")
    id: Identifier | None = Field(default=None, description="Id of the comment at its source.")


class Wake(SpecModel):
    """The reason for waking the agent, with the comments that led to it."""

    reason: str | None = Field(default=None, description="Reason for waking the agent.")
    comments: tuple[WakeComment, ...] = Field(default=(), description="Comments for the agent.")


class Workspace(SpecModel):
    """What the agent works on."""

    cwd: AbsolutePath | None = Field(
        default=None, description="Absolute path of the agent's working folder in the pod."
    )
    id: Identifier | None = Field(default=None, description="Id of the workspace.")
    repo_url: Identifier | None = Field(
        default=None, description="Address of the repository, without credentials."
    )
    repo_ref: Identifier | None = Field(
        default=None, description="Commit, tag or branch to start from."
    )
    branch: Identifier | None = Field(default=None, description="Branch for the agent's commits.")

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        # The user in an ssh address is no secret; the one in a web address often is.
        if _HAS_CREDENTIALS.match(self.repo_url or ""):
            raise ValueError("repo_url contains credentials; use the agent's credentials instead")
        return self


class AgentRunRequest(SpecModel):
    """One wake-up of one agent."""

    agent: BlockName | AgentSpec = Field(
        description="Name of a Claude Code Agent block, or an inline agent."
    )
    runtime: BlockName | RuntimeSpec = Field(
        description="Name of a Claude Code Agent Runtime block, or an inline runtime. An inline "
        "runtime uses the cluster of the flow run's pod, else that of the kubeconfig."
    )
    task_id: Identifier | None = Field(
        default=None,
        description="Task the agent works on. Jobs of other tasks are not taken over.",
    )
    session_id: SessionId | None = Field(
        default=None, description="Older name of `session`; an id only."
    )
    session: Literal["fresh", "resume"] | SessionId | None = Field(
        default=None,
        description="`fresh` for a new session, `resume` for the task's last one (a new one if "
        "there is none), or the id of the session to resume. Empty is the same as `resume`.",
    )
    prompt: str | None = Field(
        default=None,
        description="Prompt, used verbatim instead of the agent's template. Visible in Prefect.",
    )
    prompt_secret: SecretKey | None = Field(
        default=None, description="Kubernetes Secret that holds a confidential prompt."
    )
    prompt_block: BlockName | None = Field(
        default=None, description="Prefect Secret block that holds a confidential prompt."
    )
    template_variables: dict[str, Any] = Field(
        default_factory=dict,
        description="Values for {{ context.NAME }} in the agent's templates.",
    )
    wake: Wake = Field(default=Wake(), description="Why the agent was woken.")
    handoff_note: str | None = Field(
        default=None, description="Note from the previous session to this one."
    )
    workspace: Workspace = Field(
        default=Workspace(), description="Folder and repository that the agent works on."
    )
    linked_ids: tuple[LinkedId, ...] = Field(
        default=(), description="Ids of related items, passed to the agent in its environment."
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        description="Additional environment variables for the agent. Visible in Prefect.",
    )
    output_schema: OutputSchema | None = Field(
        default=None, description="JSON Schema of the answer, instead of the agent's own."
    )
    check: WorkCheck | None = Field(
        default=None,
        description="Command that checks the work of the agent, instead of the agent's own.",
    )
    deliver: Delivery | None = Field(
        default=None,
        description="What leaves the pod of what the agent made, `none`, `collect`, `push` or "
        "`pull_request`, instead of the agent's own.",
    )
    expect_changes: bool | None = Field(
        default=None,
        description="Whether the agent must change something in its repository, instead of the "
        "agent's own.",
    )
    timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        description="Seconds the agent may run; the runtime's ceiling if empty.",
    )

    @property
    def names_block(self) -> bool:
        """Whether something of it is kept in Prefect."""
        return any(isinstance(v, str) for v in (self.agent, self.runtime, self.prompt_block))

    @model_validator(mode="after")
    def _check_request(self) -> Self:
        given = [self.prompt, self.prompt_secret, self.prompt_block]
        if sum(source is not None for source in given) > 1:
            raise ValueError("set only one of prompt, prompt_secret and prompt_block")
        if self.session is not None and self.session_id is not None:
            raise ValueError("set session or session_id, not both")
        return self

    @property
    def asked_session(self) -> str | None:
        """The id of the session to resume; `None` if the request names none."""
        return self.session_id or (None if self.session in _SESSION_WORDS else self.session)

    @property
    def asks_for_fresh_session(self) -> bool:
        """Whether no session is to be resumed, remembered or not."""
        return self.session == "fresh"

    def in_session(self, session_id: str | None) -> "AgentRunRequest":
        """Return the request for another session; `None` for a fresh one."""
        session = None if session_id else self.session
        if session not in _SESSION_WORDS:
            session = None
        return self.model_copy(update={"session_id": session_id, "session": session})


def parse_request(raw: object) -> AgentRunRequest:
    """Parse a request from JSON.

    Raises:
        InputInvalid: It is not a valid request; see `describe_validation_error`.
    """
    return parse_parameter(AgentRunRequest, raw, "run request")


def parse_parameter(model: type[_Parameter], raw: object, subject: str) -> _Parameter:
    """Parse a flow's parameter from JSON; one that is parsed already is returned as it is.

    Args:
        model: What it is to be.
        raw: The parameter as it was given.
        subject: What to call it in the sentence about its faults.

    Raises:
        InputInvalid: It is not valid; see `describe_validation_error`.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise InputInvalid(describe_validation_error(subject, error)) from None


def refuse_oversize(request: AgentRunRequest, limit_bytes: int) -> None:
    """Refuse a request that Prefect would not take as a flow run's parameters.

    Args:
        request: The only parameter of the flow run.
        limit_bytes: The most that Prefect takes of all parameters; 0 is no limit.

    Raises:
        InputInvalid: With code `prompt_too_large`; names the largest field, quotes nothing.
    """
    fields = request.model_dump(mode="json")
    size = _stored_bytes({"request": fields})
    if not 0 < limit_bytes < size:
        return
    largest = max(fields, key=lambda name: _stored_bytes(fields[name]))
    raise InputInvalid(
        f"The request has {size:,} bytes as JSON, of which `{largest}` has "
        f"{_stored_bytes(fields[largest]):,}; Prefect takes at most {limit_bytes:,}. "
        + _SMALLER.get(largest, "Put large material into the workspace or into a Secret."),
        code=ErrorCode.PROMPT_TOO_LARGE,
    )


_SMALLER = {
    "prompt": "Put the prompt into a Kubernetes Secret and name it in `prompt_secret`, or into a "
    "Secret block of Prefect and name it in `prompt_block`.",
    "agent": "Save the agent as a Claude Code Agent block and name the block.",
    "runtime": "Save the runtime as a Claude Code Agent Runtime block and name the block.",
    "env": "Put large values into a Secret and name it in the runtime's `env_from_keys` or "
    "`mounts`.",
}


def _stored_bytes(value: object) -> int:
    # As Prefect's server counts: its letters outside ASCII are escaped.
    return len(json.dumps(value, separators=(",", ":")))


def describe_validation_error(subject: str, error: ValidationError) -> str:
    """Return one sentence that names each wrong field and its fault, without any value.

    Pydantic's messages name bounds and patterns, never the input.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    in_detail = {
        problem["loc"][:length]
        for problem in problems
        if problem["type"] not in _WRONG_BRANCH
        for length in range(1, len(problem["loc"]) + 1)
    }
    with_wrong_items = {
        problem["loc"][:length] for problem in problems for length in range(len(problem["loc"]))
    }
    sentences = [
        _describe_problem(subject, problem)
        for problem in problems
        if not (problem["type"] in _WRONG_BRANCH and _field(problem) in in_detail)
        # Pydantic counts only the items that are valid.
        and not (problem["type"] == "too_short" and problem["loc"] in with_wrong_items)
    ]
    return f"The {subject} is not valid: {'; '.join(dict.fromkeys(sentences))}."


# For a field that accepts a name or an object, pydantic reports each branch that did not match.
_WRONG_BRANCH = frozenset({"string_type", "model_type"})


def _describe_problem(subject: str, problem: ErrorDetails) -> str:
    fields = [str(part) for part in problem["loc"] if _is_field_name(part)]
    return f"{'.'.join(fields) or subject}: {problem['msg'].removeprefix('Value error, ')}"


def _field(problem: ErrorDetails) -> tuple[str | int, ...]:
    """Return where the field is, without the branch of its union that did not match."""
    return tuple(takewhile(_is_field_name, problem["loc"]))


def _is_field_name(part: str | int) -> bool:
    # Pydantic's names for the branches of a union are not field names.
    return re.fullmatch(r"\w+", str(part)) is not None
