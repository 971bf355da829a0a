import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_script.script_run import TOOL_SETS, ScriptRun, ToolSet


@pytest.fixture(params=TOOL_SETS, ids=lambda tools: tools.name)
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScriptRun]:
    tools: ToolSet = request.param
    for program in tools.programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    run = ScriptRun(tools, tmp_path)
    yield run
    run.close()
