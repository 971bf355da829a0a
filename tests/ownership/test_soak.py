"""Random faults, evictions and kills for a while: no invariant breaks, and every agent recovers."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.local_api import ClusterProcess
from tests.embedded_cluster import install_claude
from tests.ownership.agent_recorder import AgentRecorder
from tests.ownership.rival_runs import World
from tests.ownership.soak import Soak, host_for_faults
from tests.prefect_server import PrefectServer

_SEED = int(os.environ.get("SOAK_SEED", "1"))


@pytest.fixture
def soaked_world(tmp_path: Path, prefect_server: PrefectServer) -> Iterator[World]:
    # Restarts and compactions are the whole cluster's, so it is shared with nobody.
    tmp_path.chmod(0o755)
    cluster = ClusterProcess(tmp_path, ("--bin", str(install_claude(tmp_path))))
    api = cluster.api()
    host = host_for_faults(api, cluster.kubeconfig, prefect_server.api_url, tmp_path)
    recorder = AgentRecorder(cluster.api())
    yield World(api, host, recorder, tmp_path / "results")
    recorder.end()
    host.end()
    cluster.stop()


def _check(world: World, seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    report = Soak(world, _SEED, seconds).carry_out()
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert report.violations == []
    assert report.runs > 0


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(600)
def test_minute_of_faults_and_kills_breaks_nothing(
    soaked_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _check(soaked_world, 60, capsys)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_minutes_of_faults_and_kills_break_nothing(
    soaked_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _check(soaked_world, 600, capsys)
