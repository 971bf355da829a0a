"""Reads the protobuf bodies that kubectl sends for a few kinds, into JSON. Pure.

Answers are JSON all the same: clients accept both. Kinds that are not listed are refused with 415.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployments.local.api_errors import ApiError, bad_request
from deployments.local.resources import JsonObject

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class _Field:
    name: str
    type: str  # string, bytes, int, bool, map, bytes-map, or the name of a message
    repeated: bool = False


def _fields(text: str) -> dict[int, _Field]:
    fields: dict[int, _Field] = {}
    for entry in text.split():
        number, name, kind = entry.split(":")
        fields[int(number)] = _Field(name, kind.removeprefix("*"), kind.startswith("*"))
    return fields


# Numbers from the generated.proto files of Kubernetes; they never change.
_MESSAGES = {
    "Meta": _fields(
        "1:name:string 2:generateName:string 3:namespace:string 5:uid:string "
        "6:resourceVersion:string 11:labels:map 12:annotations:map 14:finalizers:*string"
    ),
    "Namespace": _fields("1:metadata:Meta"),
    "ServiceAccount": _fields("1:metadata:Meta 4:automountServiceAccountToken:bool"),
    "Secret": _fields("1:metadata:Meta 2:data:bytes-map 3:type:string 4:stringData:map"),
    "ConfigMap": _fields("1:metadata:Meta 2:data:map 3:binaryData:bytes-map"),
    "Role": _fields("1:metadata:Meta 2:rules:*Rule"),
    "ClusterRole": _fields("1:metadata:Meta 2:rules:*Rule"),
    "Rule": _fields(
        "1:verbs:*string 2:apiGroups:*string 3:resources:*string 4:resourceNames:*string "
        "5:nonResourceURLs:*string"
    ),
    "RoleBinding": _fields("1:metadata:Meta 2:subjects:*Subject 3:roleRef:RoleRef"),
    "ClusterRoleBinding": _fields("1:metadata:Meta 2:subjects:*Subject 3:roleRef:RoleRef"),
    "Subject": _fields("1:kind:string 2:apiGroup:string 3:name:string 4:namespace:string"),
    "RoleRef": _fields("1:apiGroup:string 2:kind:string 3:name:string"),
    "SelfSubjectAccessReview": _fields("1:metadata:Meta 2:spec:AccessSpec"),
    "AccessSpec": _fields("1:resourceAttributes:Attributes 2:nonResourceAttributes:PathAttributes"),
    "Attributes": _fields(
        "1:namespace:string 2:verb:string 3:group:string 4:version:string 5:resource:string "
        "6:subresource:string 7:name:string"
    ),
    "PathAttributes": _fields("1:path:string 2:verb:string"),
    "SelfSubjectRulesReview": _fields("1:metadata:Meta 2:spec:RulesSpec"),
    "RulesSpec": _fields("1:namespace:string"),
    "TokenRequest": _fields("1:metadata:Meta 2:spec:TokenSpec"),
    "TokenSpec": _fields("1:audiences:*string 4:expirationSeconds:int"),
    "Job": _fields("1:metadata:Meta 2:spec:JobSpec"),
    # As much of pods as `kubectl create job` writes.
    "JobSpec": _fields(
        "1:parallelism:int 2:completions:int 3:activeDeadlineSeconds:int 6:template:Template "
        "7:backoffLimit:int 8:ttlSecondsAfterFinished:int"
    ),
    "Template": _fields("1:metadata:Meta 2:spec:PodSpec"),
    "PodSpec": _fields(
        "2:containers:*Container 3:restartPolicy:string 4:terminationGracePeriodSeconds:int"
    ),
    "Container": _fields(
        "1:name:string 2:image:string 3:command:*string 4:args:*string 5:workingDir:string "
        "7:env:*Variable"
    ),
    "Variable": _fields("1:name:string 2:value:string"),
    "DeleteOptions": _fields(
        "1:gracePeriodSeconds:int 2:preconditions:Preconditions 3:orphanDependents:bool "
        "4:propagationPolicy:string 5:dryRun:*string"
    ),
    "Preconditions": _fields("1:uid:string 2:resourceVersion:string"),
    "Envelope": _fields("1:typeMeta:TypeMeta 2:raw:bytes"),
    "TypeMeta": _fields("1:apiVersion:string 2:kind:string"),
}


def read_protobuf(body: bytes) -> JsonObject:
    """Return the object in a body.

    Raises:
        ApiError: 400 for no such body, 415 for a kind that is not read.
    """
    if not body.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message")
    try:
        envelope = _message(body[len(_MAGIC) :], "Envelope")
        kind = envelope["typeMeta"]["kind"]
        if kind not in _MESSAGES:
            raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
        raw = base64.b64decode(envelope.get("raw", ""))
        return {**envelope["typeMeta"], **_message(raw, kind)}
    except (IndexError, KeyError, UnicodeDecodeError):
        raise bad_request("the protobuf body is damaged") from None


def _message(data: bytes, kind: str) -> JsonObject:
    result: JsonObject = {}
    fields = _MESSAGES[kind]
    for number, value in _entries(data):
        field = fields.get(number)
        if field is None:
            continue
        decoded = _decode(value, field.type)
        if field.type.endswith("map"):
            result.setdefault(field.name, {}).update(decoded)
        elif field.repeated:
            result.setdefault(field.name, []).append(decoded)
        elif decoded not in ("", {}):
            # Go writes empty strings and messages too; in JSON they are absent.
            result[field.name] = decoded
    return result


def _decode(value: Any, kind: str) -> Any:
    match kind:
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "int":
            return value
        case "bool":
            return bool(value)
        case "map" | "bytes-map":
            entry = dict(_entries(value))
            content: Any = entry.get(2, b"")
            key: Any = entry[1]
            return {key.decode(): _decode(content, "string" if kind == "map" else "bytes")}
        case _:
            return _message(value, kind)


def _entries(data: bytes) -> Iterator[tuple[int, Any]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
        elif wire == _LENGTH:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise IndexError
            yield number, data[position : position + length]
            position += length
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        else:
            raise IndexError


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
