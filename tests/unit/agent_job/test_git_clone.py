"""The init container that clones: what stands in the pod, and what its script does."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.agent_job.environment import mounted_secrets
from tasks.agent_job.git_clone import build_clone_container
from tasks.agent_job.manifest import build_job_manifest
from tasks.agent_job.pod_settings import GitClone
from tasks.agent_job.run_request import Workspace, parse_request
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.preflight.pod_security import restricted_violations
from tasks.vocabulary.errors import InputInvalid
from tests.git_server import GIT_PASSWORD, GIT_USER, make_repository, serve_repositories
from tests.unit.agent_job.run_inputs import make_job_spec

CLONE = {"image": "git:1", "credentials_secret": "git-robot"}
WORKSPACE = {"repo_url": "https://git.example/p.git", "repo_ref": "v1", "branch": "agent/$(X)"}


def pod_of(request: dict[str, Any], runtime: dict[str, Any]) -> dict[str, Any]:
    return build_job_manifest(make_job_spec(request, runtime=runtime))["spec"]["template"]["spec"]


def test_clone_is_an_init_container_whose_volume_the_agent_shares() -> None:
    plain = pod_of({"workspace": WORKSPACE}, {})
    pod = pod_of({"workspace": WORKSPACE}, {"git": CLONE})

    [clone] = pod["initContainers"]
    [agent] = pod["containers"]
    assert clone["image"] == "git:1"
    assert clone["securityContext"] == agent["securityContext"]
    assert clone["resources"] == agent["resources"]
    assert clone["volumeMounts"] == [
        {"name": "workspace", "mountPath": "/workspace"},
        {
            "name": "git-credentials",
            "mountPath": "/var/run/claude-jobs/git",
            "readOnly": True,
        },
    ]
    assert {entry["name"]: entry["value"] for entry in clone["env"]} == {
        "HOME": "/workspace",
        "GIT_TREE": "/workspace/repo",
        "GIT_URL": "https://git.example/p.git",
        "GIT_REF": "v1",
        "GIT_BRANCH": "agent/$$(X)",
        "GIT_DEPTH": "1",
        "CREDENTIALS_DIR": "/var/run/claude-jobs/git",
    }
    own = plain["containers"][0]["volumeMounts"]
    assert agent["volumeMounts"] == [*own, {"name": "workspace", "mountPath": "/workspace"}]
    assert agent["workingDir"] == "/workspace/repo"
    assert pod["volumes"] == [
        *plain["volumes"],
        {"name": "workspace", "emptyDir": {"sizeLimit": "10Gi"}},
        {
            "name": "git-credentials",
            "secret": {"secretName": "git-robot", "defaultMode": 0o440, "optional": False},
        },
    ]
    assert restricted_violations(pod) == []


@pytest.mark.parametrize(
    ("workspace", "git"),
    [
        pytest.param(WORKSPACE, None, id="not configured"),
        pytest.param({}, CLONE, id="no repository"),
    ],
)
def test_nothing_is_cloned_where_nobody_asked_for_it(workspace: Any, git: Any) -> None:
    pod = pod_of({"workspace": workspace}, {"git": git})

    assert "initContainers" not in pod
    assert pod["containers"][0]["workingDir"] == "/home/agent"
    assert "workspace" not in json.dumps(pod["volumes"])


def test_folder_of_the_run_wins_over_the_clone_as_working_directory() -> None:
    pod = pod_of({"workspace": {**WORKSPACE, "cwd": "/workspace/repo/docs"}}, {"git": CLONE})

    assert pod["containers"][0]["workingDir"] == "/workspace/repo/docs"


def test_clone_without_credentials_mounts_no_secret() -> None:
    pod = pod_of({"workspace": WORKSPACE}, {"git": {"image": "git:1"}})

    assert [mount["name"] for mount in pod["initContainers"][0]["volumeMounts"]] == ["workspace"]


def test_credentials_of_the_clone_are_masked_like_mounted_ones() -> None:
    runtime = RuntimeSpec.model_validate({"image": "a", "git": CLONE})

    assert mounted_secrets(runtime) == ("git-robot",)
    assert mounted_secrets(RuntimeSpec(image="a", git=GitClone(image="git:1"))) == ()


def test_clone_has_env_and_mounts_of_its_own() -> None:
    proxy = {"env": "HTTPS_PROXY", "kind": "secret", "name": "proxy", "key": "url"}
    git = {
        **CLONE,
        "env": {"GIT_SSL_CAINFO": "/etc/ca/ca.crt"},
        "env_from_keys": [{**proxy, "optional": True}],
        "mounts": [{"kind": "config_map", "name": "ca", "path": "/etc/ca", "optional": True}],
    }

    pod = pod_of({"workspace": WORKSPACE}, {"git": git})

    [clone] = pod["initContainers"]
    reference = {"name": "proxy", "key": "url", "optional": True}
    assert clone["env"][0] == {"name": "HTTPS_PROXY", "valueFrom": {"secretKeyRef": reference}}
    assert {"name": "GIT_SSL_CAINFO", "value": "/etc/ca/ca.crt"} in clone["env"]
    assert clone["volumeMounts"][-1] == {
        "name": "clone-mount-1",
        "mountPath": "/etc/ca",
        "readOnly": True,
    }
    assert pod["volumes"][-1] == {
        "name": "clone-mount-1",
        "configMap": {"name": "ca", "optional": True},
    }
    assert "clone-mount-1" not in str(pod["containers"])
    assert restricted_violations(pod) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"env": {"GIT_URL": "x"}}, "GIT_URL is set by the run itself"),
        ({"env": {"GIT_DIR": "x"}}, "GIT_DIR is set by the run itself"),
        ({"env": {"GITHUB_TOKEN": "x"}}, "GITHUB_TOKEN is a credential"),
        ({"env": {"A": "x"}, "env_from_keys": [{"env": "A"}]}, "A given more than once"),
        ({"mounts": [{"path": "/var/run/claude-jobs"}]}, "is used by the run itself"),
        ({"mounts": [{"path": "/workspace/ca"}]}, "is used by the run itself"),
        ({"mounts": [{"path": "/run/claude-jobs/keeper/ca"}]}, "is used by the run itself"),
        ({"env": {"CLAUDE_JOBS_KEEPER_DIR": "/"}}, "CLAUDE_JOBS_KEEPER_DIR is set by the run"),
        ({"path": "/var/run/claude-jobs/keeper"}, "path: .*keeper is used by the run itself"),
        ({"path": "/run/claude-jobs/keeper-script/x"}, "path: .* is used by the run itself"),
    ],
)
def test_clone_is_not_given_what_the_run_sets(fields: dict[str, Any], expected: str) -> None:
    required = {"kind": "secret", "name": "s", "key": "k"}
    git: dict[str, Any] = {**CLONE, **fields}
    for name, more in (("env_from_keys", required), ("mounts", {"kind": "secret", "name": "s"})):
        if name in git:
            git[name] = [{**more, **item} for item in git[name]]

    with pytest.raises(InputInvalid, match=expected):
        parse_request({"agent": "ada", "runtime": {"image": "a", "git": git}})


def test_clone_does_not_take_the_place_of_what_the_run_needs() -> None:
    request = {"agent": "ada", "runtime": {"image": "a", "git": {**CLONE, "path": "/home/agent"}}}

    with pytest.raises(InputInvalid, match="mounts: /home/agent given more than once"):
        parse_request(request)


# --- what the script does ------------------------------------------------------------------------

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a repository with three commits that wants a password, and the last's id."""
    folder = tmp_path / "served"
    folder.mkdir()
    last = make_repository(folder, commits=3)
    with serve_repositories(folder) as address:
        yield address, last


def clone(
    tmp_path: Path,
    workspace: dict[str, str],
    *,
    password: str | None = GIT_PASSWORD,
    depth: int = 1,
    keeper: Path | None = None,
) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """Run the container's script here, with folders in the places of its volumes."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    if password is not None:
        (credentials / "username").write_text(GIT_USER)
        (credentials / "password").write_text(password)
    spec = GitClone(image="git:1", path=str(tmp_path / "volume"), depth=depth)
    container = build_clone_container(
        spec,
        Workspace.model_validate(workspace),
        security_context={},
        resources={},
        has_keeper=keeper is not None,
    )
    (tmp_path / "volume").mkdir()
    found = subprocess.run(
        [word.replace("$$", "$") for word in container["command"]],
        env={
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            **{entry["name"]: entry["value"] for entry in container["env"]},
            "CREDENTIALS_DIR": str(credentials),
            **({"CLAUDE_JOBS_KEEPER_DIR": str(keeper)} if keeper is not None else {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(spec.tree), found


def git(tree: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=tree, capture_output=True, text=True, check=True
    ).stdout.strip()


@needs_git
@pytest.mark.parametrize(
    ("ref", "branch", "on", "commits", "depth"),
    [
        pytest.param(None, None, "HEAD", 1, 1, id="default branch"),
        pytest.param("topic", None, "topic", 1, 1, id="branch"),
        pytest.param("topic", "agent/work", "agent/work", 1, 1, id="work goes to a branch"),
        pytest.param("main", None, "main", 3, 0, id="whole history"),
        pytest.param("LAST", None, "HEAD", 1, 1, id="commit"),
    ],
)
def test_script_clones_as_much_as_it_is_told(
    served: tuple[str, str],
    tmp_path: Path,
    ref: str | None,
    branch: str | None,
    on: str,
    commits: int,
    depth: int,
) -> None:
    address, last = served
    workspace = {"repo_url": address, "repo_ref": last if ref == "LAST" else ref, "branch": branch}

    tree, found = clone(tmp_path, {k: v for k, v in workspace.items() if v}, depth=depth)

    assert found.returncode == 0, found.stderr
    assert git(tree, "rev-parse", "--abbrev-ref", "HEAD") == on
    assert git(tree, "rev-list", "--count", "HEAD") == str(commits)
    assert (tree / "README").read_text() == "commit 3\n"
    assert (tree / "TOPIC").exists() == (ref == "topic")
    assert git(tree, "remote", "get-url", "origin") == address
    left = "".join(
        path.read_text(errors="replace") for path in (tree / ".git").rglob("*") if path.is_file()
    )
    assert GIT_PASSWORD not in left + found.stdout + found.stderr


@needs_git
@pytest.mark.parametrize(
    ("password", "fields", "said"),
    [
        pytest.param("wrong-password-of-it", {}, "Authentication failed", id="wrong password"),
        pytest.param(None, {}, "terminal prompts disabled", id="no password"),
        pytest.param(GIT_PASSWORD, {"repo_ref": "nowhere"}, "find remote ref", id="no such ref"),
        pytest.param(
            GIT_PASSWORD, {"repo_url": "ext::sh -c id"}, "not allowed", id="address runs a command"
        ),
        pytest.param(
            GIT_PASSWORD,
            {"repo_ref": "--upload-pack=touch owned"},
            "invalid refspec",
            id="ref is no option",
        ),
    ],
)
def test_script_that_cannot_clone_fails_with_gits_own_words(
    served: tuple[str, str],
    tmp_path: Path,
    password: str | None,
    fields: dict[str, str],
    said: str,
) -> None:
    tree, found = clone(tmp_path, {"repo_url": served[0], **fields}, password=password)

    assert found.returncode != 0
    assert said in found.stderr
    assert "password-of" not in found.stderr
    assert not (tree / "owned").exists()


@needs_git
@pytest.mark.parametrize("workspace", [{}, {"branch": "agent/work"}, {"repo_ref": "main"}])
def test_script_notes_for_the_keeper_with_which_commit_the_agent_begins(
    served: tuple[str, str], tmp_path: Path, workspace: dict[str, str]
) -> None:
    address, last = served
    keeper = tmp_path / "keeper"
    keeper.mkdir()

    tree, found = clone(tmp_path, {"repo_url": address, **workspace}, keeper=keeper)

    assert found.returncode == 0, found.stderr
    assert found.stdout == f"Cloned commit {last}.\n"
    assert [(path.name, path.read_text()) for path in keeper.iterdir()] == [("base", f"{last}\n")]
    assert not (tree / "base").exists()


@needs_git
def test_clone_fails_where_the_keeper_cannot_be_told(
    served: tuple[str, str], tmp_path: Path
) -> None:
    _, found = clone(tmp_path, {"repo_url": served[0]}, keeper=tmp_path / "no-such-volume")

    assert found.returncode != 0
    assert "base" in found.stderr
