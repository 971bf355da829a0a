"""What a run is asked to do: `AgentRunRequest`, the one parameter of a run."""

import re
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import (
    AbsolutePath,
    AgentSpec,
    EnvName,
    Identifier,
    SecretKey,
    SpecModel,
)
from tasks.vocabulary.errors import InputInvalid

BlockName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=255)]
SessionId = Annotated[
    # `--resume` takes other words for a search; Claude Code's own ids are UUIDs.
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=128)
]


class WakeComment(SpecModel):
    """What somebody said that the agent was woken for."""

    body: str = Field(description="The comment; a blank one is left out of the prompt.")
    author: Identifier | None = Field(default=None, description="Who said it.")
    id: Identifier | None = Field(default=None, description="Its id where it comes from.")


class Wake(SpecModel):
    """Why the agent was woken."""

    reason: str | None = Field(default=None, description="Why the agent was woken.")
    comments: tuple[WakeComment, ...] = Field(default=(), description="What people said.")


class Workspace(SpecModel):
    """What the agent works on."""

    cwd: AbsolutePath | None = Field(
        default=None, description="Absolute path in the pod where the agent works."
    )
    id: Identifier | None = Field(default=None, description="Id of the workspace.")
    repo_url: Identifier | None = Field(
        default=None, description="Address of the repository, without credentials."
    )
    repo_ref: Identifier | None = Field(
        default=None, description="Commit, tag or branch that work starts from."
    )
    branch: Identifier | None = Field(default=None, description="Branch that work goes to.")

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        # The user of an ssh address is no secret, that of a web address often is one.
        if re.match(r"https?://[^/]*@|[a-z+]+://[^/@]*:[^/@]*@", self.repo_url or ""):
            raise ValueError("repo_url holds credentials; the agent's credentials are for these")
        return self


class AgentRunRequest(BaseModel):
    """One wake-up of one agent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    agent: BlockName | AgentSpec = Field(
        description="Name of a Claude Agent block, or an agent described here."
    )
    runtime: BlockName | RuntimeSpec = Field(
        description="Name of an Agent Runtime block, or a runtime described here; the latter uses "
        "the pod's own cluster or the kubeconfig's."
    )
    task_id: Identifier | None = Field(
        default=None,
        description="Unit of work the agent is woken for; Jobs of other tasks are not taken over.",
    )
    session_id: SessionId | None = Field(
        default=None, description="Session to resume; a fresh one where empty."
    )
    prompt: str | None = Field(
        default=None,
        description="What the agent is told, as it stands, instead of its template. "
        "Visible in Prefect.",
    )
    prompt_secret: SecretKey | None = Field(
        default=None, description="Kubernetes Secret with the prompt, for a confidential one."
    )
    prompt_block: BlockName | None = Field(
        default=None, description="Prefect Secret block with the prompt, for a confidential one."
    )
    template_variables: dict[str, Any] = Field(
        default_factory=dict,
        description="What the agent's templates know as {{ context.NAME }}.",
    )
    wake: Wake = Field(default=Wake(), description="Why the agent is woken.")
    handoff_note: str | None = Field(
        default=None, description="What the previous session left for this one."
    )
    workspace: Workspace = Field(
        default=Workspace(), description="Folder and repository of the work."
    )
    linked_ids: tuple[Annotated[Identifier, StringConstraints(pattern=r"^[^,]+$")], ...] = Field(
        default=(), description="Ids of what else belongs to the task, for the agent's env."
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        description="More plain values for the agent's env. Visible in Prefect.",
    )
    timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        description="Seconds the agent may run; the runtime's ceiling where empty.",
    )

    @model_validator(mode="after")
    def _check_request(self) -> Self:
        given = [self.prompt, self.prompt_secret, self.prompt_block]
        if sum(source is not None for source in given) > 1:
            raise ValueError("prompt, prompt_secret and prompt_block exclude each other")
        return self


def parse_request(raw: object) -> AgentRunRequest:
    """Return the request that JSON describes.

    Raises:
        InputInvalid: It is none; see `describe_validation_error`.
    """
    try:
        return AgentRunRequest.model_validate(raw)
    except ValidationError as error:
        raise InputInvalid(describe_validation_error("run request", error)) from None


def describe_validation_error(subject: str, error: ValidationError) -> str:
    """Say in one sentence which fields are wrong and how, without any value.

    Messages of pydantic name bounds and patterns, never the input.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    fields_in_detail = {p["loc"][:1] for p in problems if p["type"] not in _WRONG_BRANCH}
    sentences = [
        _describe_problem(subject, problem)
        for problem in problems
        if problem["type"] not in _WRONG_BRANCH or problem["loc"][:1] not in fields_in_detail
    ]
    return f"The {subject} is not valid: {'; '.join(dict.fromkeys(sentences))}."


# A field that takes a name or an object says for each of them that the input is not the other.
_WRONG_BRANCH = frozenset({"string_type", "model_type"})


def _describe_problem(subject: str, problem: ErrorDetails) -> str:
    # What pydantic calls the branches of a union is no field.
    fields = [str(part) for part in problem["loc"] if re.fullmatch(r"\w+", str(part))]
    return f"{'.'.join(fields) or subject}: {problem['msg'].removeprefix('Value error, ')}"
