"""The requests of the demo: agent, image and prompt. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CREDENTIAL_NAMES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
CREDENTIALS_SECRET = "demo-credentials"
NAMESPACE = "default"
RECORDING = "fix_a_test"
REAL_BUDGET_USD = 0.5

# Slow enough to be read live; a session of minutes takes seconds.
_LINE_DELAY_SECONDS = 0.15
_REPLAYED_PROMPT = "A test fails. Find out why and fix it."
_REAL_PROMPT = (
    "Write a small Python module with one useful function and a unittest for it in the current "
    "folder, run the test, and say in two sentences what you did."
)
_RESOURCES = {
    "cpu_request": "100m",
    "cpu_limit": None,
    "memory_request": "64Mi",
    "ephemeral_storage_request": "16Mi",
    "transcript_storage_limit": "256Mi",
}


def build_replay_request(recordings: Path, storage: Path) -> dict[str, Any]:
    """Return the request for a run that replays the recording."""
    return {
        "agent": {"agent_id": "demo", "name": "Demo"},
        "runtime": _runtime("claude-jobs/demo:replay", storage),
        "prompt": _REPLAYED_PROMPT,
        "env": {
            "REPLAY_DIR": str(recordings),
            "REPLAY_TRANSCRIPT": RECORDING,
            "REPLAY_LINE_DELAY_SECONDS": str(_LINE_DELAY_SECONDS),
        },
    }


def build_real_request(
    credentials: Mapping[str, str], base_url: str | None, storage: Path
) -> dict[str, Any]:
    """Return the request for a run of the real Claude Code.

    Args:
        credentials: Content of the Secret `CREDENTIALS_SECRET`; the request has only the names.
        base_url: URL of the model's API; Anthropic's if `None`.
        storage: Folder for the result.
    """
    return {
        "agent": {
            "agent_id": "demo",
            "name": "Demo",
            "max_turns": 20,
            "max_budget_usd": REAL_BUDGET_USD,
            "env": {"ANTHROPIC_BASE_URL": base_url} if base_url else {},
            "credentials": [
                {"env": name, "secret": CREDENTIALS_SECRET, "key": name} for name in credentials
            ],
        },
        "runtime": _runtime("claude-jobs/demo:real", storage),
        "prompt": _REAL_PROMPT,
    }


def build_credentials_secret(credentials: Mapping[str, str]) -> dict[str, Any]:
    """Return the Secret's manifest."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": CREDENTIALS_SECRET},
        "stringData": dict(credentials),
    }


def _runtime(image: str, storage: Path) -> dict[str, Any]:
    return {
        "image": image,
        "namespace": NAMESPACE,
        "resources": _RESOURCES,
        "result_storage": str(storage),
    }
