import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keeper.kept_work import Keeper

SHELLS = ["dash", "busybox", "bash"]
# What both dash and busybox do before every commit; the rest is done by dash alone then.
_UNDER_BUSYBOX_TOO = "test_everyday_work.py"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        usual = ["dash", "busybox"] if item.path.name == _UNDER_BUSYBOX_TOO else ["dash"]
        is_rare = item.callspec.params.get("keeper") in set(SHELLS) - set(usual)
        is_ours = item.path.parent == Path(__file__).parent
        if is_rare and is_ours and item.get_closest_marker("long") is None:
            item.add_marker(pytest.mark.slice)


@pytest.fixture(params=SHELLS)
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeper]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    keeper = Keeper(request.param, tmp_path)
    yield keeper
    keeper.close()
