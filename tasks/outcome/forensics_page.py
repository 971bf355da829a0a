"""The forensics of a run as Markdown, for people who want to check the verdict."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from tasks.observation.api_fields import Condition, RawObject
from tasks.observation.cluster_evidence import NodeSnapshot
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.forensics import ForensicsBundle
from tasks.text.markdown import code_span, escape_markdown, quote_code
from tasks.text.safe_text import fold_text, one_line

# Our objects normally need a tenth of this; one with a large plain env may need all of it.
_OBJECT_HEAD_CHARACTERS = 20_000
_OBJECT_TAIL_CHARACTERS = 10_000
_LINE_CHARACTERS = 1_000
_EVENTS_LIMIT = 100


def render_forensics(bundle: ForensicsBundle) -> str:
    """Return the bundle as GitHub-flavoured Markdown; at most some 300 KB."""
    sections = [
        f"Taken at {_instant(bundle.taken_at)} UTC, before anything of the run was cleaned up.",
        _list("Facts behind the verdict", bundle.facts_used),
        _list("Not observed", bundle.not_observed),
        _list("Not readable in the cluster", bundle.not_read),
        _decisions(bundle),
        _events(bundle.kubernetes_events),
        _last_lines(bundle.last_lines),
        _node(bundle.node),
        _object("Job", bundle.job),
        *(_object(f"Pod {_name_of(pod)}", pod) for pod in bundle.pods),
    ]
    return "\n\n".join(section for section in sections if section)


def _list(title: str, items: Sequence[str]) -> str:
    return _bullets(title, [_line(item) for item in items])


def _decisions(bundle: ForensicsBundle) -> str:
    return _bullets(
        "Observations and decisions of the run (UTC)",
        [f"{code_span(_instant(entry.at))} {_line(entry.text)}" for entry in bundle.decisions],
    )


def _events(events: Sequence[KubernetesEventSnapshot]) -> str:
    if not events:
        return "### Kubernetes Events\n\nNone."
    return _bullets(
        "Kubernetes Events (UTC, last seen)", [_event(event) for event in events[-_EVENTS_LIMIT:]]
    )


def _event(event: KubernetesEventSnapshot) -> str:
    times = f" × {event.count:,}" if event.count > 1 else ""
    about = _line(f"{event.about_kind or ''} {event.about_name or ''}")
    reason = f"**{_line(event.reason)}**{times}"
    what = " ".join(part for part in (code_span(_instant(event.last_at)), reason, about) if part)
    return f"{what}: {_line(event.message)}" if event.message else what


def _bullets(title: str, items: Sequence[str]) -> str:
    # Not a table: Prefect's UI does not wrap the text of cells.
    return "\n".join([f"### {title}\n", *(f"- {item}" for item in items)]) if items else ""


def _last_lines(lines: Iterable[str]) -> str:
    text = "\n".join(fold_text(line, _LINE_CHARACTERS, _LINE_CHARACTERS) for line in lines)
    return f"### End of the agent's output\n\n{quote_code(text)}" if text else ""


def _node(node: NodeSnapshot | None) -> str:
    if node is None:
        return ""
    items = ["It was removed from the cluster."] if node.removed else []
    items += [_condition(item) for item in node.conditions]
    items += ["It was cordoned."] if node.unschedulable else []
    items += [f"Taint {code_span(taint)}" for taint in node.taints]
    return _bullets(f"Node {escape_markdown(node.name)}", items)


def _condition(item: Condition) -> str:
    why = ": ".join(part for part in (item.reason, item.message) if part)
    return f"{code_span(item.type)} is {item.status}{f' ({_line(why)})' if why else ''}"


def _object(title: str, raw: RawObject | None) -> str:
    if raw is None:
        return ""
    text = json.dumps(raw, indent=1, ensure_ascii=False)
    folded = fold_text(text, _OBJECT_HEAD_CHARACTERS, _OBJECT_TAIL_CHARACTERS)
    return f"### {escape_markdown(title)}\n\n{quote_code(folded)}"


def _name_of(raw: RawObject) -> str:
    return str(raw.get("metadata", {}).get("name", ""))


def _line(text: str) -> str:
    return escape_markdown(one_line(text, _LINE_CHARACTERS))


def _instant(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else "–"
