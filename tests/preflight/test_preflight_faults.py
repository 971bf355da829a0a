"""A correct set-up is green, and each fault seeded into one is named with what to do.

One cluster, one namespace, and a stand-in for the few answers of Prefect that a preflight reads.
"""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from prefect import __version__ as prefect_version
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from flows.cli.app import app
from flows.preflight import Surroundings, check_surroundings
from tasks.preflight.preflight_facts import PreflightConfig
from tasks.preflight.preflight_results import CheckResult, Level
from tests.mutating_webhook import mutating_webhook
from tests.namespaces import make_namespace
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(120)]

BASE = Path(__file__).parents[2] / "deployments" / "kubernetes" / "base"
NOBODY = "127.0.0.1:9"
RUN_FLOW = """
import asyncio, json, sys
from flows.preflight import preflight
from tasks.preflight.preflight_facts import PreflightConfig
config = PreflightConfig.model_validate(json.loads(sys.argv[1]))
state = asyncio.run(preflight(config, return_state=True))
told = {"type": state.type.value, "name": state.name, "message": state.message}
print(json.dumps({**told, "flow_run_id": str(state.state_details.flow_run_id)}))
"""


class PrefectAnswers:
    """Answers as a Prefect server of some version does."""

    def __init__(self) -> None:
        self.version = prefect_version
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told: dict[str, Any] = {
                    "/api/admin/version": answers.version,
                    "/api/admin/settings": {},
                }
                self._answer(told.get(self.path))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                asked = {"/api/deployments/filter", "/api/flows/filter"}
                self._answer([] if self.path in asked else None)

            def _answer(self, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(404 if value is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/api"


@pytest.fixture(scope="module")
def prefect_answers() -> Iterator[PrefectAnswers]:
    answers = PrefectAnswers()
    thread = threading.Thread(target=answers.server.serve_forever, args=(0.01,))
    thread.start()
    yield answers
    answers.server.shutdown()
    thread.join()
    answers.server.server_close()


@pytest.fixture(scope="module")
def agents_namespace(core_api: client.CoreV1Api) -> Iterator[str]:
    """A namespace with all that an agent needs: a Secret, and a claim that is bound."""
    with make_namespace(core_api, "preflight") as name:
        _furnish(core_api, name)
        yield name
    for claim in ("homes", "one-node"):
        core_api.delete_persistent_volume(f"{name}-{claim}")


def _furnish(api: Any, name: str) -> None:
    secret = {"metadata": {"name": "anthropic"}, "stringData": {"api-key": "not a real one"}}
    api.create_namespaced_secret(name, secret)
    for claim, mode in (("homes", "ReadWriteMany"), ("one-node", "ReadWriteOnce")):
        api.create_persistent_volume(_volume(f"{name}-{claim}", claim, name, mode))
        api.create_namespaced_persistent_volume_claim(name, _claim(f"{name}-{claim}", claim, mode))
    waiting = _claim(f"{name}-none", "waiting", "ReadWriteMany")
    api.create_namespaced_persistent_volume_claim(name, waiting)

    def are_bound() -> bool:
        found = api.list_namespaced_persistent_volume_claim(name).items
        return sum(claim.status.phase == "Bound" for claim in found) == 2

    wait_until(are_bound)


def _volume(name: str, claim: str, namespace: str, mode: str) -> Any:
    return {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": [mode],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            # Never mounted: no pod is started here.
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": namespace, "name": claim},
        },
    }


def _claim(volume: str, name: str, mode: str) -> Any:
    return {
        "metadata": {"name": name},
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "volumeName": volume,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def shipped_rules(*roles: str) -> list[Any]:
    documents = [
        d for role in roles for d in yaml.safe_load_all((BASE / f"{role}-role.yaml").read_text())
    ]
    return [rule for document in documents for rule in document.get("rules", ())]


@dataclass
class SetUp:
    """A set-up that a run would be possible in, until something is changed."""

    core: Any
    namespace: str
    folder: Path
    admin_kubeconfig: str
    prefect: PrefectAnswers
    stack: ExitStack
    agent: dict[str, Any]
    runtime: dict[str, Any]
    kubeconfig: Path
    longest_outage_seconds: int = 3600
    own_now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def use(self, *, token: str, server: str | None = None) -> None:
        """Be somebody else, or look elsewhere."""
        found: Any = yaml.safe_load(Path(self.admin_kubeconfig).read_text())
        [context] = [
            c["context"] for c in found["contexts"] if c["name"] == found["current-context"]
        ]
        found["users"] = [{"name": context["user"], "user": {"token": token}}]
        for named in found["clusters"]:
            named["cluster"]["server"] = server or named["cluster"]["server"]
        self.kubeconfig.write_text(yaml.safe_dump(found))

    def allow(self, rules: list[Any]) -> str:
        """Return the token of a new account that may do just this."""
        library: Any = client
        rbac = library.RbacAuthorizationV1Api(self.core.api_client)
        metadata = {"name": f"limited-{uuid.uuid4().hex[:8]}", "namespace": self.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": metadata["name"]}
        account = {"kind": "ServiceAccount", **metadata}
        self.core.create_namespaced_service_account(self.namespace, {"metadata": metadata})
        rbac.create_namespaced_role(self.namespace, {"metadata": metadata, "rules": rules})
        rbac.create_namespaced_role_binding(
            self.namespace, {"metadata": metadata, "roleRef": role, "subjects": [account]}
        )
        answer = self.core.create_namespaced_service_account_token(
            metadata["name"], self.namespace, {"spec": {"expirationSeconds": 600}}
        )
        return answer.status.token

    @property
    def request(self) -> dict[str, Any]:
        return {"agent": self.agent, "runtime": self.runtime, "prompt": "Say hello."}

    async def check(self) -> list[CheckResult]:
        config = PreflightConfig.model_validate(
            {"request": self.request, "longest_outage_seconds": self.longest_outage_seconds}
        )
        # As on an ordinary machine; the pure tests cover the storage of pods.
        surroundings = Surroundings(self.kubeconfig, self.own_now, in_pod=False)
        with temporary_settings({PREFECT_API_URL: self.prefect.url}):
            report, namespace = await check_surroundings(config, surroundings)
        assert namespace == self.runtime["namespace"]
        return report.results


@pytest.fixture
def set_up(
    core_api: client.CoreV1Api,
    agents_namespace: str,
    cluster_kubeconfig: str,
    prefect_answers: PrefectAnswers,
    tmp_path: Path,
) -> Iterator[SetUp]:
    with ExitStack() as stack:
        made = SetUp(
            core=core_api,
            namespace=agents_namespace,
            folder=tmp_path,
            admin_kubeconfig=cluster_kubeconfig,
            prefect=prefect_answers,
            stack=stack,
            agent={
                "agent_id": "ada",
                "credentials": [
                    {"env": "ANTHROPIC_API_KEY", "secret": "anthropic", "key": "api-key"}
                ],
            },
            runtime={
                "image": "busybox:1.36",
                "namespace": agents_namespace,
                "home_claim": "homes",
                "result_storage": str(tmp_path / "results"),
            },
            kubeconfig=tmp_path / "kubeconfig",
        )
        made.use(token=made.allow(shipped_rules("flow-run", "preflight")))
        yield made


async def test_correct_set_up_is_all_green(set_up: SetUp) -> None:
    results = await set_up.check()

    assert [r for r in results if r.level is not Level.OK] == []
    assert len(results) == 18


@pytest.mark.parametrize(
    ("changes", "exit_code", "told"),
    [
        ({}, 0, "No problems found."),
        ({"runtime": {"home_claim": "one-node"}}, 0, "0 errors, 1 warning."),
        ({"runtime": {"home_claim": "holmes"}}, 1, "1 error, 0 warnings: home-claim."),
        ({"prompt_block": "both"}, 2, "set only one of prompt, prompt_secret and prompt_block"),
    ],
    ids=["green", "warning", "error", "invalid"],
)
def test_command_ends_with_the_worst_finding(
    set_up: SetUp,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    exit_code: int,
    told: str,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    set_up.runtime.update(changes.pop("runtime", {}))
    parameters = set_up.folder / "request.json"
    parameters.write_text(json.dumps({**set_up.request, **changes}))

    with temporary_settings({PREFECT_API_URL: set_up.prefect.url}):
        ended = CliRunner().invoke(
            app, ["preflight", str(parameters), "--kubeconfig", str(set_up.kubeconfig)]
        )

    assert ended.exit_code == exit_code, ended.output
    assert told in ended.output


@pytest.mark.long
@pytest.mark.slice
@pytest.mark.timeout(300)
def test_flow_publishes_findings_and_roles(set_up: SetUp, prefect_server: PrefectServer) -> None:
    set_up.runtime["home_claim"] = "holmes"
    environment = {
        **os.environ,
        "KUBECONFIG": str(set_up.kubeconfig),
        "PREFECT_API_URL": prefect_server.api_url,
    }

    ended = subprocess.run(
        [sys.executable, "-c", RUN_FLOW, json.dumps({"request": set_up.request})],
        cwd=BASE.parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    state = json.loads(ended.stdout.splitlines()[-1])
    assert (state["type"], state["name"]) == ("FAILED", "Not ready")
    assert "home-claim" in state["message"]
    artifacts = prefect_server.artifacts(state["flow_run_id"])
    found = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert set(found) == {"preflight", "preflight-roles", "preflight-pod"}
    assert "image: busybox:1.36" in found["preflight-pod"]
    assert json.loads(found["preflight"])[0]["check"] == "home-claim"
    assert f"namespace: {set_up.namespace}" in found["preflight-roles"]


def missing_verb(s: SetUp) -> None:
    rules = shipped_rules("flow-run", "preflight")
    kept = [
        {**r, "verbs": [v for v in r["verbs"] if (r["resources"], v) != (["jobs"], "patch")]}
        for r in rules
    ]
    s.use(token=s.allow(kept))


def no_exec(s: SetUp) -> None:
    rules = [
        {**r, "verbs": ["create"]} if r["resources"] == ["pods/exec"] else r
        for r in shipped_rules("flow-run", "preflight")
    ]
    s.use(token=s.allow(rules))


def missing_secret(s: SetUp) -> None:
    s.agent["credentials"][0]["secret"] = "anthropik"


def missing_key(s: SetUp) -> None:
    s.agent["credentials"][0]["key"] = "apikey"


def missing_claim(s: SetUp) -> None:
    s.runtime["home_claim"] = "holmes"


def claim_for_one_node(s: SetUp) -> None:
    s.runtime["home_claim"] = "one-node"


def unbound_claim(s: SetUp) -> None:
    s.runtime["home_claim"] = "waiting"


def full_quota(s: SetUp) -> None:
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    s.core.create_namespaced_resource_quota(s.namespace, quota)
    s.stack.callback(s.core.delete_namespaced_resource_quota, "full", s.namespace)


def wrong_namespace(s: SetUp) -> None:
    # Whoever may do anything is not told first that he may do nothing there.
    s.kubeconfig.write_text(Path(s.admin_kubeconfig).read_text())
    s.runtime["namespace"] = "not-there"


def namespace_that_goes(s: SetUp) -> None:
    s.kubeconfig.write_text(Path(s.admin_kubeconfig).read_text())
    name = s.runtime["namespace"] = f"going-{uuid.uuid4().hex[:8]}"
    held = {"metadata": {"name": "held", "finalizers": ["claude-jobs.dev/test"]}}
    s.core.create_namespace({"metadata": {"name": name}})
    s.core.create_namespaced_config_map(name, held)
    s.core.delete_namespace(name)
    let_go = {"metadata": {"finalizers": None}}
    s.stack.callback(s.core.patch_namespaced_config_map, "held", name, let_go)


def bad_token(s: SetUp) -> None:
    s.use(token="not-a-token")


def unreachable_server(s: SetUp) -> None:
    s.use(token="any", server=f"https://{NOBODY}")


def refused_resources(s: SetUp) -> None:
    s.runtime["resources"] = {"memory_request": "2Gi", "memory_limit": "1Gi"}


def missing_account(s: SetUp) -> None:
    s.runtime["service_account"] = "agents"


def quota_that_wants_limits(s: SetUp) -> None:
    s.runtime["resources"] = {"cpu_limit": None}
    quota = {"metadata": {"name": "limits"}, "spec": {"hard": {"limits.cpu": "100"}}}
    s.core.create_namespaced_resource_quota(s.namespace, quota)
    s.stack.callback(s.core.delete_namespaced_resource_quota, "limits", s.namespace)

    def is_counted() -> bool:
        return bool(s.core.read_namespaced_resource_quota("limits", s.namespace).status.used)

    wait_until(is_counted)


def missing_runtime_class(s: SetUp) -> None:
    s.runtime["pod_template"] = {"spec": {"runtimeClassName": "gvisor"}}


def missing_priority_class(s: SetUp) -> None:
    s.runtime["pod_template"] = {"spec": {"priorityClassName": "agents"}}


def pod_security_of_the_namespace(s: SetUp) -> None:
    enforce = "pod-security.kubernetes.io/enforce"

    def label(level: str | None) -> None:
        s.core.patch_namespace(s.namespace, {"metadata": {"labels": {enforce: level}}})

    label("restricted")
    s.stack.callback(label, None)
    sidecar = {"name": "proxy", "image": "proxy:1"}
    s.runtime["pod_template"] = {"spec": {"containers": [sidecar]}}


def no_pods(s: SetUp) -> None:
    rules = shipped_rules("flow-run", "preflight")
    s.use(
        token=s.allow([r for r in rules if (r["resources"], r["verbs"]) != (["pods"], ["create"])])
    )


def storage_in_memory(s: SetUp) -> None:
    folder = Path("/dev/shm") / f"claude-jobs-{uuid.uuid4().hex[:8]}"
    if not folder.parent.is_dir():
        pytest.skip("this machine has no /dev/shm")
    s.stack.callback(_remove, folder)
    s.runtime["result_storage"] = str(folder)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
        else:
            path.rmdir()
    folder.rmdir()


def storage_not_writable(s: SetUp) -> None:
    (s.folder / "file").touch()
    s.runtime["result_storage"] = str(s.folder / "file" / "results")


def short_ttl(s: SetUp) -> None:
    s.runtime["retention"] = {"unharvested_seconds": 1800}


def clock_skew(s: SetUp) -> None:
    s.own_now = lambda: datetime.now(UTC) + timedelta(minutes=5)


def old_prefect(s: SetUp) -> None:
    s.stack.callback(setattr, s.prefect, "version", s.prefect.version)
    s.prefect.version = "2.20.9"


def wrong_request(s: SetUp) -> None:
    s.agent["prompt_template"] = "{{ task.idd }}"


FAULTS: list[tuple[Callable[[SetUp], None], str, str, str, str]] = [
    (missing_verb, "permissions", "error", "`patch jobs.batch`", "Add verb `patch` on `jobs`"),
    (no_exec, "permissions", "warning", "`get pods/exec`", "Add verb `get`"),
    (missing_secret, "secrets", "error", "no Secret anthropik", "create secret generic"),
    (missing_key, "secrets", "error", "Key apikey of Secret anthropic", "Add it to the Secret"),
    (missing_claim, "home-claim", "error", "holmes", "correct the runtime's `home_claim`"),
    (claim_for_one_node, "home-claim", "warning", "ReadWriteOnce", "ReadWriteMany"),
    (unbound_claim, "home-claim", "warning", "not bound", "describe pvc waiting"),
    (full_quota, "quota", "error", "count/jobs.batch", "Raise the quota"),
    (wrong_namespace, "namespace", "error", "no namespace not-there", "create namespace"),
    (namespace_that_goes, "namespace", "error", "is being deleted", "once it is gone"),
    (bad_token, "cluster", "error", "does not accept our credentials", "Renew the token"),
    (unreachable_server, "cluster", "error", "does not answer", "Compare the server address"),
    (refused_resources, "job", "error", "less than or equal to memory limit", "resources"),
    (no_pods, "pod", "warning", "`create pods` is not allowed", "the Role `preflight` has it"),
    (storage_in_memory, "result-storage", "error", "is in memory", "PersistentVolumeClaim"),
    (storage_not_writable, "result-storage", "error", "Results cannot be kept", "rights"),
    (short_ttl, "retention", "error", "30 min", "unharvested_seconds"),
    (clock_skew, "clock", "error", "ahead of the cluster's", "NTP"),
    (old_prefect, "prefect-version", "error", "2.20.9", "Upgrade it"),
    (wrong_request, "request", "error", "task.idd", "Correct the request"),
]


@pytest.mark.parametrize(
    ("seed", "check", "level", "finding", "advice"), FAULTS, ids=[f[0].__name__ for f in FAULTS]
)
async def test_seeded_fault_is_named_with_what_to_do(
    set_up: SetUp,
    seed: Callable[[SetUp], None],
    check: str,
    level: str,
    finding: str,
    advice: str,
) -> None:
    seed(set_up)

    results = await set_up.check()

    [found] = [r for r in results if r.check == check and r.level is not Level.OK]
    assert found.level == level
    assert finding in found.finding
    assert advice in found.advice
    # Nothing else is called an error, but what follows from it.
    no_objects = {"job", "run-secret", "secrets", "home-claim"}
    follows = {"wrong_namespace": no_objects, "namespace_that_goes": no_objects}
    errors = {r.check.value for r in results if r.level is Level.ERROR} - {check}
    assert errors <= follows.get(seed.__name__, set()) | ({"job"} if check == "quota" else set())


REFUSED_PODS: list[tuple[Callable[[SetUp], None], str]] = [
    (missing_account, 'serviceaccount "agents" not found'),
    (quota_that_wants_limits, "must specify limits.cpu"),
    (missing_runtime_class, 'RuntimeClass "gvisor" not found'),
    (missing_priority_class, "no PriorityClass with name agents was found"),
    (pod_security_of_the_namespace, "violates PodSecurity"),
]


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("seed", "finding"), REFUSED_PODS, ids=[seed.__name__ for seed, _ in REFUSED_PODS]
)
async def test_pod_that_the_cluster_would_refuse_is_named(
    set_up: SetUp, seed: Callable[[SetUp], None], finding: str
) -> None:
    seed(set_up)

    results = await set_up.check()

    [found] = [r for r in results if r.check == "pod"]
    assert found.level is Level.ERROR
    assert finding in found.finding


@pytest.mark.cluster
async def test_field_that_kubernetes_does_not_have_is_named(set_up: SetUp) -> None:
    set_up.runtime["pod_template"] = {"spec": {"runtimeClasName": "gvisor"}}

    results = await set_up.check()

    [found] = [r for r in results if r.level is Level.ERROR]
    assert found.check == "job"
    assert 'unknown field "spec.template.spec.runtimeClasName"' in found.finding


@pytest.mark.cluster
async def test_pod_that_the_cluster_would_make_unsafe_is_named(
    set_up: SetUp, node_address: str
) -> None:
    patch = [{"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True}]
    with mutating_webhook(
        set_up.core, set_up.namespace, node_address, set_up.folder, "jobs", patch
    ):
        results = await set_up.check()

    [found] = [r for r in results if r.level is not Level.OK]
    assert (found.check, found.level) == ("pod-security", Level.ERROR)
    assert "hostNetwork" in found.finding
    assert "mutatingwebhookconfigurations" in found.advice
