import pytest

from tasks.observation.pod_refusals import FINAL_SECONDS, HEALING_SECONDS, REFUSALS, find_refusal
from tasks.observation.snapshots import KubernetesEventSnapshot

FORBIDDEN = 'Error creating: pods "job-1-x" is forbidden: '


@pytest.mark.parametrize(
    ("message", "seconds", "advice"),
    [
        (
            FORBIDDEN + 'error looking up service account agents/builder: serviceaccount "builder" '
            "not found",
            FINAL_SECONDS,
            "Create that service account",
        ),
        (
            FORBIDDEN + "exceeded quota: small, requested: cpu=1, used: cpu=1, limited: cpu=1",
            HEALING_SECONDS,
            "Wait until other pods",
        ),
        (
            FORBIDDEN + "failed quota: small: must specify limits.cpu for: keeper",
            FINAL_SECONDS,
            "quota demands",
        ),
        (
            FORBIDDEN + 'violates PodSecurity "restricted:latest": privileged (container "agent")',
            FINAL_SECONDS,
            "Pod Security level",
        ),
        (
            FORBIDDEN + "maximum memory usage per Container is 1Gi, but limit is 8Gi",
            FINAL_SECONDS,
            "LimitRange",
        ),
        (
            FORBIDDEN + "cpu max limit to request ratio per Container is 2, but provided is 4.000",
            FINAL_SECONDS,
            "LimitRange",
        ),
        (
            'Error creating: admission webhook "policy.example" denied the request: no label team',
            FINAL_SECONDS,
            "admission policy",
        ),
        (
            FORBIDDEN + "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            FINAL_SECONDS,
            "admission policy",
        ),
        (
            'Error creating: Internal error occurred: failed calling webhook "policy.example": '
            "connection refused",
            HEALING_SECONDS,
            "webhook that is named works",
        ),
        (
            FORBIDDEN + 'pod rejected: RuntimeClass "gvisor" not found',
            FINAL_SECONDS,
            "runtime class",
        ),
        (
            FORBIDDEN + "no PriorityClass with name agents was found",
            FINAL_SECONDS,
            "priority class",
        ),
        (
            FORBIDDEN + "unable to create new content in namespace agents because it is being "
            "terminated",
            FINAL_SECONDS,
            "being deleted",
        ),
        (
            'Error creating: Pod "job-1-x" is invalid: spec.containers[0].image: Required value',
            FINAL_SECONDS,
            "Correct the field",
        ),
        ("Error creating: etcdserver: request timed out", HEALING_SECONDS, "quotas"),
    ],
)
def test_refusal_is_final_or_may_heal_and_says_what_to_do(
    message: str, seconds: int, advice: str
) -> None:
    rule = find_refusal(KubernetesEventSnapshot("FailedCreate", message))

    assert rule.patience_seconds == seconds
    assert advice in rule.advice


def test_every_kind_of_refusal_is_told_by_words() -> None:
    assert all(rule.words for rule in REFUSALS)
