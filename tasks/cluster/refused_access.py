"""Why a request was refused with 401 or 403, and what to do: not every one lacks a permission.

A gateway before the cluster answers with a page of its own, and credentials that it does not hand
on make the API take the request for anonymous. A Role mends neither. Pure.
"""

from dataclasses import dataclass

from tasks.cluster.cluster_errors import ClusterForbidden, ClusterUnauthorised


@dataclass(frozen=True, slots=True)
class RefusedAccess:
    """Both are clauses, without a capital at their beginning and a full stop at their end.

    Attributes:
        happened: What the refusal shows.
        advice: What to do about it.
    """

    happened: str
    advice: str

    @property
    def sentence(self) -> str:
        """Both of them, for people."""
        return f"{self.happened[0].upper()}{self.happened[1:]}; {self.advice}."


def explain_refused_access(error: ClusterUnauthorised | ClusterForbidden) -> RefusedAccess:
    """Return what a refusal shows; the server's own words are in the error.

    Args:
        error: A websocket's refusal has an answer that nobody could read; it counts as the API's.
    """
    if error.answer.is_foreign:
        return RefusedAccess(
            "something else than the Kubernetes API refused the request",
            "check the server's address, and the gateway or proxy before it",
        )
    if isinstance(error, ClusterUnauthorised):
        return RefusedAccess(
            "the credentials were refused (401)",
            "renew them in the kubeconfig or the runtime block",
        )
    if error.answer.is_anonymous:
        return RefusedAccess(
            "the credentials did not arrive, so the cluster took the request for anonymous",
            "check the user in the kubeconfig, and the gateway or proxy before the cluster",
        )
    return RefusedAccess(f"a permission is missing: {error.target}", "add it to the Role")
