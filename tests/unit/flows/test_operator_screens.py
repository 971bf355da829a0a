"""Whole screens of `claude-jobs ls` and `show`, as terminals of 80 and 120 columns show them."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from flows.cli.agent_table import AgentTable
from flows.cli.operator_tables import job_facts, lease_facts, show_run
from tasks.operators.agent_rows import AgentRow
from tasks.outcome.report_page import render_report
from tasks.outcome.run_result import KubernetesNames
from tasks.text.safe_text import age_text
from tasks.vocabulary.names import AgentId, FlowRunId
from tests.unit.operators.test_agent_listing import ENDED, LEASE, NOON, RESULT, look

MESSAGE = (
    "Claude Code stopped after 5 turns, the most that this agent may take, and left its answer "
    "unfinished."
)
FLOW_RUN = FlowRunId("0b9d5c0e-7f1b-4f0e-9a51-0d3c0b1f6a11")
JOB_NAME = "payments-reviewer-0123456789abcdef"
ROWS = [
    AgentRow(
        AgentId("payments-reviewer"),
        "working",
        "Working",
        FLOW_RUN,
        "T-1",
        JOB_NAME,
        live=True,
        age_seconds=95,
        cost_usd=0.1234,
        last_line="Bash: pytest -q",
    ),
    AgentRow(
        AgentId("审查员"),
        "finished: Max turns reached",
        "Max turns reached",
        age_seconds=7300,
        cost_usd=12.5,
        last_line="Out of turns.",
        paused="paused since May: budget",
    ),
    AgentRow(AgentId("hostile\x1b[2J\nname"), "unknown"),
]
LIST = """\
AGENT                 STATE               PAUSED   AGE   COST
payments-reviewer     Working             no       95s   $0.1234
审查员                Max turns reached   yes      2h    $12.5000
hostile\\x1b[2J name   –                   no       –     –
"""
DIGEST = "0123456789abcdef" * 4
RULE = "─" * 117
SHOW = """\
✘ Max turns reached – agent agent-1 (claude_max_turns)

{message}

What to do: Raise max_turns of the agent, or split the task, and run it again.

Cost: $0.5000 · – turns · tokens – in, – out · 0 s in total

Transcript: unproven – 0 lines, 0 bytes; the pod's own count was not received.

Timeline


 Time (UTC)           After  Event
 ─────────────────────────────────────────
 2024-05-01 12:00:00  0 s    Run started
 –                    –      Job created
 –                    –      Agent started
 –                    –      Agent ended
 2024-05-01 12:00:00  0 s    Run ended

Usage and cost


 Item                Amount
 ───────────────────────────
 Model               –
 Turns               –
 Input tokens        –
 Cache read tokens   –
 Cache write tokens  –
 Output tokens       –
 Cost                $0.5000

Where it ran


 Item       Value
 {rule}
 Namespace  agents
 Job        payments-reviewer-0123456789abcdef
 Attempt    –
 Pod        payments-reviewer-0123456789abcdef-x7x7x
 Node       pool-1-node-2f2f2f2f-abcd
 Image      registry.example.com/agents/claude@sha256:{digest}
 Exit code  1
 Signal     –
 Session    –


Job
Name           agents/job-1
State          finished: Max turns reached
Created        2024-05-01 11:58:30 UTC
Attempt        –
Task           –
Owner          run-2
Owner's epoch  –
Condition      Failed
Result stored  2024-05-01 12:00:00 UTC
Pods           –

Lease
Name      agents/lease-1
Held by   nobody
Renewed   2024-05-01 12:00:00 UTC
Epoch     0
Last Job  –
Paused    no
"""
RESULT_HERE = RESULT.model_copy(
    update={
        "message": MESSAGE,
        "advice": "Raise max_turns of the agent, or split the task, and run it again.",
        "kubernetes": KubernetesNames(
            namespace="agents",
            job_name=JOB_NAME,
            pod_name=f"{JOB_NAME}-x7x7x",
            node_name="pool-1-node-2f2f2f2f-abcd",
            image=f"registry.example.com/agents/claude@sha256:{DIGEST}",
        ),
        "exit_code": 1,
    }
)


def screen_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def terminal(columns: int) -> Console:
    return Console(file=StringIO(), width=columns, highlight=False, soft_wrap=True)


def list_screen(columns: int, *, wide: bool) -> str:
    console = terminal(columns)
    AgentTable(console, wide=wide).print_titles_and(ROWS)
    return screen_of(console)


def show_screen(columns: int) -> str:
    console = terminal(columns)
    job = replace(ENDED, harvested_at=NOON)
    found = look(job, leases=(replace(LEASE, holder=""),))
    facts = [
        ("Job", job_facts(found, job, RESULT_HERE)),
        ("Lease", lease_facts(found, found.leases[0])),
    ]
    show_run(console, render_report(RESULT_HERE), facts)
    return screen_of(console)


@pytest.mark.parametrize("columns", [80, 120])
def test_list_of_agents_fits_the_terminal(columns: int) -> None:
    assert list_screen(columns, wide=False) == LIST


@pytest.mark.parametrize("columns", [80, 120])
def test_wide_list_adds_columns_and_wraps_nothing(columns: int) -> None:
    lines = list_screen(columns, wide=True).splitlines()

    assert len(lines) == len(LIST.splitlines())
    assert lines[0].endswith("   LAST LINE")
    assert lines[1].split() == [
        *("payments-reviewer", "Working", "no", "95s", "$0.1234"),
        *("T-1", JOB_NAME, FLOW_RUN, "–", "Bash:", "pytest", "-q"),
    ]
    assert lines[2].endswith("paused since May: budget   Out of turns.")


def test_changed_row_is_printed_below_in_the_same_columns() -> None:
    console = terminal(80)
    table = AgentTable(console, wide=False)

    table.print_titles_and(ROWS)
    table.print_more([replace(ROWS[0], state_name="Succeeded", live=False, age_seconds=600)])

    assert screen_of(console) == (
        LIST + "payments-reviewer     Succeeded           no       10m   $0.1234\n"
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (40 * 86_400, "40d"),
    ],
)
def test_age_has_one_unit(seconds: float, expected: str) -> None:
    assert age_text(seconds) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param(80, MESSAGE.replace("left its", "left\nits"), id="80"),
        pytest.param(120, MESSAGE, id="120"),
    ],
)
def test_shown_run_wraps_prose_at_words_and_cuts_no_name(columns: int, message: str) -> None:
    assert show_screen(columns) == SHOW.format(message=message, rule=RULE, digest=DIGEST)
