import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_script.script_run import TOOL_SETS, ScriptRun, ToolSet

# What Debian's images and Alpine's have; the others are of the slice.
_USUAL = "dash+mawk+perl", "busybox+busybox"
_PARAMS = [
    pytest.param(
        tools,
        id=tools.name,
        marks=[] if tools.name in _USUAL else [pytest.mark.slice],
    )
    for tools in TOOL_SETS
]


@pytest.fixture(params=_PARAMS)
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScriptRun]:
    tools: ToolSet = request.param
    for program in tools.programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    run = ScriptRun(tools, tmp_path)
    yield run
    run.close()
