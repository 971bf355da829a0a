"""Carries out runs, each in a process of its own: real stages, a real connection, real signals.

`python -m tests.faults.run_host` reads one order (JSON) per line and answers with the process id
of the run. The processes are forked after everything was imported: Prefect's import takes seconds
of a core, of which fifty runs at the same moment would need fifty.

An order has `name`, `folder`, `kubeconfig`, `flow_run_id`, `request`, `begins_at` (seconds since
the epoch; until then the run only gets ready), and `until`:

    ended       the whole run, under the flow's own code (`run_agent.fn`)
    committed   guard, Job and commit; then the Lease is kept until SIGUSR1

`NAME.json` has how it ended, `NAME.log` what was said. SIGUSR1 asks the run to cancel.
"""

import asyncio
import json
import logging
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.exceptions import Abort

from flows.run.opening import open_run
from flows.run.owning import while_owner
from flows.run_agent import run_agent
from tasks.agent_job.run_request import AgentRunRequest, parse_request
from tasks.guard import guard_agent
from tasks.job import commit_agent_job, create_agent_job
from tasks.run.found import NewAttempt
from tasks.run.run_controls import CONTROLS, RunControls
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError

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
    # What Prefect's runtime says of a flow run that runs without its engine.
    os.environ["PREFECT__RUNTIME__FLOW_RUN__ID"] = order["flow_run_id"]
    controls = RunControls(kubeconfig=Path(order["kubeconfig"]))
    CONTROLS.set(controls)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, controls.cancel_requested.set)
    await asyncio.sleep(order["begins_at"] - time.time())
    request = parse_request(order["request"])
    if order["until"] == "committed":
        return await _commit(request, controls)
    # A run that has stepped back leaves its state to another process, and reports how it ended.
    with suppress(Abort):
        await run_agent.fn(request)
    assert controls.result is not None
    return controls.result.model_dump(mode="json")


async def _commit(request: AgentRunRequest, controls: RunControls) -> dict[str, Any]:
    async with open_run(request, controls) as run:
        try:
            async with while_owner(run):
                found = await guard_agent(run)
                if not isinstance(found, NewAttempt):
                    raise AgentRunError(ErrorCode.JOB_STATE_MISMATCH, f"found {found}")
                job = await create_agent_job(run, found)
                await commit_agent_job(run, job)
                await controls.cancel_requested.wait()
                return {"error_code": None, "job_uid": job.uid}
        except AgentRunError as error:
            return {"error_code": error.code.value, "message": error.message}
        finally:
            await run.outside.lease.release()


if __name__ == "__main__":
    main()
