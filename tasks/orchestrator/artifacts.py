"""Prefect artifacts: pages and tables, published and updated within a bound of time."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from prefect.artifacts import MarkdownArtifact, TableArtifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings


async def publish_markdown(key: str, markdown: str, description: str, *, seconds: float) -> UUID:
    """Publish a page as a new version under its key, for the current flow or task run.

    Raises:
        TimeoutError: It was not published in time. With the API down Prefect would try for 77 s.
        Exception: Whatever else Prefect's client raises.
    """
    async with asyncio.timeout(seconds):
        artifact = await MarkdownArtifact(
            key=key, markdown=markdown, description=description
        ).acreate()
    return artifact.id


async def publish_table(
    key: str, rows: list[dict[str, str]], description: str, *, seconds: float
) -> None:
    """Publish a table as a new version under its key, for the current flow or task run.

    Raises:
        TimeoutError: It was not published in time. With the API down Prefect would try for 77 s.
        Exception: Whatever else Prefect's client raises.
    """
    async with asyncio.timeout(seconds):
        await TableArtifact(key=key, table=list(rows), description=description).acreate()


async def list_versions(key: str, *, seconds: float) -> tuple[UUID, ...]:
    """Return the ids of all artifacts under a key, the oldest first.

    Raises:
        TimeoutError: They were not read in time.
        Exception: Whatever else Prefect's client raises.
    """
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    async with asyncio.timeout(seconds), get_client() as client:
        found = await client.read_artifacts(artifact_filter=wanted)
    # Those of the same instant have an order too, the same for everybody.
    return tuple(item.id for item in sorted(found, key=lambda item: (item.created, item.id)))


async def add_table_version(
    key: str, rows: list[dict[str, str]], description: str, *, seconds: float
) -> UUID:
    """Publish a table as a new version under its key; it belongs to no flow run.

    Raises:
        TimeoutError: It was not published in time.
        Exception: Whatever else Prefect's client raises.
    """
    table = ArtifactCreate(key=key, type="table", data=json.dumps(rows), description=description)
    async with asyncio.timeout(seconds), get_client() as client:
        return (await client.create_artifact(table)).id


async def delete_versions(ids: Iterable[UUID], *, seconds: float) -> None:
    """Delete artifacts; some may be gone by then.

    Raises:
        TimeoutError: They were not deleted in time.
        Exception: Whatever else Prefect's client raises.
    """
    async with asyncio.timeout(seconds), get_client() as client:
        for artifact_id in ids:
            with suppress(ObjectNotFound):
                await client.delete_artifact(artifact_id)


async def update_markdown(artifact_id: UUID, markdown: str, *, seconds: float) -> None:
    """Replace the text of a published page.

    Raises:
        TimeoutError: It was not updated in time.
        Exception: Whatever else Prefect's client raises.
    """
    async with asyncio.timeout(seconds), get_client() as client:
        await client.update_artifact(artifact_id, ArtifactUpdate(data=markdown))


def artifact_address(artifact_id: UUID) -> str:
    """Return where an artifact is read, for links on other pages of the same UI."""
    settings = get_current_settings()
    is_cloud = (settings.api.url or "").startswith(settings.cloud.api_url)
    # A server in a cluster seldom knows under which name people's browsers reach it, and need not.
    base = (settings.ui_url or "") if is_cloud else ""
    return f"{base.rstrip('/')}/artifacts/artifact/{artifact_id}"


def flow_run_address(flow_run_id: str) -> str:
    """Return the page of a flow run with its report, for links outside of Prefect's UI."""
    base = get_current_settings().ui_url or ""
    return f"{base.rstrip('/')}/runs/flow-run/{flow_run_id}?tab=Artifacts"
