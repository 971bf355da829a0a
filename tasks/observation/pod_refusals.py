"""The API server refuses to create a Job's pod: which refusals are final, and which may heal.

The Job controller tries again after 1 s, then ever later up to once a minute, and reports each
refusal in an Event `FailedCreate`. Such an Event has no field for the kind of refusal, and the Job
has no condition, so the admission plugins' fixed words are looked for; a refusal with other words
is taken for one that may heal. Either way the wait ends with the refusal quoted.
"""

from dataclasses import dataclass

from tasks.observation.snapshots import KubernetesEventSnapshot

REFUSED_CREATION = "FailedCreate"
# Time for what is created a moment after the Job, such as its service account.
FINAL_SECONDS = 20
# Two more tries of the Job controller.
HEALING_SECONDS = 120


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """One kind of refusal.

    Attributes:
        words: In the refusal, as the API server writes them; all of them.
        may_heal: Without a change of the Job or the namespace's rules.
    """

    words: tuple[str, ...]
    advice: str
    may_heal: bool = False

    @property
    def patience_seconds(self) -> int:
        """How long it is tolerated."""
        return HEALING_SECONDS if self.may_heal else FINAL_SECONDS


OTHER_REFUSAL = RefusalRule(
    (), "Check the namespace's quotas, Pod Security level and admission webhooks.", may_heal=True
)
REFUSALS: tuple[RefusalRule, ...] = (
    RefusalRule(
        ("error looking up service account",),
        "Create that service account in the agent's namespace, or correct its name in the runtime "
        "block.",
    ),
    RefusalRule(
        ("exceeded quota:",),
        "Wait until other pods of the namespace have ended, raise its quota, or lower the "
        "runtime's requests and limits.",
        may_heal=True,
    ),
    RefusalRule(
        ("failed quota:", "must specify"),
        "The namespace's quota demands these requests and limits of every container: set them in "
        "the runtime block, and in its pod template for other containers, or add a LimitRange with "
        "defaults.",
    ),
    RefusalRule(
        ("violates PodSecurity",),
        "Correct the fields that are named, or run the agent in a namespace whose Pod Security "
        "level permits them.",
    ),
    *(
        RefusalRule(
            (words,),
            "The namespace's LimitRange does not permit these requests and limits: change the "
            "runtime's resources, or the LimitRange.",
        )
        for words in ("usage per Container is", "usage per Pod is", "limit to request ratio per")
    ),
    RefusalRule(
        ("failed calling webhook",),
        "Check whether the admission webhook that is named works; the API server cannot reach it.",
        may_heal=True,
    ),
    *(
        RefusalRule(
            (words,),
            "Change what the admission policy objects to, or the policy; its owner is the one that "
            "is named.",
        )
        for words in ("denied the request", "denied request")
    ),
    RefusalRule(
        ("RuntimeClass", "not found"),
        "Create that runtime class, or correct its name in the runtime's pod template.",
    ),
    RefusalRule(
        ("no PriorityClass with name",),
        "Create that priority class, or correct its name in the runtime's pod template.",
    ),
    RefusalRule(
        ("being terminated",),
        "The namespace is being deleted: use another one, or create it again once it has gone.",
    ),
    RefusalRule(("is invalid:",), "Correct the field that is named in the runtime block."),
)


def find_refusal(event: KubernetesEventSnapshot) -> RefusalRule:
    """Return the kind of a refusal."""
    return next(
        (rule for rule in REFUSALS if all(words in event.message for words in rule.words)),
        OTHER_REFUSAL,
    )
