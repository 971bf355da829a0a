import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_script.script_run import TOOL_SETS, ScriptRun, ToolSet

# What Debian's images and Alpine's have.
_USUAL = "dash+mawk+perl", "busybox+busybox"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under the other shells and awks a test is of the slice, and a long one is long."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            tools = item.callspec.params.get("script")
            is_rare = isinstance(tools, ToolSet) and tools.name not in _USUAL
            if is_rare and item.get_closest_marker("long") is None:
                item.add_marker(pytest.mark.slice)


@pytest.fixture(params=TOOL_SETS, ids=[tools.name for tools in TOOL_SETS])
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScriptRun]:
    tools: ToolSet = request.param
    for program in tools.programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    run = ScriptRun(tools, tmp_path)
    yield run
    run.close()
