"""Built-in admission: completes new pods, and refuses what a namespace does not allow."""

from deployments.local import api_errors, defaults
from deployments.local.admission.limit_ranges import apply_limit_defaults, find_limit_faults
from deployments.local.admission.pod_security import Level, evaluate_pod
from deployments.local.admission.quota import find_quota_fault, usage_of
from deployments.local.call_notes import CallNotes
from deployments.local.objects import mapped
from deployments.local.resources import (
    JOBS,
    LIMIT_RANGES,
    NAMESPACES,
    PODS,
    PRIORITY_CLASSES,
    RESOURCE_QUOTAS,
    RUNTIME_CLASSES,
    SERVICE_ACCOUNTS,
    JsonObject,
    Resource,
)
from deployments.local.store import Store

_ENFORCE = "pod-security.kubernetes.io/enforce"
_WARN = "pod-security.kubernetes.io/warn"
_BUILT_IN_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}


class Admission:
    """Looks at new objects as the plugins of a real API server do, webhooks aside."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def complete(self, resource: Resource, obj: JsonObject) -> None:
        """Fill in what the namespace and the cluster decide about a new pod.

        Raises:
            ApiError: 403, it names something that does not exist.
        """
        if resource != PODS:
            return
        apply_limit_defaults(obj, self._store.list(LIMIT_RANGES, obj["metadata"]["namespace"]))
        self._set_priority(obj)
        self._check_runtime_class(obj)
        self._mount_token(obj)

    def check(self, resource: Resource, obj: JsonObject, notes: CallNotes) -> None:
        """Refuse a new object that limits, Pod Security or a quota forbid.

        Raises:
            ApiError: 403.
        """
        namespace = obj["metadata"].get("namespace", "")
        if resource == PODS:
            ranges = self._store.list(LIMIT_RANGES, namespace)
            faults = find_limit_faults(obj, ranges)
            if faults:
                text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
                raise _forbidden(resource, obj, text)
        if resource in (PODS, JOBS):
            self._check_security(resource, obj, notes)
        if namespace:
            self._check_quotas(resource, obj, namespace)

    def _set_priority(self, pod: JsonObject) -> None:
        spec = pod["spec"]
        name = spec.get("priorityClassName")
        if not name:
            return
        value = _BUILT_IN_PRIORITIES.get(name)
        if value is None:
            found = self._store.get(PRIORITY_CLASSES, "", name)
            if found is None:
                raise _forbidden(PODS, pod, f"no PriorityClass with name {name} was found")
            value = found["value"]
            spec["preemptionPolicy"] = found.get("preemptionPolicy", spec["preemptionPolicy"])
        spec["priority"] = value

    def _check_runtime_class(self, pod: JsonObject) -> None:
        name = pod["spec"].get("runtimeClassName")
        if name and self._store.get(RUNTIME_CLASSES, "", name) is None:
            raise _forbidden(PODS, pod, f'pod rejected: RuntimeClass "{name}" not found')

    def _mount_token(self, pod: JsonObject) -> None:
        spec = pod["spec"]
        name, namespace = spec["serviceAccountName"], pod["metadata"]["namespace"]
        account = self._store.get(SERVICE_ACCOUNTS, namespace, name)
        if account is None:
            raise _forbidden(
                PODS,
                pod,
                f"error looking up service account {namespace}/{name}: "
                f'serviceaccount "{name}" not found',
            )
        if spec.get(
            "automountServiceAccountToken", account.get("automountServiceAccountToken", True)
        ):
            defaults.mount_account_token(pod)

    def _check_security(self, resource: Resource, obj: JsonObject, notes: CallNotes) -> None:
        namespace = self._store.get(NAMESPACES, "", obj["metadata"]["namespace"])
        labels = mapped((namespace or {"metadata": {}})["metadata"], "labels")
        enforced: Level = labels.get(_ENFORCE, "privileged")
        warned: Level = labels.get(_WARN, enforced)
        spec = obj["spec"] if resource == PODS else obj["spec"]["template"]["spec"]
        if resource == PODS:
            refusal = evaluate_pod(spec, enforced)
            if refusal:
                raise _forbidden(
                    resource, obj, f'violates PodSecurity "{enforced}:latest": {refusal}'
                )
        violation = evaluate_pod(spec, warned)
        if violation:
            notes.warnings.append(f'would violate PodSecurity "{warned}:latest": {violation}')

    def _check_quotas(self, resource: Resource, obj: JsonObject, namespace: str) -> None:
        quotas = self._store.list(RESOURCE_QUOTAS, namespace)
        if not quotas:
            return
        used = usage_of(self._store, namespace)
        for quota in quotas:
            fault = find_quota_fault(quota, resource, obj, used)
            if fault:
                raise _forbidden(resource, obj, fault)


def _forbidden(resource: Resource, obj: JsonObject, why: str) -> api_errors.ApiError:
    return api_errors.forbidden(resource, obj["metadata"].get("name", ""), why)
