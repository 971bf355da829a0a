"""`prefect deploy` without the name of an image is refused before anything is deployed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.prefect_server import PrefectServer

# The first test waits for the server; Prefect's command line takes seconds to start.
pytestmark = [pytest.mark.slice, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PREFECT_FILE = ROOT / "deployments" / "prefect.yaml"


def deploy(server: PrefectServer, image: str | None, name: str) -> tuple[int, str]:
    environment = {**os.environ, "PREFECT_API_URL": server.api_url, "NO_COLOR": "1"}
    environment.pop("CLAUDE_JOBS_IMAGE", None)
    if image is not None:
        environment["CLAUDE_JOBS_IMAGE"] = image
    prefect = Path(sys.executable).with_name("prefect")
    command = [prefect, "--no-prompt", "deploy", "--prefect-file", PREFECT_FILE, "--name", name]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90
    )
    return done.returncode, " ".join(f"{done.stdout} {done.stderr}".split())


@pytest.fixture
def pools(own_prefect_server: PrefectServer) -> PrefectServer:
    """A server of its own: the deployed sweep has a schedule."""
    found = {pool["name"] for pool in own_prefect_server.post("/work_pools/filter", {})}
    for kind in {"kubernetes", "process"} - found:
        own_prefect_server.post("/work_pools/", {"name": kind, "type": kind})
    return own_prefect_server


@pytest.mark.waits(60)
def test_deployment_without_an_image_is_refused_in_a_sentence(pools: PrefectServer) -> None:
    def deployed() -> list[Any]:
        wanted = {"deployments": {"name": {"any_": ["kubernetes"]}}}
        return [(d["id"], d["updated"]) for d in pools.post("/deployments/filter", wanted)]

    before = deployed()
    for image in (None, "", "  ", "registry/image: 1"):
        exit_code, said = deploy(pools, image, "kubernetes")

        assert exit_code == 1, said
        assert "CLAUDE_JOBS_IMAGE" in said
        assert "so nothing was deployed" in said
        assert "Traceback" not in said
    assert deployed() == before


@pytest.mark.waits(60)
def test_named_image_is_deployed_and_processes_need_none(pools: PrefectServer) -> None:
    exit_code, said = deploy(pools, "registry.example.com/ours:1", "kubernetes")
    assert exit_code == 0, said
    exit_code, said = deploy(pools, None, "process")
    assert exit_code == 0, said

    wanted = {"flows": {"name": {"any_": ["run-agent"]}}}
    found = {d["name"]: d["job_variables"] for d in pools.post("/deployments/filter", wanted)}
    assert found["kubernetes"]["image"] == "registry.example.com/ours:1"
    assert "image" not in (found["process"] or {})
