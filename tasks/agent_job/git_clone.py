"""The init container that clones a run's repository, where the runtime says so.

Credentials are files of a Secret that this container alone mounts; git asks for them when a server
does, so that they stand in no pod spec, command line, environment or clone.
"""

from collections.abc import Mapping
from typing import Any

from tasks.agent_job.keeper_container import keeper_mount
from tasks.agent_job.pod_settings import GitClone, ReadOnlyMount, key_reference, mount_source
from tasks.agent_job.reserved_names import PREFIX
from tasks.agent_job.run_request import Workspace
from tasks.claude_code.command_line import escape_for_kubernetes
from tasks.vocabulary.names import (
    CLONE_CONTAINER,
    CREDENTIALS_DIR,
    CREDENTIALS_VOLUME,
    KEEPER_DIR,
    WORKSPACE_VOLUME,
)

# Everything is quoted, and `--` keeps a value from being taken for an option.
_SCRIPT = r"""
set -eu
export GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:http:ssh:git
helper='!f() { [ "$1" = get ] || return 0
[ -r "$CREDENTIALS_DIR/password" ] || return 0
if [ -r "$CREDENTIALS_DIR/username" ]; then
printf "username=%s\n" "$(cat "$CREDENTIALS_DIR/username")"; else echo username=git; fi
printf "password=%s\n" "$(cat "$CREDENTIALS_DIR/password")"; }; f'
if [ -r "$CREDENTIALS_DIR/ssh-privatekey" ]; then
  export GIT_SSH_COMMAND="ssh -i $CREDENTIALS_DIR/ssh-privatekey -o IdentitiesOnly=yes \
-o BatchMode=yes -o UserKnownHostsFile=$CREDENTIALS_DIR/known_hosts"
fi
ref=${GIT_REF:-} branch=${GIT_BRANCH:-}
git init -q -- "$GIT_TREE"
cd "$GIT_TREE"
git remote add -- origin "$GIT_URL"
set -- -c credential.helper= -c "credential.helper=$helper"
[ "$GIT_DEPTH" = 0 ] && depth= || depth=--depth=$GIT_DEPTH
git "$@" fetch -q $depth -- origin "${ref:-HEAD}"
if [ -n "$branch" ]; then
  git checkout -q -B "$branch" FETCH_HEAD --
elif [ -n "$ref" ] &&
  git "$@" ls-remote -q --exit-code -- origin "refs/heads/$ref" >/dev/null; then
  git checkout -q -B "$ref" FETCH_HEAD --
else
  git checkout -q --detach FETCH_HEAD --
fi
"""
# What the agent adds is told by it; the agent can change its own repository at will.
_NOTE_BASE = """\
git rev-parse --verify HEAD >"$CLAUDE_JOBS_KEEPER_DIR/base"
"""
_SAY_COMMIT = """\
git log -1 --format='Cloned commit %H.'
"""


def clones_repository(clone: GitClone | None, workspace: Workspace) -> bool:
    """Tell whether a run's repository is cloned before its agent starts."""
    return clone is not None and workspace.repo_url is not None


def build_clone_container(
    clone: GitClone,
    workspace: Workspace,
    *,
    security_context: Mapping[str, Any],
    resources: Mapping[str, Any],
    has_keeper: bool,
) -> dict[str, Any]:
    """Return the init container; it holds the repository's address, and no credential.

    Args:
        clone: How to clone.
        workspace: What.
        security_context: The agent container's own.
        resources: The agent container's own: a pod is given the larger of both, not the sum.
        has_keeper: Whether the pod's keeper is told which commit the agent begins with.
    """
    environment = {
        "HOME": clone.path,
        "GIT_TREE": clone.tree,
        "GIT_URL": workspace.repo_url,
        "GIT_REF": workspace.repo_ref,
        "GIT_BRANCH": workspace.branch,
        "GIT_DEPTH": str(clone.depth),
        "CREDENTIALS_DIR": CREDENTIALS_DIR,
    }
    mounts: list[dict[str, Any]] = [{"name": WORKSPACE_VOLUME, "mountPath": clone.path}]
    if clone.credentials_secret is not None:
        mounts.append({"name": CREDENTIALS_VOLUME, "mountPath": CREDENTIALS_DIR, "readOnly": True})
    for name, mount in _named_mounts(clone):
        mounts.append({"name": name, "mountPath": mount.path, "readOnly": True})
    script = _SCRIPT
    if has_keeper:
        environment[f"{PREFIX}KEEPER_DIR"] = KEEPER_DIR
        mounts.append(keeper_mount())
        script += _NOTE_BASE
    return {
        "name": CLONE_CONTAINER,
        "image": clone.image,
        "imagePullPolicy": clone.image_pull_policy,
        "command": ["/bin/sh", "-c", escape_for_kubernetes(script + _SAY_COMMIT)],
        "env": [
            *(key_reference(item) for item in clone.env_from_keys),
            *(
                {"name": name, "value": escape_for_kubernetes(value)}
                for name, value in {**clone.env, **environment}.items()
                if value is not None
            ),
        ],
        "workingDir": clone.path,
        # What git said last is what people are told when it fails.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": dict(resources),
        "securityContext": dict(security_context),
        "volumeMounts": mounts,
    }


def clone_volumes(clone: GitClone, *, mode: int) -> list[dict[str, Any]]:
    """Return the volumes that the clone, its credentials and its mounts need.

    Args:
        clone: How to clone.
        mode: Of the files with credentials.
    """
    volumes: list[dict[str, Any]] = [
        {"name": WORKSPACE_VOLUME, "emptyDir": {"sizeLimit": clone.storage_limit}}
    ]
    if clone.credentials_secret is not None:
        source = {"secretName": clone.credentials_secret, "defaultMode": mode, "optional": False}
        volumes.append({"name": CREDENTIALS_VOLUME, "secret": source})
    volumes += [{"name": name, **mount_source(mount)} for name, mount in _named_mounts(clone)]
    return volumes


def _named_mounts(clone: GitClone) -> list[tuple[str, ReadOnlyMount]]:
    return [(f"clone-mount-{number}", mount) for number, mount in enumerate(clone.mounts, start=1)]
