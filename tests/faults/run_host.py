"""Carries out runs, each in a process of its own: real stages, a real connection, real signals.

`python -m tests.faults.run_host` reads one order (JSON) per line and answers with the process id
of the run. The processes are forked after everything was imported: Prefect's import takes seconds
of a core, of which fifty runs at the same moment would need fifty.

An order has `name`, `folder`, `kubeconfig`, `flow_run_id`, `request`, `begins_at` (seconds since
the epoch; until then the run only gets ready), and `until`:

    ended       the whole run, under the code that a flow runs (`own_and_run`)
    committed   guard, Job and commit; then the Lease is kept until SIGUSR1

`NAME.json` has how it ended, `NAME.log` what was said. SIGUSR1 asks the run to cancel.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from flows.run.guarded_stages import while_owner
from flows.run.owning import own_and_run
from tasks.agent_job.manifest import JobSpec
from tasks.agent_job.prepared_run import PreparedRun, prepare_run
from tasks.agent_job.run_request import parse_request
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.cluster.cluster_client import ClusterClient
from tasks.guard import guard_agent
from tasks.job import commit_agent_job, create_agent_job
from tasks.orchestrator.run_log import open_run_log
from tasks.ownership.guard_verdicts import StartNew
from tasks.run.check_request import find_cluster, read_run_script
from tasks.run.run_context import RunContext
from tasks.run.run_controls import RunControls
from tasks.storage.result_storage import open_result_storage
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import FlowRunId

Order = dict[str, Any]


def main() -> None:
    """Fork a run for every order until there are no more."""
    # Nobody waits for them: the outcome is in a file, and a killed one leaves none.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _answer("ready")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _be_run(json.loads(line))
        _answer(str(pid))


def _answer(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _be_run(order: Order) -> None:
    """Carry out one order; does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    base = Path(order["folder"]) / order["name"]
    log = os.open(base.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, force=True)
    try:
        outcome = asyncio.run(_carry_out(order))
    except BaseException as error:
        traceback.print_exc()
        outcome = {"error_code": "crashed", "message": repr(error)}
    aside = base.with_suffix(".part")
    aside.write_text(json.dumps(outcome))
    aside.replace(base.with_suffix(".json"))
    os._exit(0)


async def _carry_out(order: Order) -> dict[str, Any]:
    prepared = _prepare(order)
    controls = RunControls()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, controls.cancel_requested.set)
    connection = find_cluster(Path(order["kubeconfig"]))
    with tempfile.TemporaryDirectory(prefix="run-", dir=order["folder"]) as folder:
        spool, logger = Path(folder) / "log.jsonl", logging.getLogger("run")
        async with (
            open_run_log(logger, UUID(order["flow_run_id"]), spool) as log,
            ClusterClient(connection) as client,
        ):
            context = RunContext(
                prepared=prepared,
                client=client,
                namespace=client.resolve_namespace(prepared.runtime.namespace).name,
                storage=await open_result_storage(prepared.runtime.result_storage),
                controls=controls,
                log=log,
                secrets=(),
                folder_path=Path(folder),
            )
            await asyncio.sleep(order["begins_at"] - time.time())
            if order["until"] == "committed":
                return await _commit(context)
            return (await own_and_run(context)).model_dump(mode="json")


def _prepare(order: Order) -> PreparedRun:
    request = parse_request(order["request"])
    return prepare_run(
        request,
        cast("AgentSpec", request.agent),
        cast("RuntimeSpec", request.runtime),
        flow_run_id=FlowRunId(order["flow_run_id"]),
        run_script=read_run_script(),
    )


async def _commit(context: RunContext) -> dict[str, Any]:
    async def become_owner() -> str:
        verdict = await guard_agent(context)
        if not isinstance(verdict, StartNew):
            raise AgentRunError(ErrorCode.JOB_STATE_MISMATCH, verdict.reason)
        spec = JobSpec(
            context.prepared, context.namespace, verdict.attempt, context.lease.lease.epoch
        )
        job = await create_agent_job(context, spec)
        await commit_agent_job(context, job, verdict.attempt)
        await context.controls.cancel_requested.wait()
        return job.uid

    try:
        return {"error_code": None, "job_uid": await while_owner(context, become_owner())}
    except AgentRunError as error:
        return {"error_code": error.code.value, "message": error.message}
    finally:
        await context.lease.release()


if __name__ == "__main__":
    main()
