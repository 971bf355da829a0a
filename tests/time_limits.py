"""Gives every try of a test its time limit, and the clean-up after a failure too.

pytest-timeout arms its timer once for a test and takes it away at the first failure. What runs
after that has no limit: the second try of a test that is run again, and fixtures that clean up.
"""

from collections.abc import Generator
from typing import Any

import pytest

_SETTINGS = pytest.StashKey[Any]()
_IS_ARMED = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    item.stash[_SETTINGS] = settings
    item.stash[_IS_ARMED] = True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    item.stash[_IS_ARMED] = False


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    _arm_again(item)
    yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    if not item.stash.get(_IS_ARMED, False):
        _arm_again(item)
    yield


def _arm_again(item: pytest.Item) -> None:
    settings = item.stash.get(_SETTINGS, None)
    # One for the test function alone is armed before each call of it.
    if settings is None or settings.func_only:
        return
    item.ihook.pytest_timeout_cancel_timer(item=item)
    item.ihook.pytest_timeout_set_timer(item=item, settings=settings)
