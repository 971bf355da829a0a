"""Which version of Kubernetes answers."""

import re
from dataclasses import dataclass

from tasks.cluster.call_retry import RetryPolicy
from tasks.cluster.cluster_client import ClusterClient


@dataclass(frozen=True, order=True)
class ServerVersion:
    """Compares like `(major, minor)`, then by the whole text.

    Attributes:
        major: Such as 1.
        minor: Such as 27; managed clusters' `27+` is 27.
        git_version: Such as `v1.27.3-eks-a5565ad`.
    """

    major: int
    minor: int
    git_version: str


async def read_server_version(
    client: ClusterClient, *, retry: RetryPolicy | None = None
) -> ServerVersion:
    """Return the API server's version; needs no permission."""
    raw = (await client.request("GET", "/version", retry=retry)).json
    return ServerVersion(
        _leading_number(raw.get("major")),
        _leading_number(raw.get("minor")),
        str(raw.get("gitVersion") or ""),
    )


def _leading_number(text: object) -> int:
    found = re.match(r"\d+", str(text or ""))
    return int(found.group()) if found else 0
