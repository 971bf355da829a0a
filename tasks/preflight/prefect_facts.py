"""Reads the Prefect API in use and the settings that matter to runs."""

import asyncio
from typing import Any

import prefect
from prefect.client.base import ServerType
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.settings import get_current_settings

from tasks.orchestrator.prefect_api import check_prefect
from tasks.preflight.preflight_facts import PrefectFacts, Unread, WhyUnread
from tasks.vocabulary.errors import PrefectUnusable

_FLOW = "run-agent"
# The client would try an API that does not answer for 77 s.
_ANSWER_SECONDS = 15.0


async def read_prefect() -> PrefectFacts:
    """Return what is known about Prefect; does not raise if Prefect does not answer."""
    settings = get_current_settings()
    server_version: str | Unread = Unread(WhyUnread.NOT_ASKED, "it was not asked.")
    is_cloud, lease_storage, limited = False, None, ()
    if settings.api.url:
        try:
            await check_prefect()
            async with asyncio.timeout(_ANSWER_SECONDS), get_client() as client:
                is_cloud = client.server_type is ServerType.CLOUD
                server_version = await client.api_version()
                lease_storage = None if is_cloud else await _read_lease_storage(client)
                limited = await _read_limited_deployments(client)
        except PrefectUnusable as error:
            server_version = Unread(WhyUnread.NO_ANSWER, f"{error.message} {error.advice}")
        except TimeoutError:
            message = f"no answer within {_ANSWER_SECONDS:.0f} s."
            server_version = Unread(WhyUnread.NO_ANSWER, message)
        except Exception as error:
            # From Prefect's client, whose messages may quote what was sent.
            server_version = Unread(WhyUnread.NO_ANSWER, f"{type(error).__name__}.")
    return PrefectFacts(
        api_url=settings.api.url,
        is_cloud=is_cloud,
        server_version=server_version,
        client_version=prefect.__version__,
        logs_to_api=settings.logging.to_api.enabled,
        heartbeat_seconds=settings.flows.heartbeat_frequency,
        lease_storage=lease_storage,
        limited_deployments=limited,
    )


async def _read_lease_storage(client: PrefectClient) -> str | None:
    # Prefect's client has no method for it.
    answer: Any = (await client.request("GET", "/admin/settings")).json()
    found = answer.get("server", {}).get("concurrency", {}).get("lease_storage")
    return found if isinstance(found, str) else None


async def _read_limited_deployments(client: PrefectClient) -> tuple[str, ...]:
    found = await client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[_FLOW])))
    return tuple(
        f"{_FLOW}/{deployment.name}"
        for deployment in found
        if deployment.concurrency_limit is not None
        or deployment.global_concurrency_limit is not None
    )
