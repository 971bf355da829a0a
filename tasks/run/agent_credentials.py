"""Learns the values of the agent's credentials, which must not appear in its output."""

import asyncio
from base64 import b64decode

from tasks.agent_job.environment import mounted_secrets, optional_secrets, secret_references
from tasks.agent_job.prepared_run import CHECK_ENV_FILE, values_of_check_env
from tasks.cluster.cluster_errors import ClusterError, ObjectNotFound
from tasks.cluster.kinds.secrets import read_secret
from tasks.observation.api_fields import texts_at
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.text.redaction import pieces_of_file

# The agent works meanwhile, and its output waits in its pod, but people want to see it.
_READ_SECONDS = 5.0


async def learn_credentials(run: AgentRun, work: AttemptAtWork) -> None:
    """Mask the values of the agent's credentials in everything that people read.

    These are the values in the agent's env and in mounted files, and those in the env of a check
    that another run asked for. Best effort: the agent does not depend on this read, so a Secret
    that cannot be read is only noted in the log.
    """
    prepared = run.prepared
    references = secret_references(prepared.agent, prepared.runtime)
    optional = optional_secrets(prepared.agent, prepared.runtime)
    mounted = mounted_secrets(prepared.runtime)
    found = await asyncio.gather(
        *(
            _read_values(run, name, optional=name in optional)
            for name in dict.fromkeys([*references, *mounted])
        )
    )
    for name, values in found:
        wanted = references.get(name, frozenset())
        run.outside.diary.keep_secret(value for key, value in values.items() if key in wanted)
        if name in mounted:
            run.outside.diary.keep_secret(
                piece for value in values.values() for piece in pieces_of_file(value)
            )
    if work.check_timeout_seconds is not None and work.flow_run_id != run.flow_run_id:
        _, of_theirs = await _read_values(run, work.job_name, optional=True)
        run.outside.diary.keep_secret(values_of_check_env(of_theirs.get(CHECK_ENV_FILE, "")))


async def _read_values(run: AgentRun, name: str, *, optional: bool) -> tuple[str, dict[str, str]]:
    try:
        async with asyncio.timeout(_READ_SECONDS):
            secret = await read_secret(run.outside.client, run.outside.namespace, name)
    except ObjectNotFound:
        if not optional:
            _note(run, name, "it does not exist")
        return name, {}
    except ClusterError as error:
        _note(run, name, error.message)
        return name, {}
    except TimeoutError:
        _note(run, name, f"no answer within {_READ_SECONDS:.0f} s")
        return name, {}
    encoded = texts_at(secret, "data").items()
    # Env values are bytes, and the output is decoded in the same way.
    return name, {key: b64decode(text).decode("utf-8", errors="replace") for key, text in encoded}


def _note(run: AgentRun, name: str, why: str) -> None:
    run.outside.say(
        f"Secret {name} could not be read ({why.rstrip('.')}), so its values cannot be masked in "
        "logs and artifacts."
    )
