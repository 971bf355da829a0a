"""What `claude-jobs` imports before its first request: a list of modules, without a clock."""

import subprocess
import sys

import pytest

# By themselves each takes from a tenth of a second to seconds.
SERVER = {"fastapi", "sqlalchemy", "uvicorn", "alembic", "prefect.server"}
OTHER_CLIENTS = {"prefect_kubernetes", "kubernetes_asyncio", "kopf", "prefect.cli"}
PROGRAMS = {
    "flows.cli.app": {"prefect", "httpx", "aiohttp", "kubernetes", "asyncssh", "google", "yaml"}
    | SERVER
    | OTHER_CLIENTS,
    "flows.run_agent": {"kubernetes", "google"} | SERVER | OTHER_CLIENTS,
}


@pytest.mark.parametrize(("module", "heavy"), PROGRAMS.items(), ids=PROGRAMS)
def test_start_imports_nothing_heavy_that_it_does_not_need(module: str, heavy: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert heavy & set(done.stdout.split()) == set()
