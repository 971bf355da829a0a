"""What people may not name: env, labels, annotations, volumes and folders of the run itself."""

import re
from collections.abc import Iterable
from posixpath import normpath

from tasks.vocabulary.names import (
    CREDENTIALS_VOLUME,
    HOME_VOLUME,
    INPUT_DIR,
    INPUT_VOLUME,
    KEEPER_SCRIPT_VOLUME,
    KEEPER_VOLUME,
    TMP_VOLUME,
    WORK_DIR,
    WORK_VOLUME,
)

PREFIX = "CLAUDE_JOBS_"

_RESERVED = {
    "HOME": "the runtime's home_path says it",
    "CLAUDE_CONFIG_DIR": "it lies in HOME",
    "CLAUDE_CODE_USE_BEDROCK": "the agent's provider says it",
    "CLAUDE_CODE_USE_VERTEX": "the agent's provider says it",
}

# What the script that clones reads, and what would make git clone something else or elsewhere.
_RESERVED_IN_CLONE = frozenset(
    {
        f"{PREFIX}KEEPER_DIR",
        "CREDENTIALS_DIR",
        "GIT_ALLOW_PROTOCOL",
        "GIT_BRANCH",
        "GIT_COMMON_DIR",
        "GIT_DEPTH",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_REF",
        "GIT_TERMINAL_PROMPT",
        "GIT_TREE",
        "GIT_URL",
        "GIT_WORK_TREE",
        "HOME",
    }
)

_CREDENTIAL_NAMES = frozenset(
    {
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_FOUNDRY_API_KEY",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "GITHUB_TOKEN",
        "GH_TOKEN",
    }
)

# Ours, the Job controller's, and Prefect's: its worker claims every object that has its labels.
_RESERVED_KEY = re.compile(
    r"((claude-jobs\.dev|app\.kubernetes\.io|batch\.kubernetes\.io|([^/]+\.)?prefect\.io)/.*"
    r"|job-name|controller-uid)"
)
_OWN_VOLUMES = frozenset(
    {
        INPUT_VOLUME,
        WORK_VOLUME,
        HOME_VOLUME,
        TMP_VOLUME,
        CREDENTIALS_VOLUME,
        KEEPER_VOLUME,
        KEEPER_SCRIPT_VOLUME,
    }
)
_TERMINATION_LOG = "/dev/termination-log"
_VOLUME_OF_A_MOUNT = re.compile(r"(clone-)?mount-\d+")


def why_reserved(name: str) -> str | None:
    """Tell why only the run may set a variable of the agent; `None` if people may."""
    if name.startswith(PREFIX):
        return "is set by the run itself"
    reason = _RESERVED.get(name)
    return f"cannot be set, {reason}" if reason else None


def is_reserved_for_clone(name: str) -> bool:
    """Tell whether only the run may set a variable of the container that clones."""
    return name in _RESERVED_IN_CLONE


def is_credential(name: str) -> bool:
    """Tell whether a variable holds a credential, whoever reads it, and so no plain value."""
    return name in _CREDENTIAL_NAMES


def reserved_keys(keys: Iterable[str]) -> list[str]:
    """Return the labels or annotations that people may not set."""
    return sorted(key for key in keys if _RESERVED_KEY.fullmatch(key))


def is_own_volume(name: str) -> bool:
    """Tell whether a volume of this name is the run's, and only for the containers it is for."""
    return name in _OWN_VOLUMES or _VOLUME_OF_A_MOUNT.fullmatch(name) is not None


def why_not_mountable(path: str, home_path: str) -> str | None:
    """Tell why nothing may be mounted at a path of the agent's container; `None` if it may."""
    if overlaps(path, INPUT_DIR) or overlaps(path, WORK_DIR):
        return "used by the run itself"
    if overlaps(path, _TERMINATION_LOG):
        return "Kubernetes mounts the file there that holds how the agent ended"
    sessions = f"{folder_of(home_path)}.claude/"
    if folder_of(path) == sessions or folder_of(path).startswith(f"{sessions}projects/"):
        return "Claude Code keeps its sessions there"
    return None


def overlaps(path: str, other: str) -> bool:
    """Tell whether one of two folders contains the other."""
    one, two = folder_of(path), folder_of(other)
    return one.startswith(two) or two.startswith(one)


def folder_of(path: str) -> str:
    """Return a mount path with a slash at its end, as a pod resolves it."""
    # Kubernetes takes a relative path from the root.
    folder = f"{normpath('/' + path.lstrip('/')).rstrip('/')}/"
    # In most images /var/run is a link to /run.
    return f"/var{folder}" if folder.startswith("/run/") else folder
