"""Loads everything that a request refers to, before anything is created.

Blocks are read only here; their contents are passed on as plain values.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from prefect.blocks.system import Secret
from pydantic import ValidationError

from tasks.agent_job.run_request import AgentRunRequest, describe_validation_error
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec, SecretKey
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kinds.secrets import read_secret
from tasks.observation.api_fields import object_at, objects_at
from tasks.orchestrator.prefect_api import explain_prefect_failure
from tasks.run.check_request import find_cluster
from tasks.text.safe_text import find_unusable
from tasks.vocabulary.errors import InputInvalid, PrefectUnusable


@dataclass(frozen=True)
class RuntimeInputs:
    """A runtime and the cluster it names.

    Attributes:
        secrets: Values that must not appear anywhere, as far as they are known at this point.
    """

    spec: RuntimeSpec
    connection: ClusterConnection
    secrets: tuple[str, ...] = field(default=(), repr=False)


async def load_agent(request: AgentRunRequest) -> AgentSpec:
    """Return the agent of a request: from its block, or inline.

    Raises:
        InputInvalid: The block does not exist or is invalid.
    """
    if isinstance(request.agent, AgentSpec):
        return request.agent
    return await load_agent_block(request.agent)


async def load_agent_block(name: str) -> AgentSpec:
    """Return the agent of a block.

    Raises:
        InputInvalid: There is no such block.
    """
    # Importing a block module takes seconds because it loads another Kubernetes client.
    from blocks.claude_agent import ClaudeAgent

    try:
        block = await ClaudeAgent.aload(name)
    except ValidationError as error:
        raise _invalid_block("Claude Agent", name, error) from None
    except ValueError as error:
        # Also what is no JSON: the answer of a proxy or a login page.
        raise _not_prefect(error) or _no_block("Claude Agent", name) from error
    return block.spec()


async def load_runtime(request: AgentRunRequest, kubeconfig: Path | None) -> RuntimeInputs:
    """Return the runtime of a request, from its block or inline, and its cluster.

    Raises:
        InputInvalid: The block does not exist or is invalid, or there is no cluster.
    """
    if isinstance(request.runtime, RuntimeSpec):
        return RuntimeInputs(request.runtime, _adjusted(find_cluster(kubeconfig), request.runtime))
    return await load_runtime_block(request.runtime, kubeconfig)


async def load_runtime_block(name: str, kubeconfig: Path | None) -> RuntimeInputs:
    """Return the runtime in a block, and the cluster of the block or the kubeconfig.

    Raises:
        InputInvalid: The block does not exist or is invalid, or there is no cluster.
    """
    from blocks.agent_runtime import AgentRuntime

    try:
        block = await AgentRuntime.aload(name)
    except ValidationError as error:
        raise _invalid_block("Agent Runtime", name, error) from None
    except ValueError as error:
        # Also what is no JSON: the answer of a proxy or a login page.
        raise _not_prefect(error) or _no_block("Agent Runtime", name) from error
    config, spec = block.cluster_config(), block.spec()
    if kubeconfig is not None or config is None:
        return RuntimeInputs(spec, _adjusted(find_cluster(kubeconfig), spec))
    content, context = config
    return RuntimeInputs(
        spec,
        _adjusted(ClusterConnection.from_kubeconfig(content, context), spec),
        secrets=tuple(_kubeconfig_secrets(content)),
    )


def _adjusted(connection: ClusterConnection, spec: RuntimeSpec) -> ClusterConnection:
    """Return the connection with the runtime's settings for it."""
    return replace(
        connection,
        plugin_seconds=float(spec.credential_plugin_seconds),
        strict_x509=spec.strict_x509,
    )


async def load_prompt(request: AgentRunRequest, runtime: RuntimeInputs) -> str | None:
    """Return the confidential prompt that a request refers to; `None` if it refers to none.

    Raises:
        InputInvalid: The block or Secret does not exist, cannot be read, or holds no text.
    """
    if request.prompt_block is not None:
        prompt = await _load_prompt_block(request.prompt_block)
    elif request.prompt_secret is not None:
        prompt = await _read_prompt_secret(request.prompt_secret, runtime)
    else:
        return None
    for problem in find_unusable(prompt, "The confidential prompt"):
        raise InputInvalid(f"{problem}.")
    return prompt


async def _load_prompt_block(name: str) -> str:
    try:
        block = await Secret[str].aload(name)
    except ValueError as error:
        # Also what is no JSON: the answer of a proxy or a login page.
        raise _not_prefect(error) or _no_block("Secret", name) from error
    prompt: Any = block.get()
    if not isinstance(prompt, str):
        raise InputInvalid(f"The Secret block {name!r} contains no text; store the prompt in it.")
    return prompt


async def _read_prompt_secret(reference: SecretKey, runtime: RuntimeInputs) -> str:
    try:
        async with ClusterClient(runtime.connection) as client:
            namespace = client.resolve_namespace(runtime.spec.namespace).name
            found = await read_secret(client, namespace, reference.secret)
        return b64decode(found["data"][reference.key]).decode()
    except (ClusterError, KeyError, ValueError) as error:
        why = error.message if isinstance(error, ClusterError) else "there is no text in it"
        raise InputInvalid(
            f"The prompt in key {reference.key} of Secret {reference.secret} cannot be read: {why}."
        ) from error


def _invalid_block(kind: str, name: str, error: ValidationError) -> InputInvalid:
    return InputInvalid(describe_validation_error(f"{kind} block {name!r}", error))


def _not_prefect(error: ValueError) -> PrefectUnusable | None:
    is_answer = isinstance(error, JSONDecodeError)
    return explain_prefect_failure(error, asked=True) if is_answer else None


def _no_block(kind: str, name: str) -> InputInvalid:
    return InputInvalid(
        f"There is no {kind} block named {name!r}; create it in the UI or with `save({name!r})`."
    )


_SECRET_KUBECONFIG_FIELDS = frozenset({"token", "password", "client-key-data"})


def _kubeconfig_secrets(kubeconfig: Mapping[str, Any]) -> Iterator[str]:
    for named in objects_at(kubeconfig, "users"):
        for name, value in object_at(named, "user").items():
            if name in _SECRET_KUBECONFIG_FIELDS and isinstance(value, str):
                yield value
