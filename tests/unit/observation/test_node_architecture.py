from typing import Any

import pytest

from tasks.observation.cluster_evidence import (
    ARCHITECTURE_ADVICE,
    NodeSnapshot,
    refuses_to_execute,
)
from tasks.observation.pod_wait_failures import advice_for, with_architecture, with_last_line


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


FAILED = "Init container clone of pod p ended with exit code 255 (Error), so it was not started."
NOT_PULLED = (
    "The image agent:dev cannot be pulled for 120 s (pod p): container agent: ImagePullBackOff: "
)


@pytest.mark.parametrize(
    ("message", "lines", "names_architecture"),
    [
        (FAILED, [], False),
        (FAILED, ["fatal: repository not found"], False),
        (FAILED, ["exec /bin/sh: exec format error"], True),
        (FAILED, ["exec /bin/sh: exec format error", ""], True),
        (NOT_PULLED + "not found", [], False),
        (NOT_PULLED + "failed to unpack: no match for platform in manifest: not found", [], True),
        (NOT_PULLED + "no matching manifest for linux/arm64/v8 in the manifest list", [], True),
        (NOT_PULLED + 'no image found in image index for architecture "arm64"', [], True),
    ],
)
def test_advice_is_about_the_architecture_where_the_words_are(
    message: str, lines: list[str], names_architecture: bool
) -> None:
    advice = advice_for(with_last_line(message, lines), "Check it.")

    assert advice == (ARCHITECTURE_ADVICE if names_architecture else "Check it.")
