"""What the server fills in at a create, kind by kind. Objects given here are changed in place."""

import base64

from deployments.local.objects import format_time, listed, mapped, now, random_suffix
from deployments.local.resources import (
    EVENTS,
    JOBS,
    LIMIT_RANGES,
    NAMESPACES,
    PODS,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    SECRETS,
    VOLUME_CLAIMS,
    VOLUMES,
    JsonObject,
    Resource,
)

_BATCH = "batch.kubernetes.io"
_RBAC = "rbac.authorization.k8s.io"
ROOT_CERTIFICATE_MAP = "kube-root-ca.crt"
_BOUND_TOKEN_SECONDS = 3607
_FILE_MODE = 0o644
_LIFECYCLE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def apply_defaults(resource: Resource, obj: JsonObject) -> None:
    """Fill in what the kind's version defaults; needs `metadata.uid` for new Jobs."""
    fill = {
        SECRETS: _default_secret,
        NAMESPACES: _default_namespace,
        PODS: _default_pod,
        JOBS: _default_job,
        VOLUME_CLAIMS: _default_claim,
        VOLUMES: _default_volume,
        ROLE_BINDINGS: _default_binding,
        LIMIT_RANGES: _default_limit_range,
        RESOURCE_QUOTAS: _default_quota,
        EVENTS: _default_event,
    }.get(resource)
    if resource.kind == "ClusterRoleBinding":
        fill = _default_binding
    if fill:
        fill(obj)


def _default_secret(secret: JsonObject) -> None:
    plain = mapped(secret, "stringData")
    secret.pop("stringData", None)
    if plain:
        data = secret.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(value.encode()).decode()
    secret.setdefault("type", "Opaque")


def _default_namespace(namespace: JsonObject) -> None:
    labels = namespace["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = namespace["metadata"].get("name", "")
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    namespace.setdefault("status", {}).setdefault("phase", "Active")


def _default_claim(claim: JsonObject) -> None:
    claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    claim.setdefault("status", {}).setdefault("phase", "Pending")


def _default_volume(volume: JsonObject) -> None:
    spec = volume.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    volume.setdefault("status", {}).setdefault("phase", "Pending")


def _default_binding(binding: JsonObject) -> None:
    mapped(binding, "roleRef").setdefault("apiGroup", _RBAC)
    for subject in listed(binding, "subjects"):
        if subject.get("kind") != "ServiceAccount":
            subject.setdefault("apiGroup", _RBAC)


def _default_limit_range(limit_range: JsonObject) -> None:
    """Fill in the limits and requests that follow from the others."""
    for item in listed(mapped(limit_range, "spec"), "limits"):
        if item.get("type") != "Container":
            continue
        limits = {**mapped(item, "max"), **mapped(item, "default")}
        requests = {**mapped(item, "min"), **limits, **mapped(item, "defaultRequest")}
        for field, values in (("default", limits), ("defaultRequest", requests)):
            if values:
                item[field] = values


def _default_quota(quota: JsonObject) -> None:
    quota.setdefault("status", {})


def _default_event(event: JsonObject) -> None:
    event.setdefault("source", {})
    for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(field, None)
    for field in ("reportingComponent", "reportingInstance"):
        event.setdefault(field, "")


def _default_job(job: JsonObject) -> None:
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    replacement = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    spec.setdefault("podReplacementPolicy", replacement)
    for rule in listed(mapped(spec, "podFailurePolicy"), "rules"):
        for pattern in listed(rule, "onPodConditions"):
            pattern.setdefault("status", "True")
    template = spec.setdefault("template", {})
    metadata = template.setdefault("metadata", {})
    _default_pod_spec(template.setdefault("spec", {}))
    if not spec["manualSelector"] and "uid" in job["metadata"]:
        own = {"controller-uid": job["metadata"]["uid"], "job-name": job["metadata"]["name"]}
        prefixed = {f"{_BATCH}/{key}": value for key, value in own.items()}
        metadata["labels"] = {**mapped(metadata, "labels"), **prefixed, **own}
        key = f"{_BATCH}/controller-uid"
        spec["selector"] = {"matchLabels": {key: job["metadata"]["uid"]}}
    if not job["metadata"].get("labels") and metadata.get("labels"):
        job["metadata"]["labels"] = dict(metadata["labels"])
    job.setdefault("status", {})


def _default_pod(pod: JsonObject) -> None:
    spec = pod.setdefault("spec", {})
    spec.setdefault("restartPolicy", "Always")
    _default_pod_spec(spec)
    for container in (*listed(spec, "initContainers"), *listed(spec, "containers")):
        # A limit without a request is the request; the template of a Job is left as it is.
        for name, quantity in mapped(container["resources"], "limits").items():
            container["resources"].setdefault("requests", {}).setdefault(name, quantity)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("serviceAccountName", spec.get("serviceAccount", "default"))
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for taint in _LIFECYCLE_TAINTS:
        if not any(t.get("key") == taint for t in tolerations):
            tolerations.append(
                {
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
            )
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status["qosClass"] = _quality_of_service(spec)


def _default_pod_spec(spec: JsonObject) -> None:
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in (*listed(spec, "initContainers"), *listed(spec, "containers")):
        _default_container(container)
    for volume in listed(spec, "volumes"):
        _default_mount_source(volume)


def _default_container(container: JsonObject) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
    for variable in listed(container, "env"):
        reference = mapped(variable, "valueFrom").get("fieldRef")
        if reference:
            reference.setdefault("apiVersion", "v1")
    for port in listed(container, "ports"):
        port.setdefault("protocol", "TCP")


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") and "@" not in image else "IfNotPresent"


def _default_mount_source(volume: JsonObject) -> None:
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if source in volume:
            volume[source].setdefault("defaultMode", _FILE_MODE)
    for item in listed(mapped(volume, "downwardAPI"), "items"):
        if "fieldRef" in item:
            item["fieldRef"].setdefault("apiVersion", "v1")
    for part in listed(mapped(volume, "projected"), "sources"):
        if "serviceAccountToken" in part:
            part["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if len(volume) == 1:
        volume["emptyDir"] = {}


def _quality_of_service(spec: JsonObject) -> str:
    containers = [*listed(spec, "initContainers"), *listed(spec, "containers")]
    resources = [mapped(container, "resources") for container in containers]
    if not any(mapped(r, "limits") or mapped(r, "requests") for r in resources):
        return "BestEffort"
    for entry in resources:
        limits, requests = mapped(entry, "limits"), mapped(entry, "requests")
        if {"cpu", "memory"} - set(limits) or requests != limits:
            return "Burstable"
    return "Guaranteed"


def mount_account_token(pod: JsonObject) -> None:
    """Mount a token of the pod's ServiceAccount, as admission does."""
    spec = pod["spec"]
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    containers = [*listed(spec, "initContainers"), *listed(spec, "containers")]
    lacking = [
        c for c in containers if all(m["mountPath"] != path for m in listed(c, "volumeMounts"))
    ]
    if not lacking:
        return
    name = f"kube-api-access-{random_suffix()}"
    token = {"expirationSeconds": _BOUND_TOKEN_SECONDS, "path": "token"}
    authority = {"name": ROOT_CERTIFICATE_MAP, "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": token},
        {"configMap": authority},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]
    volume = {"name": name, "projected": {"sources": sources, "defaultMode": _FILE_MODE}}
    spec["volumes"] = [*listed(spec, "volumes"), volume]
    for container in lacking:
        mount = {"name": name, "readOnly": True, "mountPath": path}
        container["volumeMounts"] = [*listed(container, "volumeMounts"), mount]


def stamp(resource: Resource, obj: JsonObject, namespace: str, uid: str) -> None:
    """Set what the server alone decides about a new object's metadata."""
    metadata = obj["metadata"]
    if namespace:
        metadata["namespace"] = namespace
    metadata["uid"] = uid
    metadata["creationTimestamp"] = format_time(now())
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"):
        metadata.pop(field, None)
    if resource in (JOBS, PODS):
        metadata["generation"] = 1
