"""Who runs and how Claude Code is told to work: `AgentSpec`, the values of a `ClaudeAgent` block.

Holds no secret: credentials are names of keys of Kubernetes Secrets, so a spec can be a flow
parameter, be logged and be stored.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from tasks.claude_code.extra_args import refused_extra_args

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
ObjectName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)
]
DataKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[^\x00\n:]*$", max_length=4096)]
Identifier = Annotated[
    # Exact ids stand in annotations and env, so any text on one line will do.
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256)
]

PermissionMode = Literal["bypassPermissions", "acceptEdits", "auto", "default", "dontAsk", "plan"]
Effort = Literal["low", "medium", "high", "xhigh", "max"]
Provider = Literal["anthropic", "bedrock", "vertex"]

DEFAULT_PROMPT_TEMPLATE = "You are the agent {{ agent.name }}. Go on with your work."

# What MCP servers call their credentials, in headers and in env.
_CREDENTIAL_NAME = re.compile(r"authorization|token|secret|password|api[-_]?key", re.IGNORECASE)


class SpecModel(BaseModel):
    """A configured value: frozen, refuses unknown fields, keeps input out of its errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SecretKey(SpecModel):
    """One key of a Kubernetes Secret in the namespace of the agent's Job."""

    secret: ObjectName = Field(description="Name of the Kubernetes Secret.")
    key: DataKey = Field(description="Key within the Secret.")


class Credential(SpecModel):
    """A key of a Kubernetes Secret that the agent finds in its env."""

    env: EnvName = Field(description="Name in the agent's env, such as ANTHROPIC_API_KEY.")
    secret: ObjectName = Field(description="Name of the Kubernetes Secret.")
    key: DataKey = Field(description="Key within the Secret.")


class Callback(SpecModel):
    """Where the agent may report to while it works."""

    api_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] = Field(
        description="Address of the API, without credentials; CLAUDE_JOBS_API_URL in the agent."
    )
    secret: ObjectName = Field(description="Name of the Kubernetes Secret with the credential.")
    key: DataKey = Field(
        description="Key within the Secret; CLAUDE_JOBS_API_TOKEN in the agent, never logged."
    )


class Skill(SpecModel):
    """A folder of files that Claude Code finds as a skill."""

    name: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=64)
    ] = Field(description="Name of the skill: lowercase letters, digits and dashes.")
    files: dict[str, str] = Field(
        description="Text by path within the skill's folder; one of them is SKILL.md."
    )

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if "SKILL.md" not in self.files:
            raise ValueError(f"skill {self.name} has no SKILL.md")
        for path in self.files:
            parts = path.split("/")
            if "\x00" in path or "\n" in path or any(part in {"", ".", ".."} for part in parts):
                raise ValueError(f"skill {self.name} has a file outside of its folder")
        return self


class AgentFields(BaseModel):
    """The fields that an agent's block and its frozen spec share."""

    agent_id: Identifier = Field(
        description="Exact id of the agent; at most one Job per id and namespace runs at a time."
    )
    name: Identifier | None = Field(
        default=None, description="Name for people; the id where empty."
    )
    tenant_id: Identifier | None = Field(
        default=None, description="Whom the agent works for; only noted and handed to the agent."
    )
    provider: Provider = Field(
        default="anthropic",
        description="Whose API serves the model; Bedrock and Vertex need their own credentials.",
    )
    model: Annotated[str, StringConstraints(pattern=r"^[^-\s][^\s]*$", max_length=256)] | None = (
        Field(default=None, description="Model name or alias; Claude Code's default where empty.")
    )
    effort: Effort | None = Field(
        default=None, description="Effort level; Claude Code's default where empty."
    )
    max_turns: int | None = Field(
        default=1000,
        ge=1,
        description="Turns after which Claude Code stops by itself; no limit where empty.",
    )
    max_budget_usd: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="US dollars after which Claude Code stops by itself; no limit where empty.",
    )
    daily_budget_usd: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="US dollars per day (UTC) after which the agent is not started any more; the "
        "run that crosses it may go on. No limit where empty.",
    )
    permission_mode: PermissionMode = Field(
        default="bypassPermissions",
        description="What Claude may do without asking; nobody can answer in a pod. "
        "Bypassing needs a user other than root.",
    )
    extra_args: tuple[str, ...] = Field(
        default=(),
        description="More arguments for Claude Code, last on its command line. "
        "Those that change the output, the session or what has a field here are refused.",
    )
    instructions: str | None = Field(
        default=None,
        description="Text that is appended to the system prompt of fresh sessions.",
    )
    instructions_path: AbsolutePath | None = Field(
        default=None,
        description="Absolute path in the pod of a file with instructions, instead of the text.",
    )
    skills: tuple[Skill, ...] = Field(
        default=(), description="Skills that travel to the agent with its prompt."
    )
    mcp_servers: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="MCP servers by name, as in `mcpServers` of an MCP configuration. "
        "Credentials are written ${NAME} and come from the agent's env.",
    )
    prompt_template: str = Field(
        default=DEFAULT_PROMPT_TEMPLATE,
        description="Prompt of a run that brings none, with {{ dotted.names }} of agent, tenant, "
        "run, task, wake, workspace and context.",
    )
    bootstrap_template: str | None = Field(
        default=None,
        description="What stands before the prompt of a fresh session; a template as well.",
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict,
        description="Plain values for the agent's env; they are visible in Prefect.",
    )
    credentials: tuple[Credential, ...] = Field(
        default=(),
        description="Keys of Kubernetes Secrets for the agent's env: the API key, an auth or "
        "OAuth token, what Bedrock or Vertex need.",
    )
    callback: Callback | None = Field(
        default=None, description="Where the agent may report to while it works."
    )
    tool_output_limit_bytes: int | None = Field(
        default=None,
        ge=1000,
        description="Bytes of one tool output that reach the model; off where empty.",
    )

    @property
    def display_name(self) -> str:
        """The name for people."""
        return self.name or self.agent_id

    @model_validator(mode="after")
    def _check_agent(self) -> Self:
        refused = refused_extra_args(self.extra_args)
        if refused:
            raise ValueError(f"extra_args: {'; '.join(refused)}")
        if self.instructions is not None and self.instructions_path is not None:
            raise ValueError("instructions and instructions_path exclude each other")
        _refuse_doubles("credentials", [credential.env for credential in self.credentials])
        _refuse_doubles("skills", [skill.name for skill in self.skills])
        for name, server in self.mcp_servers.items():
            _refuse_plain_credentials(name, server)
        return self


class AgentSpec(AgentFields, SpecModel):
    """One agent, fully described; does not change once built."""


def _refuse_doubles(field: str, names: list[str]) -> None:
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"{field}: {', '.join(doubles)} given more than once")


def _refuse_plain_credentials(server_name: str, server: dict[str, Any]) -> None:
    for section in ("headers", "env"):
        values: Any = server.get(section)
        if not isinstance(values, dict):
            continue
        for key, value in values.items():  # pyright: ignore[reportUnknownVariableType] # JSON as people wrote it
            if _CREDENTIAL_NAME.search(str(key)) and "${" not in str(value):  # pyright: ignore[reportUnknownArgumentType] # as above
                raise ValueError(
                    f"mcp_servers: {section} of {server_name} has a credential in plain text; "
                    "write ${NAME} and name its Secret in credentials"
                )
