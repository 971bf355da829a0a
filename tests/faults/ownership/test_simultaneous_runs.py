"""Fifty processes want the same agent at the same moment: one gets it."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, watch

from tests.faults.run_processes import RunHost, RunProcess, request_for
from tests.namespaces import make_namespace
from tests.prefect_server import PrefectServer

_RUNS = 50
# To fork them all and have each ready at its first call; a late one finds the Lease taken.
_GET_READY_SECONDS = 10.0
# A Lease's duration, for whoever has to wait whether it is renewed, and a busy machine.
_DECIDED_SECONDS = 180.0
_BLOCKED = "k8s_concurrent_run_blocked"


@pytest.fixture
def host(
    cluster_kubeconfig: str, prefect_server: PrefectServer, tmp_path: Path
) -> Iterator[RunHost]:
    host = RunHost(Path(cluster_kubeconfig), prefect_server.api_url, tmp_path)
    yield host
    host.end()


@pytest.fixture
def namespace(core_api: client.CoreV1Api) -> Iterator[str]:
    with make_namespace(core_api, "races") as name:
        yield name


def _wait_for_owner(runs: list[RunProcess]) -> tuple[RunProcess, Counter[str]]:
    """Return the run that goes on when all others have ended, and their endings."""
    deadline = time.monotonic() + _DECIDED_SECONDS
    while len(at_work := [run for run in runs if run.outcome is None]) > 1:
        assert time.monotonic() < deadline, "\n".join(run.log for run in at_work)
        time.sleep(0.2)
    endings = Counter(str(run.outcome["error_code"]) for run in runs if run.outcome is not None)
    assert at_work, endings
    return at_work[0], endings


def _jobs_ever_made(batch: Any, namespace: str, since: str) -> set[str]:
    """Return the UIDs of all Jobs of a namespace since a version, deleted ones included."""
    library: Any = watch
    events = library.Watch().stream(
        batch.list_namespaced_job, namespace, resource_version=since, timeout_seconds=2
    )
    return {event["object"].metadata.uid for event in events}


@pytest.mark.slice
@pytest.mark.any_cluster
@pytest.mark.timeout(300)
@pytest.mark.waits(25)
def test_fifty_runs_at_the_same_moment_make_one_job(
    core_api: client.CoreV1Api, replay_image: str, host: RunHost, namespace: str, tmp_path: Path
) -> None:
    library: Any = client
    api: Any = core_api
    batch = library.BatchV1Api(api.api_client)
    since = batch.list_namespaced_job(namespace).metadata.resource_version
    request = request_for("wanted", namespace, tmp_path / "results", image=replay_image)
    begins_at = time.time() + _GET_READY_SECONDS
    runs = [host.start(request, until="committed", begins_at=begins_at) for _ in range(_RUNS)]

    owner, endings = _wait_for_owner(runs)
    assert endings == {_BLOCKED: _RUNS - 1}, owner.log
    owner.signal(signal.SIGUSR1)
    outcome = owner.wait(60)

    assert outcome["error_code"] is None, outcome
    assert _jobs_ever_made(batch, namespace, since) == {outcome["job_uid"]}
