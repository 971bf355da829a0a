"""Which agent runs and how Claude Code is set up: `AgentSpec`, the values of a `ClaudeAgent` block.

A spec holds no secrets: credentials are references to keys of Kubernetes Secrets, so a spec can be
a flow parameter, and can be logged and stored.
"""

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from tasks.claude_code.extra_args import refused_extra_args
from tasks.text.safe_text import find_unusable

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)
]
DataKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
# What ends a line or steers a terminal: C0, DEL, C1 and the line separators beyond ASCII.
CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"

AbsolutePath = Annotated[str, StringConstraints(pattern=rf"^/[^{CONTROLS}:]*$", max_length=4096)]
Identifier = Annotated[
    # Exact ids are stored in annotations and env, so any text on one line is allowed.
    str, StringConstraints(pattern=rf"^[^{CONTROLS}]+$", max_length=256, strip_whitespace=True)
]
ModelName = Annotated[
    str, StringConstraints(pattern=rf"^[^-\s{CONTROLS}][^\s{CONTROLS}]*$", max_length=256)
]

PermissionMode = Literal["bypassPermissions", "acceptEdits", "auto", "default", "dontAsk", "plan"]
Effort = Literal["low", "medium", "high", "xhigh", "max"]
Provider = Literal["anthropic", "bedrock", "vertex"]
Delivery = Literal["none", "collect", "push", "pull_request"]

DEFAULT_PROMPT_TEMPLATE = "You are the agent {{ agent.name }}. Go on with your work."

_PROBLEMS_NAMED = 5

# Names that MCP servers use for credentials, in headers and in env.
_CREDENTIAL_NAME = re.compile(r"authorization|token|secret|password|api[-_]?key", re.IGNORECASE)


def _check_schema_size(schema: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(schema))
    if size > OUTPUT_SCHEMA_LIMIT_BYTES:
        raise ValueError(f"has {size:,} bytes of at most {OUTPUT_SCHEMA_LIMIT_BYTES:,}")
    return schema


# It stands on the command line, where Linux takes 128 KiB of one argument.
OUTPUT_SCHEMA_LIMIT_BYTES = 64 * 1024
OutputSchema = Annotated[dict[str, Any], AfterValidator(_check_schema_size)]
# A value of its env is one argument of a command in the pod.
CHECK_LIMIT_BYTES = 64 * 1024


class CheckedText(BaseModel):
    """Base of everything that people fill in: no text of it is one that cannot be stored."""

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, given: Any) -> Any:
        problems = [*find_unusable(given)]
        if problems:
            raise ValueError("; ".join(problems[:_PROBLEMS_NAMED]))
        return given


class SpecModel(CheckedText):
    """Base of configured values: frozen, no unknown fields, no input values in error messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SecretKey(SpecModel):
    """One key of a Kubernetes Secret in the namespace of the agent's Job."""

    secret: ObjectName = Field(description="Name of the Kubernetes Secret.")
    key: DataKey = Field(description="Key within the Secret.")


class Credential(SpecModel):
    """A key of a Kubernetes Secret that is passed to the agent as an environment variable."""

    env: EnvName = Field(description="Environment variable, for example ANTHROPIC_API_KEY.")
    secret: ObjectName = Field(description="Name of the Kubernetes Secret.")
    key: DataKey = Field(description="Key within the Secret.")


class Callback(SpecModel):
    """An API that the agent may call while it works."""

    api_url: Annotated[str, StringConstraints(pattern=rf"^https?://[^\s{CONTROLS}@]+$")] = Field(
        description="URL of the API, without credentials. The agent gets it as CLAUDE_JOBS_API_URL."
    )
    secret: ObjectName = Field(description="Name of the Kubernetes Secret with the credential.")
    key: DataKey = Field(
        description="Key within the Secret. The agent gets its value as CLAUDE_JOBS_API_TOKEN."
    )


class Skill(SpecModel):
    """A folder of files that Claude Code loads as a skill."""

    name: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=64)
    ] = Field(description="Name of the skill: lowercase letters, digits and dashes.")
    files: dict[str, str] = Field(
        description="File contents by path within the skill's folder. SKILL.md is required."
    )

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if "SKILL.md" not in self.files:
            raise ValueError(f"skill {self.name} has no SKILL.md")
        for path in self.files:
            parts = path.split("/")
            if not path.isprintable() or any(part in {"", ".", ".."} for part in parts):
                raise ValueError(f"skill {self.name} has a file outside its folder")
        return self


class WorkCheck(SpecModel):
    """A command that checks the work of an agent that has ended well.

    It runs in the agent's container, on the files that the agent leaves, so an agent can change
    what the command does.
    """

    command: str = Field(
        description="Shell command, for example `npm test`. It runs in the agent's container and "
        "working directory once the agent has ended well. If its exit code is other than 0, the "
        "run ends with `check_failed`."
    )
    timeout_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description="Seconds the command may run. They do not count against the agent's timeout.",
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        repr=False,
        description="Additional environment variables for the command alone. Their values are "
        "masked in logs and artifacts, but not in the parameters of the flow run.",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if not self.command.strip():
            raise ValueError("command is blank")
        sizes = {
            "command": len(self.command.encode()),
            "env": sum(len(f"{name}={value}".encode()) for name, value in self.env.items()),
        }
        for field, size in sizes.items():
            if size > CHECK_LIMIT_BYTES:
                raise ValueError(f"{field} has {size:,} bytes of at most {CHECK_LIMIT_BYTES:,}")
        return self


class AgentFields(CheckedText):
    """The fields that the agent block and the frozen spec share."""

    agent_id: Identifier = Field(
        description="Id of the agent. At most one Job per id and namespace runs at a time."
    )
    name: Identifier | None = Field(default=None, description="Display name; the id if empty.")
    tenant_id: Identifier | None = Field(
        default=None,
        description="Tenant the agent works for; only recorded and passed to the agent.",
    )
    provider: Provider = Field(
        default="anthropic",
        description="API that serves the model. Bedrock and Vertex need their own credentials.",
    )
    model: ModelName | None = Field(
        default=None, description="Model name or alias; Claude Code's default if empty."
    )
    effort: Effort | None = Field(
        default=None, description="Effort level; Claude Code's default if empty."
    )
    max_turns: int | None = Field(
        default=1000,
        ge=1,
        description="Claude Code stops after this many turns; no limit if empty.",
    )
    max_budget_usd: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Claude Code stops after spending this many US dollars; no limit if empty.",
    )
    daily_budget_usd: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="US dollars per UTC day. Once they are spent, no new run of the agent starts; "
        "the run that crosses the limit continues. No limit if empty.",
    )
    permission_mode: PermissionMode = Field(
        default="bypassPermissions",
        description="What Claude may do without asking; nobody can answer in a pod. "
        "bypassPermissions needs a user other than root.",
    )
    extra_args: tuple[str, ...] = Field(
        default=(),
        description="Extra arguments, appended to Claude Code's command line. Arguments that "
        "change the output or the session, or that have a field here, are rejected.",
    )
    instructions: str | None = Field(
        default=None,
        description="Text appended to the system prompt of new sessions.",
    )
    instructions_path: AbsolutePath | None = Field(
        default=None,
        description="Absolute path of an instructions file in the pod, instead of the text.",
    )
    skills: tuple[Skill, ...] = Field(
        default=(), description="Skills delivered to the agent together with its prompt."
    )
    mcp_servers: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="MCP servers by name, as in `mcpServers` of an MCP configuration. "
        "Write credentials as ${NAME}; they are taken from the agent's environment.",
    )
    prompt_template: str = Field(
        default=DEFAULT_PROMPT_TEMPLATE,
        description="Prompt for runs without their own. {{ dotted.names }} refer to agent, tenant, "
        "run, task, wake, workspace and context.",
    )
    bootstrap_template: str | None = Field(
        default=None,
        description="Template whose text is put before the prompt of a new session.",
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        description="Environment variables for the agent. Their values are visible in Prefect.",
    )
    credentials: tuple[Credential, ...] = Field(
        default=(),
        description="Environment variables from Kubernetes Secrets: the API key, an auth or OAuth "
        "token, or the credentials for Bedrock or Vertex.",
    )
    callback: Callback | None = Field(
        default=None, description="API that the agent may call while it works."
    )
    output_schema: OutputSchema | None = Field(
        default=None,
        description="JSON Schema of the answer. The result then has it as `output`; a run without "
        "an answer that fits ends with `claude_output_invalid`.",
    )
    check: WorkCheck | None = Field(
        default=None,
        description="Command that checks the work of the agent, such as its tests. A run whose "
        "check fails ends with `check_failed`.",
    )
    deliver: Delivery = Field(
        default="none",
        description="What leaves the pod of what the agent made in the repository that was cloned "
        "for it: nothing, or with `collect` its commits and the files that it did not commit, as a "
        "git bundle and a patch in the result storage. `push` also pushes them to a branch of the "
        "repository, and `pull_request` makes that a pull request; both need `publish` in the "
        "runtime.",
    )
    expect_changes: bool = Field(
        default=False,
        description="Whether a run in which the agent changes nothing in its repository ends with "
        "`no_changes`. Needs another `deliver` than `none`.",
    )
    tool_output_limit_bytes: int | None = Field(
        default=None,
        ge=1000,
        description="Maximum bytes of one tool output that reach the model; no limit if empty.",
    )

    @property
    def display_name(self) -> str:
        """The name to show to people."""
        return self.name or self.agent_id

    @model_validator(mode="after")
    def _check_agent(self) -> Self:
        refused = refused_extra_args(self.extra_args)
        if refused:
            raise ValueError(f"extra_args: {'; '.join(refused)}")
        if self.instructions is not None and self.instructions_path is not None:
            raise ValueError("set instructions or instructions_path, not both")
        refuse_duplicates("credentials", [credential.env for credential in self.credentials])
        refuse_duplicates("skills", [skill.name for skill in self.skills])
        for name, server in self.mcp_servers.items():
            _refuse_plain_credentials(name, server)
        return self


class AgentSpec(AgentFields, SpecModel):
    """One agent, fully described and frozen."""


def refuse_duplicates(field: str, names: list[str]) -> None:
    """Raise a `ValueError` that names the field and what is in it more than once."""
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"{field}: {', '.join(duplicates)} given more than once")


def _refuse_plain_credentials(server_name: str, server: dict[str, Any]) -> None:
    for section in ("headers", "env"):
        values: Any = server.get(section)
        if not isinstance(values, dict):
            continue
        for key, value in values.items():  # pyright: ignore[reportUnknownVariableType] # JSON from the user
            if _CREDENTIAL_NAME.search(str(key)) and "${" not in str(value):  # pyright: ignore[reportUnknownArgumentType] # as above
                raise ValueError(
                    f"mcp_servers: {section} of {server_name} contains a credential in plain text; "
                    "write ${NAME} instead and name its Secret in credentials"
                )
