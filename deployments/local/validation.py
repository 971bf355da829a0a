"""Rules that objects must keep, and the server's words when they do not. Pure."""

import base64
import binascii
import re
from collections.abc import Callable

from deployments.local.admission.pod_security import LEVELS
from deployments.local.api_errors import Cause, bad_request
from deployments.local.objects import listed, mapped
from deployments.local.quantities import parse_quantity
from deployments.local.resources import (
    CONFIG_MAPS,
    JOBS,
    LEASES,
    NAMESPACES,
    PODS,
    SECRETS,
    JsonObject,
    Resource,
)

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_FAILURE_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_PLACEMENT = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
_LEVEL_LABEL = re.compile(r"pod-security\.kubernetes\.io/(enforce|warn|audit)")
_SECRET_LIMIT_BYTES = 1024 * 1024
_ANNOTATIONS_LIMIT_BYTES = 256 * 1024

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_NAME_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    "or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_CONFIG_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
    "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def find_faults(resource: Resource, obj: JsonObject) -> list[Cause]:
    """Return what is wrong with an object; empty when it may be stored."""
    causes = _metadata_faults(obj["metadata"], is_name=resource.plural == "namespaces")
    check = {
        SECRETS: _data_faults,
        CONFIG_MAPS: _data_faults,
        JOBS: _job_faults,
        PODS: _pod_faults,
        LEASES: _lease_faults,
        NAMESPACES: _namespace_faults,
    }.get(resource)
    return causes + (check(obj) if check else [])


def find_changes(resource: Resource, old: JsonObject, new: JsonObject) -> list[Cause]:
    """Return which immutable fields an update changes."""
    fields: dict[Resource, list[tuple[str, ...]]] = {
        JOBS: [
            ("spec", "completions"),
            ("spec", "selector"),
            ("spec", "podFailurePolicy"),
            ("spec", "template"),
        ],
        SECRETS: [("type",)],
    }
    causes: list[Cause] = []
    if resource == PODS and _pod_rest(old) != _pod_rest(new):
        rule = (
            "pod updates may not change fields other than `spec.containers[*].image`, "
            "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or `spec.tolerations` "
            "(only additions to existing tolerations)"
        )
        causes.append(("FieldValueForbidden", f"Forbidden: {rule}", "spec"))
    if resource == JOBS and _may_still_be_placed(old):
        old, new = _without_placement(old), _without_placement(new)
    for path in fields.get(resource, []):
        before, after = _at(old, path), _at(new, path)
        if before != after:
            causes.append(_invalid(".".join(path), after, "field is immutable"))
    return causes


def _may_still_be_placed(job: JsonObject) -> bool:
    """Tell whether a queue may still say where the pods of a Job run and what they get."""
    return bool(job["spec"].get("suspend")) and "startTime" not in mapped(job, "status")


def _without_placement(job: JsonObject) -> JsonObject:
    template = job["spec"]["template"]
    kept = ("labels", "annotations")
    metadata = {k: v for k, v in mapped(template, "metadata").items() if k not in kept}
    spec = {k: v for k, v in template["spec"].items() if k not in _PLACEMENT}
    for group in ("containers", "initContainers"):
        spec[group] = [{**c, "resources": {}} for c in listed(spec, group)]
    return {**job, "spec": {**job["spec"], "template": {"metadata": metadata, "spec": spec}}}


def _pod_rest(pod: JsonObject) -> JsonObject:
    spec = {k: v for k, v in pod["spec"].items() if k not in ("activeDeadlineSeconds",)}
    for group in ("containers", "initContainers"):
        spec[group] = [{**c, "image": ""} for c in listed(spec, group)]
    return {k: v for k, v in spec.items() if k != "tolerations"}


def _at(obj: JsonObject, path: tuple[str, ...]) -> object:
    found: object = obj
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # JSON
    return found  # pyright: ignore[reportUnknownVariableType] # JSON


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if isinstance(value, str) else escaped


def _invalid(field: str, value: object, rule: str) -> Cause:
    return "FieldValueInvalid", f"Invalid value: {_quoted(value)}: {rule}", field


def _required(field: str, hint: str = "") -> Cause:
    return "FieldValueRequired", f"Required value{f': {hint}' if hint else ''}", field


def _too_long(field: str, limit: int) -> Cause:
    return "FieldValueTooLong", f"Too long: must have at most {limit} bytes", field


def _metadata_faults(metadata: JsonObject, *, is_name: bool) -> list[Cause]:
    name = metadata.get("name", "")
    if not name:
        return [_required("metadata.name", "name or generateName is required")]
    causes: list[Cause] = []
    pattern, rule, limit = (
        (_LABEL_NAME, _LABEL_NAME_RULE, 63) if is_name else (_SUBDOMAIN, _SUBDOMAIN_RULE, 253)
    )
    if len(name) > limit:
        causes.append(_invalid("metadata.name", name, f"must be no more than {limit} characters"))
    elif not pattern.fullmatch(name):
        causes.append(_invalid("metadata.name", name, rule))
    causes += _label_faults("metadata.labels", mapped(metadata, "labels"))
    annotations = mapped(metadata, "annotations")
    for key in annotations:
        causes += _qualified_faults("metadata.annotations", key.lower())
    size = sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())
    if size > _ANNOTATIONS_LIMIT_BYTES:
        causes.append(_too_long("metadata.annotations", _ANNOTATIONS_LIMIT_BYTES))
    for index, owner in enumerate(listed(metadata, "ownerReferences")):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                place = f"metadata.ownerReferences[{index}].{field}"
                causes.append(_invalid(place, owner.get(field, ""), f"{field} must not be empty"))
    return causes


def _label_faults(field: str, labels: dict[str, str]) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in labels.items():
        causes += _qualified_faults(field, key)
        if len(value) > 63:
            causes.append(_invalid(field, value, "must be no more than 63 characters"))
        elif value and not _QUALIFIED.fullmatch(value):
            causes.append(_invalid(field, value, _LABEL_VALUE_RULE))
    return causes


def _qualified_faults(field: str, key: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.fullmatch(prefix):
        return [_invalid(field, key, f"prefix part {_SUBDOMAIN_RULE}")]
    if len(name) > 63:
        return [_invalid(field, key, "name part must be no more than 63 characters")]
    if not _QUALIFIED.fullmatch(name):
        return [_invalid(field, key, _QUALIFIED_RULE)]
    return []


def _data_faults(obj: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    size = 0
    for field in ("data", "binaryData"):
        for key, value in mapped(obj, field).items():
            if not _CONFIG_KEY.fullmatch(key):
                causes.append(_invalid(f"{field}[{key}]", key, _CONFIG_KEY_RULE))
            is_bytes = obj.get("kind") == "Secret" or field == "binaryData"
            size += len(_decode_base64(obj, field, value)) if is_bytes else len(value.encode())
    if size > _SECRET_LIMIT_BYTES:
        causes.append(_too_long("data", _SECRET_LIMIT_BYTES))
    return causes


def _decode_base64(obj: JsonObject, field: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        kind = obj.get("kind", "Secret")
        raise bad_request(
            f'{kind} in version "v1" cannot be handled as a {kind}: v1.{kind}.{field.title()}: '
            "decode base64: illegal base64 data at input byte 0"
        ) from None


def _lease_faults(lease: JsonObject) -> list[Cause]:
    causes: list[Cause] = []
    spec = mapped(lease, "spec")
    rules: list[tuple[str, Callable[[int], bool], str]] = [
        ("leaseDurationSeconds", lambda value: value <= 0, "must be greater than 0"),
        ("leaseTransitions", lambda value: value < 0, "must be greater than or equal to 0"),
    ]
    for field, is_wrong, rule in rules:
        if field in spec and is_wrong(spec[field]):
            causes.append(_invalid(f"spec.{field}", spec[field], rule))
    return causes


def _job_faults(job: JsonObject) -> list[Cause]:
    template = mapped(mapped(job, "spec"), "template")
    causes = _label_faults(
        "spec.template.metadata.labels", mapped(mapped(template, "metadata"), "labels")
    )
    for field in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        value = job["spec"].get(field, 0)
        if value < 0:
            causes.append(_invalid(f"spec.{field}", value, "must be greater than or equal to 0"))
    causes += _pod_spec_faults("spec.template.spec", template["spec"])
    policy = template["spec"].get("restartPolicy")
    if policy is None:
        hint = 'valid values: "OnFailure", "Never"'
        causes.append(_required("spec.template.spec.restartPolicy", hint))
    elif policy not in ("OnFailure", "Never"):
        place = "spec.template.spec.restartPolicy"
        causes.append(_unsupported(place, policy, ("OnFailure", "Never")))
    return causes + _policy_faults(job["spec"], policy)


def _policy_faults(spec: JsonObject, restart_policy: str | None) -> list[Cause]:
    """Return what is wrong with when pods are replaced, and with what their failures mean."""
    field = "spec.podFailurePolicy"
    causes: list[Cause] = []
    for index, rule in enumerate(listed(mapped(spec, "podFailurePolicy"), "rules")):
        place = f"{field}.rules[{index}]"
        if rule.get("action") not in _FAILURE_ACTIONS:
            causes.append(_unsupported(f"{place}.action", rule.get("action"), _FAILURE_ACTIONS))
        codes = mapped(rule, "onExitCodes")
        if not codes and not listed(rule, "onPodConditions"):
            text = "specifying one of OnExitCodes and OnPodConditions is required"
            causes.append(("FieldValueInvalid", f"Invalid value: {text}", place))
        if codes.get("operator") == "In" and 0 in listed(codes, "values"):
            at = f"{place}.onExitCodes.values[{codes['values'].index(0)}]"
            causes.append(_invalid(at, 0, "must not be 0 for the In operator"))
    allowed = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    replacement = spec.get("podReplacementPolicy", "Failed")
    if replacement not in allowed:
        causes.append(_unsupported("spec.podReplacementPolicy", replacement, allowed))
    if "podFailurePolicy" in spec and restart_policy == "OnFailure":
        text = 'only "Never" is supported when podFailurePolicy is specified'
        causes.append(_invalid("spec.template.spec.restartPolicy", restart_policy, text))
    return causes


def _unsupported(field: str, value: object, supported: tuple[str, ...]) -> Cause:
    names = ", ".join(f'"{name}"' for name in supported)
    text = f"Unsupported value: {_quoted(value)}: supported values: {names}"
    return "FieldValueNotSupported", text, field


def _namespace_faults(namespace: JsonObject) -> list[Cause]:
    return [
        _invalid(f"metadata.labels[{key}]", value, f"must be one of {', '.join(LEVELS)}")
        for key, value in mapped(namespace["metadata"], "labels").items()
        if _LEVEL_LABEL.fullmatch(key) and value not in LEVELS
    ]


def _pod_faults(pod: JsonObject) -> list[Cause]:
    return _pod_spec_faults("spec", pod["spec"])


def _pod_spec_faults(field: str, spec: JsonObject) -> list[Cause]:
    volumes = {volume["name"] for volume in listed(spec, "volumes")}
    causes: list[Cause] = []
    if not listed(spec, "containers"):
        causes.append(_required(f"{field}.containers"))
    for group in ("initContainers", "containers"):
        for index, container in enumerate(listed(spec, group)):
            causes += _container_faults(f"{field}.{group}[{index}]", container, volumes)
    return causes


def _container_faults(field: str, container: JsonObject, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name", "")
    if not name:
        causes.append(_required(f"{field}.name"))
    elif not _LABEL_NAME.fullmatch(name) or len(name) > 63:
        causes.append(_invalid(f"{field}.name", name, _LABEL_NAME_RULE))
    if not container.get("image"):
        causes.append(_required(f"{field}.image"))
    for index, mount in enumerate(listed(container, "volumeMounts")):
        if mount.get("name") not in volumes:
            place = f"{field}.volumeMounts[{index}].name"
            causes.append(("FieldValueNotFound", f"Not found: {_quoted(mount.get('name'))}", place))
        if not mount.get("mountPath"):
            causes.append(_required(f"{field}.volumeMounts[{index}].mountPath"))
    return causes + _request_faults(f"{field}.resources.requests", mapped(container, "resources"))


def _request_faults(field: str, resources: JsonObject) -> list[Cause]:
    limits = mapped(resources, "limits")
    return [
        _invalid(field, text, f"must be less than or equal to {name} limit")
        for name, text in mapped(resources, "requests").items()
        if name in limits and parse_quantity(text) > parse_quantity(limits[name])
    ]
