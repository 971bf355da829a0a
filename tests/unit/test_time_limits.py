"""Whatever a test does on whichever try, it ends within its time limit."""

import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LIMIT_SECONDS = 0.5
_BOUND_SECONDS = 45.0  # all tries together and the start of Python, on a busy machine

_HANG = "time.sleep(60)"
_FIRST_TRIES = {"times out": _HANG, "fails": "assert False"}
_SECOND_TRIES = {
    "test hangs": ("pass", _HANG, "pass"),
    "set-up hangs": (_HANG, "pass", "pass"),
    "clean-up hangs": ("pass", "assert False", _HANG),
}
_CASES = list(product(_FIRST_TRIES, _SECOND_TRIES))
_TEST = """
@pytest.fixture
def place_{name}():
    TRIES["{name}"] += 1
    if TRIES["{name}"] == 2:
        {setup}
    yield
    if TRIES["{name}"] == 2:
        {teardown}

@pytest.mark.timeout({limit})
def test_{name}(place_{name}):
    if TRIES["{name}"] == 1:
        {first}
    else:
        {second}
"""


def _tiny_test(name: str, limit: float, first: str, second: tuple[str, str, str]) -> str:
    setup, call, teardown = second
    return _TEST.format(
        name=name, limit=limit, first=first, setup=setup, second=call, teardown=teardown
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of one file with all cases, each run again once."""
    folder = tmp_path_factory.mktemp("tiny")
    texts = [
        _tiny_test(f"case_{n}", _LIMIT_SECONDS, _FIRST_TRIES[first], _SECOND_TRIES[second])
        for n, (first, second) in enumerate(_CASES)
    ]
    texts.append(_tiny_test("good", 2, _HANG, ("pass", "time.sleep(1)", "pass")))
    head = "import time, collections\nimport pytest\nTRIES = collections.Counter()\n"
    (folder / "tiny_test.py").write_text(head + "".join(texts))
    options = ("-p", "tests.time_limits", "-p", "no:cacheprovider", "--reruns=1", "-rfEpR")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tiny_test.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=_BOUND_SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", range(len(_CASES)), ids=[", ".join(case) for case in _CASES])
def test_second_try_that_hangs_ends_as_a_failure(output: str, number: int) -> None:
    endings = re.findall(rf"^([A-Z]+) tiny_test.py::test_case_{number}\b(.*)$", output, re.M)

    assert endings[0][0] == "RERUN", output
    assert any(ending in {"FAILED", "ERROR"} and "Timeout" in why for ending, why in endings)


@pytest.mark.timeout(60)
def test_second_try_that_is_in_time_succeeds(output: str) -> None:
    endings = re.findall(r"^([A-Z]+) tiny_test.py::test_good\b", output, re.M)

    assert set(endings) == {"RERUN", "PASSED"}


def test_repository_uses_it() -> None:
    assert '"tests.time_limits"' in (ROOT / "pyproject.toml").read_text()
