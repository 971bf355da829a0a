"""The agent's env: what the run script needs, what the agent should know, what people add.

Nothing comes from the flow's own environment. Credentials are references to keys of Secrets, never
values. What people wrote to the agent stands in the run's Secret too, as it is part of the prompt.
"""

from collections.abc import Mapping
from typing import Any

from tasks.agent_job.pod_settings import ReadOnlyMount, key_reference
from tasks.agent_job.pod_template import (
    SecretUse,
    agent_env_of,
    plain_env_by_container,
    secrets_of_template,
    values_of,
)
from tasks.agent_job.reserved_names import PREFIX, is_credential, why_reserved
from tasks.agent_job.run_request import AgentRunRequest
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.agent_job.trace_context import RESOURCE_ATTRIBUTES
from tasks.claude_code.agent_spec import AgentSpec
from tasks.claude_code.command_line import escape_for_kubernetes
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import INPUT_DIR, WORK_DIR

WAKE_KEY = "wake.json"
WAKE_REASON_KEY = "wake-reason"
# Linux starts no program with a longer piece of env: `NAME=value` and the byte after it
# (MAX_ARG_STRLEN of `binfmts.h`, with pages of 4 KiB).
_VARIABLE_LIMIT_BYTES = 128 * 1024
# What is left of it whatever the variable is called.
WAKE_LIMIT_BYTES = _VARIABLE_LIMIT_BYTES - 8 * 1024
# More than the run adds to the resource attributes that people give.
_OWN_ATTRIBUTES_BYTES = 4 * 1024

_UNATTENDED = {
    # The image decides which version runs; an update in the pod would be lost with it.
    "DISABLE_AUTOUPDATER": "1",
    # Pods behind an egress allow-list would wait for hosts that are no part of the work.
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    # Git would wait for a password that nobody can type.
    "GIT_TERMINAL_PROMPT": "0",
    # Tools would colour what only Claude reads.
    "TERM": "dumb",
    # Without a locale some tools replace every letter outside ASCII.
    "LANG": "C.UTF-8",
}

_PROVIDER_SWITCH = {
    "anthropic": {},
    "bedrock": {"CLAUDE_CODE_USE_BEDROCK": "1"},
    "vertex": {"CLAUDE_CODE_USE_VERTEX": "1"},
}


def check_plain_env(request: AgentRunRequest, agent: AgentSpec, runtime: RuntimeSpec) -> None:
    """Refuse env names that are ours, and credentials as plain values.

    Raises:
        InputInvalid: Names every such variable; no value.
    """
    credentials = {credential.env for credential in agent.credentials}
    problems: list[str] = []
    for source, names in (
        ("the runtime's env", runtime.env),
        ("the runtime's env_from_keys", [item.env for item in runtime.env_from_keys]),
        ("the agent's env", agent.env),
        ("the agent's credentials", [credential.env for credential in agent.credentials]),
        ("the run's env", request.env),
        ("the check's env", agent.check.env if agent.check else ()),
    ):
        for name in names:
            if reason := why_reserved(name):
                problems.append(f"{name} in {source} {reason}")
            elif source.endswith(" env") and (is_credential(name) or name in credentials):
                problems.append(
                    f"{name} in {source} is a credential; name a Secret in the agent's credentials"
                )
    if problems:
        raise InputInvalid(f"The env is not valid: {'; '.join(problems)}.")


def refuse_oversized_env(request: AgentRunRequest, agent: AgentSpec, runtime: RuntimeSpec) -> None:
    """Refuse variables so long that no program could be started with them.

    Raises:
        InputInvalid: Names every such variable, its size and where it is given; no value.
    """
    told = context_env(request, agent, flow_run_id="", resume_session=None)
    linked = f"{PREFIX}LINKED_IDS"
    sources: list[tuple[str, Mapping[str, str]]] = [
        ("the runtime's env", runtime.env),
        ("the runtime's git.env", runtime.git.env if runtime.git else {}),
        *(
            (f"container {name} of the runtime's pod_template", values)
            for name, values in plain_env_by_container(runtime.pod_template)
        ),
        ("the agent's env", agent.env),
        ("the run's env", request.env),
        ("the run's linked_ids", {linked: told.pop(linked, "")}),
        ("what the agent is told of its run", told),
    ]
    problems = [
        f"{name} in {source} has {size:,} bytes"
        for source, values in sources
        for name, value in values.items()
        if (size := _variable_bytes(name, value)) > _VARIABLE_LIMIT_BYTES
    ]
    if problems:
        raise InputInvalid(
            f"The env is not valid: {'; '.join(problems)}. Linux starts no program with a variable "
            f"of more than {_VARIABLE_LIMIT_BYTES:,} bytes, its name included; put large values "
            "into a Secret or ConfigMap and mount it."
        )


def _variable_bytes(name: str, value: str) -> int:
    added = _OWN_ATTRIBUTES_BYTES if name == RESOURCE_ATTRIBUTES else 0
    return len(f"{name}={value}\0".encode()) + added


def script_env(
    *,
    timeout_seconds: int,
    kill_after_seconds: int,
    after_result_seconds: int,
    acknowledgement_seconds: int,
    copy_bytes: int,
    check_timeout_seconds: int | None,
    alive_file: str | None,
) -> dict[str, str]:
    """Return what the run script reads, the line token and the pod's UID excepted."""
    env = {
        f"{PREFIX}INPUT_DIR": INPUT_DIR,
        f"{PREFIX}WORK_DIR": WORK_DIR,
        f"{PREFIX}TIMEOUT_SECONDS": str(timeout_seconds),
        f"{PREFIX}KILL_AFTER_SECONDS": str(kill_after_seconds),
        f"{PREFIX}AFTER_RESULT_SECONDS": str(after_result_seconds),
        f"{PREFIX}ACK_WAIT_SECONDS": str(acknowledgement_seconds),
        f"{PREFIX}COPY_LIMIT_BYTES": str(copy_bytes),
    }
    if check_timeout_seconds is not None:
        env[f"{PREFIX}CHECK_TIMEOUT_SECONDS"] = str(check_timeout_seconds)
    if alive_file is not None:
        env[f"{PREFIX}ALIVE_FILE"] = alive_file
    return env


def context_env(
    request: AgentRunRequest,
    agent: AgentSpec,
    *,
    flow_run_id: str,
    resume_session: str | None,
) -> dict[str, str]:
    """Return what the agent should know about its run; what is unknown is left out."""
    workspace = request.workspace
    values = {
        "AGENT_ID": agent.agent_id,
        "AGENT_NAME": agent.display_name,
        "TENANT_ID": agent.tenant_id,
        "FLOW_RUN_ID": flow_run_id,
        "TASK_ID": request.task_id,
        "SESSION_ID": resume_session,
        "LINKED_IDS": ",".join(request.linked_ids) or None,
        "WORKSPACE_CWD": workspace.cwd,
        "WORKSPACE_ID": workspace.id,
        "WORKSPACE_REPO_URL": workspace.repo_url,
        "WORKSPACE_REPO_REF": workspace.repo_ref,
        "WORKSPACE_BRANCH": workspace.branch,
        "API_URL": agent.callback.api_url if agent.callback else None,
    }
    return {f"{PREFIX}{name}": value for name, value in values.items() if value is not None}


def build_environment(
    request: AgentRunRequest,
    agent: AgentSpec,
    runtime: RuntimeSpec,
    own: Mapping[str, str],
    *,
    attempt: int,
    secret_name: str,
    secret_keys: frozenset[str],
    line_token: str,
    tracing: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return the container's `env`; every name once. What the pod template sets is merged later.

    Of several plain values of one name the run's wins, then the agent's, then the pod template's,
    then the runtime's; a plain value wins over a key of the runtime; nothing wins over what the run
    sets itself.

    Args:
        request: With the run's own plain values.
        agent: With its plain values and credentials.
        runtime: With plain values and keys.
        own: What the run sets itself, from `script_env` and `context_env`.
        attempt: Number of the attempt, from 1.
        secret_name: The run's Secret.
        secret_keys: Keys of that Secret; those with wake content are handed to the agent.
        line_token: What begins the run script's lines.
        tracing: From `trace_env`; what people give under these names wins, and resource attributes
            are added to theirs.
    """
    home = {"HOME": runtime.home_path, "CLAUDE_CONFIG_DIR": f"{runtime.home_path}/.claude"}
    plain = {**agent.env, **request.env}
    entries: dict[str, dict[str, Any]] = {
        **_general_entries(runtime, tracing),
        **{name: _plain(name, value) for name, value in plain.items()},
        **{
            item.env: _secret(item.env, item.secret, item.key, optional=False)
            for item in agent.credentials
        },
    }
    given = {**runtime.env, **values_of(agent_env_of(runtime.pod_template)), **plain}
    if given.get(RESOURCE_ATTRIBUTES):
        both = f"{given[RESOURCE_ATTRIBUTES]},{tracing[RESOURCE_ATTRIBUTES]}"
        entries[RESOURCE_ATTRIBUTES] = _plain(RESOURCE_ATTRIBUTES, both)
    for name, value in {**home, **_PROVIDER_SWITCH[agent.provider], **own}.items():
        entries[name] = _plain(name, value)
    if agent.callback:
        name = f"{PREFIX}API_TOKEN"
        entries[name] = _secret(name, agent.callback.secret, agent.callback.key, optional=False)
    for name, key in (("WAKE_REASON", WAKE_REASON_KEY), ("WAKE_PAYLOAD_JSON", WAKE_KEY)):
        if key in secret_keys:
            # Optional: a Secret without a prompt must let the script start and refuse.
            entries[PREFIX + name] = _secret(PREFIX + name, secret_name, key, optional=True)
    entries[f"{PREFIX}ATTEMPT"] = _plain(f"{PREFIX}ATTEMPT", str(attempt))
    entries[f"{PREFIX}LINE_TOKEN"] = _plain(f"{PREFIX}LINE_TOKEN", line_token)
    entries[f"{PREFIX}POD_UID"] = {
        "name": f"{PREFIX}POD_UID",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}},
    }
    return list(entries.values())


def _general_entries(runtime: RuntimeSpec, tracing: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return what every agent of a runtime gets, without what the pod template gives otherwise."""
    templated = agent_env_of(runtime.pod_template)
    entries = {
        **{name: _plain(name, value) for name, value in {**_UNATTENDED, **tracing}.items()},
        **{item.env: key_reference(item) for item in runtime.env_from_keys},
        **{name: _plain(name, value) for name, value in runtime.env.items()},
    }
    return {
        name: entry
        for name, entry in entries.items()
        # A merge would leave both a value and where another comes from.
        if name not in templated or "valueFrom" not in {*entry, *templated[name]}
    }


def names_over_template(
    request: AgentRunRequest, agent: AgentSpec, runtime: RuntimeSpec
) -> frozenset[str]:
    """Return the variables for which a pod template's env does not count."""
    given = {*agent.env, *request.env, *(credential.env for credential in agent.credentials)}
    # Holds the template's already, beside the run's.
    joined = {RESOURCE_ATTRIBUTES} & values_of(agent_env_of(runtime.pod_template)).keys()
    return frozenset(given | joined)


def secret_references(agent: AgentSpec, runtime: RuntimeSpec) -> dict[str, frozenset[str]]:
    """Return which keys of which Secrets the agent's pod has in its env, by the Secret's name."""
    uses = _uses_of_keys(agent, runtime)
    names = dict.fromkeys(use.name for use in uses)
    return {
        name: frozenset(use.key for use in uses if use.name == name and use.key is not None)
        for name in names
    }


def _uses_of_keys(agent: AgentSpec, runtime: RuntimeSpec) -> list[SecretUse]:
    keys = (*runtime.env_from_keys, *(runtime.git.env_from_keys if runtime.git else ()))
    named = [(item.secret, item.key) for item in agent.credentials]
    if agent.callback:
        named.append((agent.callback.secret, agent.callback.key))
    return [
        *(SecretUse(name, key, optional=False) for name, key in named),
        *(SecretUse(i.name, i.key, i.optional) for i in keys if i.kind == "secret"),
        *(use for use in secrets_of_template(runtime.pod_template) if use.key is not None),
    ]


def mounted_secrets(runtime: RuntimeSpec) -> tuple[str, ...]:
    """Return the Secrets of which the agent's pod has every key, as files or in its env."""
    names = [mount.name for mount in _mounts(runtime) if mount.kind == "secret"]
    if runtime.git is not None and runtime.git.credentials_secret is not None:
        names.append(runtime.git.credentials_secret)
    names += [use.name for use in secrets_of_template(runtime.pod_template) if use.key is None]
    return tuple(dict.fromkeys(names))


def optional_secrets(agent: AgentSpec, runtime: RuntimeSpec) -> frozenset[str]:
    """Return the Secrets without which the agent's pod starts all the same: every use says so."""
    uses = [
        *((mount.name, mount.optional) for mount in _mounts(runtime) if mount.kind == "secret"),
        *((use.name, use.optional) for use in _uses_of_keys(agent, runtime)),
        *((use.name, use.optional) for use in secrets_of_template(runtime.pod_template)),
    ]
    git = runtime.git
    needed = {name for name, optional in uses if not optional}
    needed |= {git.credentials_secret} if git and git.credentials_secret else set()
    return frozenset(name for name, _ in uses if name not in needed)


def optional_keys(agent: AgentSpec, runtime: RuntimeSpec) -> frozenset[tuple[str, str]]:
    """Return (Secret, key) pairs without which the agent's pod starts: every use says so."""
    uses = [((use.name, use.key), use.optional) for use in _uses_of_keys(agent, runtime)]
    needed = {pair for pair, optional in uses if not optional}
    return frozenset((name, key) for (name, key), _ in uses if key and (name, key) not in needed)


def _mounts(runtime: RuntimeSpec) -> tuple[ReadOnlyMount, ...]:
    return (*runtime.mounts, *(runtime.git.mounts if runtime.git else ()))


def _plain(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": escape_for_kubernetes(value)}


def _secret(name: str, secret: str, key: str, *, optional: bool) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}
