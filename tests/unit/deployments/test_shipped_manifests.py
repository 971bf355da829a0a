"""The shipped manifests: restricted pods, no credential by value, and names that fit each other."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.deployed_image import name_flow_run_image
from tasks.preflight.pod_security import restricted_violations
from tasks.sweep.sweep_config import SweepConfig

KUBERNETES = Path(__file__).parents[3] / "deployments" / "kubernetes"
PREFECT_FILE = Path(__file__).parents[3] / "deployments" / "prefect.yaml"


def base() -> list[Any]:
    files = sorted((KUBERNETES / "base").glob("*.yaml"))
    return [d for file in files for d in yaml.safe_load_all(file.read_text()) if "metadata" in d]


def only(kind: str, name: str) -> Any:
    [found] = [d for d in base() if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return found


def job_template() -> Any:
    return json.loads((KUBERNETES / "work-pool.json").read_text())


def flow_run_pod() -> Any:
    return job_template()["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]


def worker_pod() -> Any:
    return only("Deployment", "prefect-worker")["spec"]["template"]["spec"]


@pytest.mark.parametrize("pod", [worker_pod(), flow_run_pod()], ids=["worker", "flow-run"])
def test_pods_meet_the_restricted_standard_and_write_to_volumes_only(pod: Any) -> None:
    assert restricted_violations(pod) == []
    assert [c["securityContext"]["readOnlyRootFilesystem"] for c in pod["containers"]] == [True]


def test_namespace_enforces_the_restricted_standard() -> None:
    labels = only("Namespace", "claude-jobs")["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_agents_alone_get_no_token() -> None:
    accounts = {
        d["metadata"]["name"]: d["automountServiceAccountToken"]
        for d in base()
        if d["kind"] == "ServiceAccount"
    }

    assert accounts == {
        "prefect-worker": True,
        "flow-run": True,
        "sweep": True,
        "agent": False,
    }


def test_flow_runs_are_what_the_manifests_prepare() -> None:
    variables = job_template()["variables"]["properties"]

    assert variables["namespace"]["default"] == only("Namespace", "claude-jobs")["metadata"]["name"]
    only("ServiceAccount", variables["service_account_name"]["default"])
    assert variables["image"]["default"] == worker_pod()["containers"][0]["image"]
    # Else Prefect gives a run up whose pod is deleted, instead of starting it again.
    assert variables["backoff_limit"]["default"] == 0


def test_results_outlive_pods_and_are_found_where_the_worker_reads() -> None:
    folder = job_template()["variables"]["properties"]["env"]["default"][
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH"
    ]

    for pod in (flow_run_pod(), worker_pod()):
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        [mounts] = [
            {mount["mountPath"]: claims.get(mount["name"]) for mount in c["volumeMounts"]}
            for c in pod["containers"]
        ]
        only("PersistentVolumeClaim", mounts[folder] or "none")


def test_deployments_run_as_accounts_that_the_manifests_make() -> None:
    deployments = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
    variables = [d["work_pool"].get("job_variables", {}) for d in deployments]

    for account in (v["service_account_name"] for v in variables if "service_account_name" in v):
        only("ServiceAccount", account)


def test_every_deployment_with_an_image_takes_it_from_the_step_that_checks_it() -> None:
    shipped = yaml.safe_load(PREFECT_FILE.read_text())
    [(step, options)] = shipped["build"][0].items()
    images = [d["work_pool"].get("job_variables", {}).get("image") for d in shipped["deployments"]]
    checked = ["build" not in d for d in shipped["deployments"]]

    assert step == f"{name_flow_run_image.__module__}.{name_flow_run_image.__name__}"
    assert set(images) == {None, f"{{{{ {options['id']}.image }}}}"}
    assert checked == [image is not None for image in images]


def test_deployed_sweep_is_scheduled_and_changes_nothing_until_told_to() -> None:
    deployments = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
    [sweep] = [d for d in deployments if d["entrypoint"].startswith("flows.sweep_orphans.")]

    assert SweepConfig.model_validate(sweep["parameters"]["config"]) == SweepConfig(dry_run=True)
    assert [schedule["cron"] for schedule in sweep["schedules"]] == ["*/15 * * * *"]


def test_deployments_are_modules_without_a_limit_that_a_restart_of_prefect_breaks() -> None:
    deployments = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]

    assert [
        d["name"] for d in deployments if find_spec(d["entrypoint"].rpartition(".")[0]) is None
    ] == []
    assert [d["name"] for d in deployments if "concurrency_limit" in d] == []
