"""Judges what the cluster says to what a run would create: Job, pod and Secret. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.agent_job.needed_permissions import TRY_PODS
from tasks.preflight.pod_security import restricted_violations
from tasks.preflight.preflight_facts import ClusterFacts, Unread, WhyUnread
from tasks.preflight.preflight_results import Check, CheckResult, error, not_checked, ok, warning


def judge_offers(facts: ClusterFacts) -> Iterator[CheckResult]:
    """Yield the results of the dry runs, and of the standard for pods."""
    yield _judge_job(facts)
    yield _judge_pod(facts)
    yield _judge_run_secret(facts)
    yield from _judge_pod_security(facts)


def _judge_job(facts: ClusterFacts) -> CheckResult:
    return _judge_offer(
        Check.JOB,
        "agent's Job",
        facts.job if isinstance(facts.job, Unread) else None,
        "Correct what it names in the runtime's block: image, resources, labels, mounts.",
    )


def _judge_pod(facts: ClusterFacts) -> CheckResult:
    if isinstance(facts.pod, Unread) and facts.pod.why is WhyUnread.NOT_ASKED:
        # A Job that is refused has a finding of its own.
        is_forbidden = not isinstance(facts.job, Unread)
        advice = f"Allow `{TRY_PODS}`; the Role `preflight` has it." if is_forbidden else ""
        return not_checked(Check.POD, facts.pod, advice)
    return _judge_offer(
        Check.POD,
        "agent's pod",
        facts.pod if isinstance(facts.pod, Unread) else None,
        "Correct what it names in the runtime's block, or in its pod_template.",
    )


def _judge_run_secret(facts: ClusterFacts) -> CheckResult:
    accepted = facts.secret_accepted
    return _judge_offer(
        Check.RUN_SECRET,
        "Secret with prompt and script",
        accepted if isinstance(accepted, Unread) else None,
        "Ask the cluster's administrators which policy rejects such Secrets.",
    )


def _judge_offer(check: Check, what: str, unread: Unread | None, advice: str) -> CheckResult:
    if unread is None:
        return ok(check, f"The cluster would accept the {what}.")
    refused = f"The cluster would not accept the {what}: {unread.message}"
    match unread.why:
        case WhyUnread.NAMESPACE_NOT_FOUND | WhyUnread.NAMESPACE_TERMINATING:
            return error(check, refused, f"See `{Check.NAMESPACE}`.")
        case WhyUnread.FORBIDDEN:
            return error(
                check,
                refused,
                f"Check the permissions (`{Check.PERMISSIONS}`), the quota (`{Check.QUOTA}`), the "
                "service account and the policies of the cluster; the message names the reason.",
            )
        case WhyUnread.REFUSED:
            return error(check, refused, advice)
        case _:
            return not_checked(check, unread)


def _judge_pod_security(facts: ClusterFacts) -> Iterator[CheckResult]:
    stored = facts.job if isinstance(facts.pod, Unread) else facts.pod
    if isinstance(stored, Unread):
        yield not_checked(
            Check.POD_SECURITY,
            Unread(WhyUnread.NOT_ASKED, "it is unknown how the cluster would store the pod."),
        )
        return
    violations = restricted_violations(_pod_of(stored))
    # A pod template is the user's choice; whether it is admitted, the dry run tells.
    sent = facts.pod_as_sent
    chosen = restricted_violations(_pod_of(sent)) if sent is not None else []
    for violation in violations:
        finding = (
            "As the cluster would store it, the agent's pod violates the restricted Pod Security "
            f"Standard: {violation}."
        )
        if violation in chosen:
            yield warning(
                Check.POD_SECURITY,
                finding,
                "The runtime's pod_template says so. Namespaces that enforce the standard do not "
                "admit the pod.",
            )
        else:
            yield error(
                Check.POD_SECURITY,
                finding,
                "The pod conforms when it is sent: find the webhook or policy that changes Jobs or "
                "pods in this namespace (`kubectl get mutatingwebhookconfigurations`).",
            )
    if not violations:
        yield ok(Check.POD_SECURITY, "The agent's pod meets the restricted Pod Security Standard.")


def _pod_of(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = stored["spec"]
    return spec["template"]["spec"] if "template" in spec else spec
