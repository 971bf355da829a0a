"""Reads what authorises a push, in the flow's process; every value is masked from then on."""

import asyncio
from base64 import b64decode
from typing import Any

from prefect.blocks.system import Secret

from tasks.agent_job.publish_settings import Publish
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.kinds.secrets import read_secret
from tasks.observation.api_fields import texts_at
from tasks.publishing.publish_failures import PublishFailed, Refusal
from tasks.publishing.push_credentials import PushCredentials, credentials_from_keys
from tasks.run.agent_run import AgentRun

_READ_SECONDS = 30.0


async def read_publish_credentials(run: AgentRun, publish: Publish) -> PushCredentials:
    """Return the credentials that a run's runtime names for publishing.

    Raises:
        PublishFailed: They cannot be read.
    """
    found = await load_publish_credentials(run.outside.client, run.outside.namespace, publish)
    run.outside.diary.keep_secret(found.secrets())
    return found


async def load_publish_credentials(
    client: ClusterClient, namespace: str, publish: Publish
) -> PushCredentials:
    """Return the credentials that a runtime names for publishing; nothing is masked yet.

    Args:
        client: The cluster of the agents.
        namespace: Of the agents.
        publish: The runtime's settings.

    Raises:
        PublishFailed: They cannot be read.
    """
    try:
        async with asyncio.timeout(_READ_SECONDS):
            if publish.credentials_block is not None:
                return await _read_block(publish.credentials_block)
            return await _read_keys(client, namespace, publish.credentials_secret or "")
    except TimeoutError:
        raise _missing(f"they were not read within {_READ_SECONDS:.0f} s") from None


async def _read_keys(client: ClusterClient, namespace: str, name: str) -> PushCredentials:
    try:
        secret = await read_secret(client, namespace, name)
        encoded = texts_at(secret, "data").items()
        keys = {key: b64decode(text).decode() for key, text in encoded}
    except ClusterError as error:
        raise _missing(f"Secret {name}: {error.message.rstrip('.')}") from error
    except ValueError as error:
        raise _missing(f"Secret {name} has a key that is not text") from error
    return credentials_from_keys(keys)


async def _read_block(name: str) -> PushCredentials:
    try:
        value: Any = (await Secret[str].aload(name)).get()
    except Exception as error:
        # Prefect's client raises whatever its libraries do.
        raise _missing(f"Secret block {name} ({type(error).__name__})") from None
    if not isinstance(value, str) or not value.strip():
        raise _missing(f"Secret block {name} contains no text")
    return PushCredentials(password=value.strip())


def _missing(why: str) -> PublishFailed:
    return PublishFailed(
        Refusal.CREDENTIALS_MISSING, f"The credentials for publishing cannot be read: {why}."
    )
