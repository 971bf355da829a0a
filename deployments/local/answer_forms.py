"""The forms in which a client may have objects: whole, as a table, or their metadata only."""

from dataclasses import dataclass

from deployments.local.resources import JsonObject, Resource
from deployments.local.tables import build_table

_META_VERSION = "meta.k8s.io/v1"


@dataclass(frozen=True)
class AnswerForm:
    """How a client wants objects.

    Attributes:
        kind: Empty for whole objects, `Table` or `PartialObjectMetadata`.
        include: What the rows of a table carry; see `tables.build_table`.
    """

    kind: str = ""
    include: str = "Metadata"

    def one(self, resource: Resource, obj: JsonObject) -> JsonObject:
        """Return one object in this form."""
        if self.kind == "Table":
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return build_table(resource, [obj], metadata, include=self.include)
        return _metadata_of(obj) if self.kind else obj

    def many(
        self, resource: Resource, objects: list[JsonObject], metadata: JsonObject
    ) -> JsonObject:
        """Return a list in this form."""
        if self.kind == "Table":
            return build_table(resource, objects, metadata, include=self.include)
        if self.kind:
            return {
                "kind": "PartialObjectMetadataList",
                "apiVersion": _META_VERSION,
                "metadata": metadata,
                "items": [_metadata_of(obj) for obj in objects],
            }
        items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in objects]
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": items,
        }

    def watched(self, resource: Resource, obj: JsonObject, *, is_first: bool) -> JsonObject:
        """Return the object of a watch event in this form."""
        if self.kind != "Table":
            return self.one(resource, obj)
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        return build_table(resource, [obj], metadata, include=self.include, with_columns=is_first)


def parse_form(accept: str, include: str) -> AnswerForm:
    """Return the form that an `Accept` header prefers.

    Args:
        accept: The header; only its first entry counts.
        include: The parameter `includeObject`.
    """
    parameters = accept.split(",")[0].replace(" ", "").split(";")
    if "as=Table" in parameters:
        return AnswerForm("Table", include or "Metadata")
    if any(p.startswith("as=PartialObjectMetadata") for p in parameters):
        return AnswerForm("PartialObjectMetadata")
    return AnswerForm()


def _metadata_of(obj: JsonObject) -> JsonObject:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": _META_VERSION,
        "metadata": obj["metadata"],
    }
