"""Every finding about result storage, retention and Prefect, and how findings are told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.agent_job.needed_permissions import (
    PREFLIGHT_PERMISSIONS,
    RUN_PERMISSIONS,
    SWEEP_PERMISSIONS,
)
from tasks.agent_job.quantities import quantity_value
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.preflight.preflight_facts import Mount, PrefectFacts, StorageFacts, Unread, WhyUnread
from tasks.preflight.preflight_results import (
    Check,
    Level,
    build_preflight_report,
    build_preflight_table,
    build_role,
    error,
    ok,
    warning,
)
from tasks.preflight.surroundings_checks import (
    find_mount,
    judge_prefect,
    judge_retention,
    judge_storage,
)

ROLES = Path(__file__).parents[3] / "deployments" / "kubernetes" / "base"
MOUNTS = """\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw
23 22 0:21 / /dev/shm rw master:2 - tmpfs shm rw
24 22 8:1 /var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/x /scratch rw - ext4 /dev/sda1 rw
25 22 8:1 / /with\\040space rw - xfs /dev/sdb1 rw
26 22 8:1 /lower /twice rw - ext4 /dev/sda1 rw
27 26 8:1 /upper /twice rw - nfs4 server:/x rw
not a line
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/var/lib", Mount("/", "/", "overlay")),
        ("/dev/shm/x", Mount("/dev/shm", "/", "tmpfs")),
        ("/dev/shmoo", Mount("/", "/", "overlay")),
        ("/with space/x", Mount("/with space", "/", "xfs")),
        ("/twice", Mount("/twice", "/upper", "nfs4")),
    ],
    ids=["root", "memory", "only-alike", "escaped", "mounted-over"],
)
def test_path_lies_on_its_innermost_mount(path: str, mount: Mount) -> None:
    assert find_mount(MOUNTS, path) == mount


def test_mount_is_not_known_without_a_table() -> None:
    assert find_mount("", "/x") is None


@pytest.mark.parametrize(
    ("path", "in_pod", "problem", "words"),
    [
        ("/with space/x", True, None, None),
        ("/var/lib", False, None, None),
        ("/var/lib", True, None, "the container's own file system"),
        ("/dev/shm/x", False, None, "is in memory"),
        ("/scratch/x", True, None, "is an emptyDir"),
        ("/with space/x", True, "Permission denied.", "Permission denied."),
    ],
    ids=["volume", "own-machine", "container", "memory", "empty-dir", "not-writable"],
)
def test_storage_has_to_outlive_the_pod(
    path: str, in_pod: bool, problem: str | None, words: str | None
) -> None:
    found = judge_storage(StorageFacts(path, find_mount(MOUNTS, path), in_pod, problem))

    assert found.level is (Level.ERROR if words else Level.OK)
    assert (words or "can be written and read") in found.finding
    assert bool(found.advice) is bool(words)


def test_storage_of_a_block_is_taken_as_lasting() -> None:
    assert judge_storage(StorageFacts("block s3/x", None, True, None)).level is Level.OK


@pytest.mark.parametrize(
    ("outage", "level"), [(86_399, Level.OK), (86_400, Level.ERROR)], ids=["shorter", "as-long"]
)
def test_ended_agent_waits_longer_than_an_outage(outage: int, level: Level) -> None:
    runtime = RuntimeSpec.model_validate({"image": "agent:1"})

    found = judge_retention(runtime, outage)

    assert found.level is level
    assert "24 h 00 min" in found.finding


PREFECT = PrefectFacts(
    api_url="http://prefect/api",
    is_cloud=False,
    server_version="3.8.8",
    client_version="3.8.8",
    logs_to_api=True,
    heartbeat_seconds=180,
    lease_storage="prefect.server.concurrency.lease_storage.memory",
    limited_deployments=(),
)
AWAY = Unread(WhyUnread.NO_ANSWER, "ConnectError.")


@pytest.mark.parametrize(
    ("changes", "bad"),
    [
        ({}, []),
        ({"is_cloud": True, "server_version": "0.1"}, []),
        ({"server_version": "3.10.0"}, []),
        ({"server_version": "3.8.7"}, [(Check.PREFECT_VERSION, Level.WARNING)]),
        ({"server_version": "2.20.1"}, [(Check.PREFECT_VERSION, Level.ERROR)]),
        (
            {"server_version": AWAY},
            [(Check.PREFECT_API, Level.ERROR), (Check.PREFECT_VERSION, Level.WARNING)],
        ),
        (
            {"api_url": None},
            [
                (Check.PREFECT_API, Level.WARNING),
                (Check.PREFECT_VERSION, Level.WARNING),
                (Check.PREFECT_SETTINGS, Level.WARNING),
            ],
        ),
        ({"logs_to_api": False}, [(Check.PREFECT_SETTINGS, Level.WARNING)]),
        ({"heartbeat_seconds": None}, [(Check.PREFECT_SETTINGS, Level.WARNING)]),
        ({"heartbeat_seconds": 600}, [(Check.PREFECT_SETTINGS, Level.WARNING)]),
        ({"limited_deployments": ("run-agent/x",)}, [(Check.PREFECT_SETTINGS, Level.WARNING)]),
        ({"limited_deployments": ("run-agent/x",), "lease_storage": None}, []),
    ],
    ids=[
        "well",
        "cloud",
        "newer",
        "a-little-older",
        "old",
        "away",
        "not-configured",
        "no-logs",
        "no-heartbeat",
        "seldom-heartbeat",
        "limit-in-memory",
        "limit-elsewhere",
    ],
)
def test_prefect_is_judged_by_version_and_settings(
    changes: dict[str, Any], bad: list[tuple[Check, Level]]
) -> None:
    results = judge_prefect(replace(PREFECT, **changes))

    assert [(r.check, r.level) for r in results if r.level is not Level.OK] == bad
    assert all(r.advice for r in results if r.level is not Level.OK)


def test_report_counts_sorts_and_names_errors() -> None:
    report = build_preflight_report(
        [
            warning(Check.QUOTA, "Small.", "Grow."),
            ok(Check.CLUSTER, "Well."),
            error(Check.JOB, "Refused.", "Ask."),
        ]
    )

    assert report.summary == "1 error, 1 warning: job."
    assert [r.check for r in report.results] == [Check.CLUSTER, Check.QUOTA, Check.JOB]
    assert [list(row.values()) for row in build_preflight_table(report)] == [
        ["error", "job", "Refused.", "Ask."],
        ["warning", "quota", "Small.", "Grow."],
        ["ok", "cluster", "Well.", "-"],
    ]
    assert build_preflight_report([ok(Check.JOB, "Well.")]).summary == "No problems found."


@pytest.mark.parametrize(
    ("name", "permissions"),
    [
        ("flow-run", RUN_PERMISSIONS),
        ("preflight", PREFLIGHT_PERMISSIONS),
        ("sweep", SWEEP_PERMISSIONS),
    ],
    ids=["flow-run", "preflight", "sweep"],
)
def test_told_role_is_the_shipped_one(name: str, permissions: Any) -> None:
    shipped = next(yaml.safe_load_all((ROLES / f"{name}-role.yaml").read_text()))

    told = yaml.safe_load(build_role(name, "agents", permissions))

    assert told["metadata"].pop("namespace") == "agents"
    assert told == shipped


@pytest.mark.parametrize("text", ["", "many", "1Xi"])
def test_other_text_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity_value(text)
