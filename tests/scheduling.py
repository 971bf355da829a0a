"""In which order pytest-xdist starts the tests, and which of them one process keeps together.

Half of the tests compute, the others wait for Leases, schedules and servers. The longest waits
begin first and the computing is done beside them, so that no long test is left for the end.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import pytest
from xdist.scheduler import (  # pyright: ignore[reportMissingTypeStubs] # it has annotations, but no py.typed
    LoadScopeScheduling,
)

# Their tests take seconds each and share nothing but servers, so each goes where there is room.
# Every other file stays in one process, with what its fixtures have made.
_ONE_BY_ONE = (
    "tests/demo/",
    "tests/engine/test_interrupted_command.py",
    "tests/engine/test_killed_command.py",
    "tests/engine/test_stages.py",
    "tests/main_job/test_bad_input.py",
    "tests/main_job/test_forbidden_exec.py",
    "tests/main_job/test_git_workspace.py",
    "tests/main_job/test_planted_secrets.py",
    "tests/main_job/test_run_completes.py",
    "tests/main_job/test_same_result.py",
    "tests/main_job/test_two_runs_at_once.py",
    "tests/operators/",
    "tests/sweep/",
)
_SECONDS_ONE_BY_ONE = 5.0  # of those that do not say how long they wait


class LongestFirst(LoadScopeScheduling):
    """Hands the tests out in the order in which they were collected, mostly file by file."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """Return what a test's process has to keep together: the test alone, or its file."""
    return nodeid if nodeid.startswith(_ONE_BY_ONE) else nodeid.partition("::")[0]


def longest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Order tests by how long they wait, the longest first, each followed by some that compute."""
    scopes: dict[str, list[pytest.Item]] = {}
    for item in items:
        scopes.setdefault(scope_of(item.nodeid), []).append(item)
    waiting = {scope: _seconds_of(tests) for scope, tests in scopes.items()}
    first = sorted((scope for scope in scopes if waiting[scope]), key=lambda s: -waiting[s])
    others = [scope for scope in scopes if not waiting[scope]]
    return [item for scope in _alternate(first, others) for item in scopes[scope]]


def _seconds_of(tests: list[pytest.Item]) -> float:
    said = [marker.args[0] for test in tests for marker in test.iter_markers("waits")]
    if said:
        return sum(said)
    return _SECONDS_ONE_BY_ONE if tests[0].nodeid.startswith(_ONE_BY_ONE) else 0.0


def _alternate(first: list[str], others: list[str]) -> Iterator[str]:
    for pair in zip_longest(first, others):
        yield from filter(None, pair)
