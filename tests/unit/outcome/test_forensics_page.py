from collections import Counter
from datetime import UTC, datetime, timedelta

from markdown_it import MarkdownIt

from tasks.observation.api_fields import Condition
from tasks.observation.cluster_evidence import NodeSnapshot
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.forensics import Decision, ForensicsBundle
from tasks.outcome.forensics_page import render_forensics

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
HOSTILE = "<img src=x>\n## Succeeded\n```\n![x](http://tracker/)"


def _bundle(text: str) -> ForensicsBundle:
    return ForensicsBundle(
        taken_at=NOW,
        job={"kind": "Job", "metadata": {"name": text}},
        pods=({"kind": "Pod", "metadata": {"name": "p-1", "labels": {"a": text}}},),
        node=NodeSnapshot(
            name="n-1",
            conditions=(
                Condition("Ready", "Unknown", "NodeStatusUnknown", text),
                Condition("DiskPressure", "False"),
            ),
            unschedulable=True,
            taints=("node.kubernetes.io/unreachable:NoExecute",),
        ),
        kubernetes_events=(
            KubernetesEventSnapshot("Killing", text, count=3, last_at=NOW, about_kind="Pod"),
            KubernetesEventSnapshot("Odd"),
        ),
        last_lines=("assistant: Hello.", text),
        facts_used=("exit code 137 (container state)", text),
        not_observed=("pod phase",),
        not_read=("node: forbidden",),
        decisions=(Decision(NOW - timedelta(minutes=1), text),),
    )


def _structure(markdown: str) -> Counter[str]:
    tokens = MarkdownIt("commonmark", {"html": True}).parse(markdown)
    children = [child for token in tokens for child in token.children or ()]
    return Counter(token.type for token in [*tokens, *children] if token.type != "softbreak")


def test_page_holds_all_that_is_kept() -> None:
    page = render_forensics(_bundle("told"))

    for expected in (
        "Taken at 2026-11-20 18:00:00 UTC, before anything of the run was cleaned up.",
        "### Facts behind the verdict\n\n- exit code 137 (container state)\n- told",
        "### Not observed\n\n- pod phase",
        "### Not readable in the cluster\n\n- node: forbidden",
        "- `2026-11-20 17:59:00` told",
        "- `2026-11-20 18:00:00` **Killing** × 3 Pod: told\n- `–` **Odd**\n",
        "### End of the agent's output\n\n```text\nassistant: Hello.\ntold\n```",
        "### Node n-1\n\n- `Ready` is Unknown (NodeStatusUnknown: told)\n- `DiskPressure` is False",
        "- It was cordoned.\n- Taint `node.kubernetes.io/unreachable:NoExecute`",
        '### Job\n\n```text\n{\n "kind": "Job",',
        "### Pod p-1",
    ):
        assert expected in page


def test_text_from_outside_structures_nothing() -> None:
    assert _structure(render_forensics(_bundle(HOSTILE))) == _structure(
        render_forensics(_bundle("told"))
    )


def test_page_of_a_run_without_a_job_says_what_there_was() -> None:
    page = render_forensics(ForensicsBundle(taken_at=NOW, facts_used=("stage failure",)))

    assert page == (
        "Taken at 2026-11-20 18:00:00 UTC, before anything of the run was cleaned up.\n\n"
        "### Facts behind the verdict\n\n- stage failure\n\n"
        "### Kubernetes Events\n\nNone."
    )


def test_page_is_bounded_whatever_the_objects_hold() -> None:
    text = "x" * 400_000
    page = render_forensics(_bundle(text))

    assert len(page) < 100_000
    assert " KB left out]" in page
