"""Judges whether a run is possible in a cluster, from facts about the cluster. Pure."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from tasks.agent_job.environment import (
    optional_keys,
    optional_secrets,
    secret_references,
)
from tasks.agent_job.needed_permissions import (
    NEEDED_PERMISSIONS,
    READ_NODES,
    RUN_PERMISSIONS,
    Permission,
)
from tasks.agent_job.quantities import quantity_value
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.preflight.offer_checks import judge_offers
from tasks.preflight.pod_needs import pod_needs
from tasks.preflight.preflight_facts import (
    ClusterFacts,
    KubernetesVersion,
    QuotaFacts,
    Unread,
    WhyUnread,
)
from tasks.preflight.preflight_results import Check, CheckResult, error, not_checked, ok, warning
from tasks.preflight.surroundings_checks import judge_namespace

_OLDEST_KUBERNETES = (1, 32)  # the oldest release that clouds still serve
_EXEC_NEEDS_CREATE_SINCE = (1, 35)  # documented; seen on 1.36
# Certificates and tokens have a start time, and reports mix Prefect's and Kubernetes' times.
_SKEW_NOTED = timedelta(seconds=10)
_SKEW_BAD = timedelta(minutes=1)
# What a run counts for in a quota of objects.
_ONCE = ("pods", "count/pods", "count/jobs.batch", "secrets", "count/secrets")
_ASKED_OF_THE_CLUSTER = (
    Check.KUBERNETES_VERSION,
    Check.CLOCK,
    Check.NAMESPACE,
    Check.PERMISSIONS,
    Check.SECRETS,
    Check.HOME_CLAIM,
    Check.QUOTA,
    Check.JOB,
    Check.POD,
    Check.RUN_SECRET,
    Check.POD_SECURITY,
)


def judge_cluster(
    facts: ClusterFacts, agent: AgentSpec | None, runtime: RuntimeSpec
) -> list[CheckResult]:
    """Return the result of every check, even if others failed.

    Args:
        facts: As observed.
        agent: `None` if its block could not be read.
        runtime: The runtime of the run.
    """
    version = facts.version
    if isinstance(version, Unread):
        return _judge_no_answer(facts, version)
    return [
        ok(Check.CLUSTER, f"The cluster of {facts.where} answers and accepts our credentials."),
        _judge_version(version),
        _judge_clock(facts),
        judge_namespace(facts),
        *_judge_permissions(facts, version),
        *_judge_secrets(facts, agent, runtime),
        _judge_claim(facts, runtime),
        *_judge_quotas(facts),
        *judge_offers(facts),
    ]


def _judge_no_answer(facts: ClusterFacts, version: Unread) -> list[CheckResult]:
    if version.why is WhyUnread.UNAUTHORISED:
        unusable = error(
            Check.CLUSTER,
            f"The cluster does not accept our credentials: {version.message}",
            f"Renew the token or certificate of {facts.where}.",
        )
    else:
        unusable = error(
            Check.CLUSTER,
            f"The cluster does not answer: {version.message}",
            f"Compare the server address in {facts.where} with the cluster's, and look for "
            "a firewall or network policy in between.",
        )
    unread = Unread(WhyUnread.NOT_ASKED, "the cluster does not answer.")
    return [unusable, *(not_checked(check, unread) for check in _ASKED_OF_THE_CLUSTER)]


def _judge_version(version: KubernetesVersion) -> CheckResult:
    if (version.major, version.minor) < _OLDEST_KUBERNETES:
        oldest = ".".join(map(str, _OLDEST_KUBERNETES))
        return error(
            Check.KUBERNETES_VERSION,
            f"The cluster runs Kubernetes {version.text}; the oldest supported one is {oldest}.",
            f"Upgrade the cluster to {oldest} or newer.",
        )
    return ok(Check.KUBERNETES_VERSION, f"The cluster runs Kubernetes {version.text}.")


def _judge_clock(facts: ClusterFacts) -> CheckResult:
    if facts.server_now is None:
        unread = Unread(WhyUnread.NOT_ASKED, "the cluster's answers have no date.")
        return not_checked(Check.CLOCK, unread)
    skew = facts.own_now - facts.server_now
    seconds = abs(skew).total_seconds()
    if abs(skew) <= _SKEW_NOTED:
        return ok(Check.CLOCK, "Our clock and the cluster's differ by at most 10 s.")
    finding = (
        f"Our clock is {seconds:.0f} s {'ahead of' if skew > timedelta() else 'behind'} the "
        "cluster's."
    )
    advice = "Set both clocks by NTP; otherwise tokens seem expired and timelines are out of order."
    judged = error if abs(skew) > _SKEW_BAD else warning
    return judged(Check.CLOCK, finding, advice)


def _judge_permissions(facts: ClusterFacts, version: KubernetesVersion) -> Iterator[CheckResult]:
    wanted = [p for p in RUN_PERMISSIONS if p not in _not_asked_for(version)]
    granted = 0
    for permission in wanted:
        fact = facts.permissions[permission]
        if isinstance(fact, Unread):
            yield not_checked(Check.PERMISSIONS, fact)
        elif fact:
            granted += 1
        elif permission in NEEDED_PERMISSIONS:
            yield error(
                Check.PERMISSIONS,
                f"`{permission}` is not allowed in namespace {facts.namespace}. Runs do not start "
                f"without it; they need it to {permission.purpose}.",
                _grant(permission),
            )
        else:
            yield warning(
                Check.PERMISSIONS,
                f"`{permission}` is not allowed in namespace {facts.namespace}, so runs cannot "
                f"{permission.purpose}.",
                _grant(permission),
            )
    if granted == len(wanted):
        nodes = facts.permissions.get(READ_NODES)
        more = (
            "" if nodes is True else " Nodes may not be read, so fewer lost nodes are recognised."
        )
        yield ok(Check.PERMISSIONS, f"All {granted} permissions that runs need are granted.{more}")


def _not_asked_for(version: KubernetesVersion) -> set[Permission]:
    """Return the permissions that are needed only on other versions of Kubernetes."""
    if (version.major, version.minor) >= _EXEC_NEEDS_CREATE_SINCE:
        return set()
    return {p for p in RUN_PERMISSIONS if (p.verb, p.resource) == ("create", "pods/exec")}


def _grant(permission: Permission) -> str:
    return (
        f'Add verb `{permission.verb}` on `{permission.resource}` (API group "{permission.group}") '
        "to the Role of the service account of runs, as in the Role in this preflight's artifact."
    )


def _judge_secrets(
    facts: ClusterFacts, agent: AgentSpec | None, runtime: RuntimeSpec
) -> Iterator[CheckResult]:
    if agent is None:
        yield not_checked(
            Check.SECRETS, Unread(WhyUnread.NOT_ASKED, "the Secrets of the agent are unknown.")
        )
        return
    wanted = secret_references(agent, runtime)
    optional = optional_keys(agent, runtime)
    may_be_absent = optional_secrets(agent, runtime)
    found: list[CheckResult] = []
    for name, content in facts.secrets.items():
        keys = [key for key in sorted(wanted.get(name, ())) if (name, key) not in optional]
        if name in may_be_absent and (not keys or _is_absent(content)):
            continue
        found += _judge_secret(facts.namespace, name, keys, content)
    yield from found
    if not found:
        names = ", ".join(facts.secrets)
        yield ok(
            Check.SECRETS,
            f"The Secrets that the agent needs exist: {names}."
            if names
            else "The agent needs no Secrets.",
        )


def _is_absent(content: Mapping[str, int] | Unread) -> bool:
    return isinstance(content, Unread) and content.why is WhyUnread.NOT_FOUND


def _judge_secret(
    namespace: str, name: str, keys: list[str], content: Mapping[str, int] | Unread
) -> Iterator[CheckResult]:
    literals = "".join(f" --from-literal={key}=…" for key in keys)
    match content:
        case Unread(WhyUnread.NOT_FOUND | WhyUnread.NAMESPACE_NOT_FOUND):
            yield error(
                Check.SECRETS,
                f"There is no Secret {name} in namespace {namespace}.",
                f"Create it: `kubectl -n {namespace} create secret generic {name}{literals}`; "
                "or correct its name in the agent or runtime block.",
            )
        case Unread():
            yield not_checked(
                Check.SECRETS, content, f"Allow `get` on Secret {name}, or check it yourself."
            )
        case _:
            for key in keys:
                if not content.get(key):
                    state = "is empty" if key in content else "is missing"
                    yield error(
                        Check.SECRETS,
                        f"Key {key} of Secret {name} {state}; the Secret has "
                        f"{', '.join(sorted(content)) or 'no keys'}.",
                        "Add it to the Secret, or correct the key in the agent or runtime block.",
                    )


def _judge_claim(facts: ClusterFacts, runtime: RuntimeSpec) -> CheckResult:
    claim, name = facts.claim, runtime.home_claim
    if claim is None:
        return ok(
            Check.HOME_CLAIM, "The runtime names no home_claim, so sessions cannot be resumed."
        )
    if isinstance(claim, Unread):
        if claim.why in {WhyUnread.NOT_FOUND, WhyUnread.NAMESPACE_NOT_FOUND}:
            return error(
                Check.HOME_CLAIM,
                f"There is no PersistentVolumeClaim {name} in namespace {facts.namespace}, so no "
                "agent's pod could start.",
                "Create it, or correct the runtime's `home_claim`.",
            )
        advice = "Allow `get` on persistentvolumeclaims; the Role `preflight` has it."
        return not_checked(Check.HOME_CLAIM, claim, advice)
    if claim.phase == "Pending":
        return warning(
            Check.HOME_CLAIM,
            f"PersistentVolumeClaim {name} is not bound to a volume yet.",
            "This is normal if its storage class waits for the first pod. Otherwise no pod can "
            f"start, and `kubectl -n {facts.namespace} describe pvc {name}` shows why.",
        )
    if claim.phase != "Bound":
        return error(
            Check.HOME_CLAIM,
            f"PersistentVolumeClaim {name} is {claim.phase}: its volume no longer exists.",
            "Restore the volume, or create a new claim; the sessions on the old one are lost.",
        )
    return _judge_access(name, claim.access_modes)


def _judge_access(name: str | None, modes: tuple[str, ...]) -> CheckResult:
    if "ReadWriteMany" in modes:
        return ok(Check.HOME_CLAIM, f"PersistentVolumeClaim {name} is bound and ReadWriteMany.")
    if "ReadWriteOnce" in modes:
        return warning(
            Check.HOME_CLAIM,
            f"PersistentVolumeClaim {name} is ReadWriteOnce: agents can work on one node at a "
            "time, and agents on another node do not start.",
            "Use a storage class with ReadWriteMany, or keep agents on one node with the "
            "runtime's `node_selector`.",
        )
    return error(
        Check.HOME_CLAIM,
        f"PersistentVolumeClaim {name} has access mode {', '.join(modes) or 'none'}: agents cannot "
        "share it for writing.",
        "Create a claim with ReadWriteMany.",
    )


def _judge_quotas(facts: ClusterFacts) -> Iterator[CheckResult]:
    if isinstance(facts.quotas, Unread):
        advice = "Allow `list` on resourcequotas; the Role `preflight` has it."
        yield not_checked(Check.QUOTA, facts.quotas, advice)
        return
    pod = facts.shown_pod
    needs = {**dict.fromkeys(_ONCE, "1"), **(pod_needs(pod) if pod is not None else {})}
    # The server has compared an accepted pod with the quotas itself, so it knows better.
    judged = error if isinstance(facts.pod, Unread) else warning
    full = [result for quota in facts.quotas for result in _judge_quota(quota, needs, judged)]
    yield from full
    if not full:
        names = ", ".join(quota.name for quota in facts.quotas)
        room = f"Quota {names} allows another agent." if names else "There is no quota."
        yield ok(Check.QUOTA, room)


def _judge_quota(
    quota: QuotaFacts, needs: Mapping[str, str], judged: Callable[[Check, str, str], CheckResult]
) -> Iterator[CheckResult]:
    for name, hard in quota.hard.items():
        if name not in needs:
            continue
        used = quota.used.get(name, "0")
        try:
            is_full = quantity_value(used) + quantity_value(needs[name]) > quantity_value(hard)
        except ValueError:
            continue  # a number format that servers do not write
        if is_full:
            yield judged(
                Check.QUOTA,
                f"Quota {quota.name} does not allow another agent: {used} of {hard} {name} are "
                f"used, and one agent needs {needs[name]}.",
                "Raise the quota, lower the runtime's `resources` or those of its `pod_template`, "
                "or have finished Jobs deleted sooner (`retention`).",
            )
