from typing import Any

import pytest

from tasks.observation.cluster_evidence import NodeSnapshot, refuses_to_execute
from tasks.observation.pod_wait_failures import with_architecture


@pytest.mark.parametrize(
    ("raw", "architecture"),
    [
        ({"status": {"nodeInfo": {"architecture": "arm64"}}}, "arm64"),
        ({"metadata": {"labels": {"kubernetes.io/arch": "amd64"}}}, "amd64"),
        (
            {
                "metadata": {"labels": {"kubernetes.io/arch": "amd64"}},
                "status": {"nodeInfo": {"architecture": "arm64"}},
            },
            "arm64",
        ),
        ({}, None),
    ],
)
def test_architecture_is_the_nodes_own_word_else_its_labels(
    raw: dict[str, Any], architecture: str | None
) -> None:
    assert NodeSnapshot.from_api(raw).architecture == architecture


def test_architecture_is_appended_where_it_is_known() -> None:
    message = 'StartError: "exec /bin/sh: exec format error".'

    assert refuses_to_execute(message)
    assert not refuses_to_execute("permission denied", None)
    assert with_architecture(message, NodeSnapshot("n")) == message
    assert with_architecture(message, NodeSnapshot("n", architecture="arm64")).endswith(
        '"; node n is arm64.'
    )
