"""Learning what the agent must not be seen saying: the values of its credentials."""

import asyncio
from base64 import b64decode

from tasks.agent_job.api_fields import object_at, text_at
from tasks.agent_job.environment import secret_references
from tasks.cluster.errors import ClusterError, ObjectNotFound
from tasks.cluster.secrets import read_secret
from tasks.run_context import RunContext

# The agent works meanwhile, and its output waits in its pod; but people want to see it.
_READ_SECONDS = 5.0


async def learn_credentials(context: RunContext) -> None:
    """Have the values of the agent's credentials masked in what people read.

    Best effort: the agent needs no one to read its Secrets, so one that cannot be read is only
    noted in the log.
    """
    references = secret_references(context.prepared.agent, context.prepared.runtime)
    found = await asyncio.gather(
        *(_read_values(context, name, keys) for name, keys in references.items())
    )
    context.keep_secret(value for values in found for value in values)


async def _read_values(context: RunContext, name: str, keys: frozenset[str]) -> list[str]:
    try:
        async with asyncio.timeout(_READ_SECONDS):
            secret = await read_secret(context.client, context.namespace, name)
    except ObjectNotFound:
        _note(context, name, "it is not there")
        return []
    except ClusterError as error:
        _note(context, name, error.message)
        return []
    except TimeoutError:
        _note(context, name, f"no answer within {_READ_SECONDS:.0f} s")
        return []
    data = object_at(secret, "data")
    encoded = [text_at(data, key) for key in sorted(keys)]
    # Env is bytes, and output is decoded like this too.
    return [b64decode(text).decode("utf-8", errors="replace") for text in encoded if text]


def _note(context: RunContext, name: str, why: str) -> None:
    context.say(
        f"Secret {name} could not be read ({why.rstrip('.')}), so what it holds cannot be masked "
        "by value in logs and artifacts."
    )
