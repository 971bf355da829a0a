"""Namespaces of tests: ready for pods, and deleted at the end."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from kubernetes import client

from tests.waits import wait_until


@contextmanager
def make_namespace(core_api: client.CoreV1Api, prefix: str) -> Generator[str]:
    """Make a namespace whose name begins with `prefix`; it is deleted after the block."""
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    body: Any = {"metadata": {"name": name}}
    core_api.create_namespace(body)
    # A pod is refused until its namespace has the default account.
    wait_until(lambda: bool(core_api.list_namespaced_service_account(name).items))
    yield name
    core_api.delete_namespace(name)
