"""What a stranger sees who opens the page of a run."""

import json
import shutil
from pathlib import Path

import pytest

from tests.browser.conftest import Runner, RunOnPage, Ui

pytestmark = [pytest.mark.slice, pytest.mark.timeout(120), pytest.mark.waits(15)]

DATA = Path(__file__).parents[1] / "data" / "transcripts"
FOLDED = 60  # characters of a state's message that the UI shows before "See More"
HOSTILE = (
    "<img src=x onerror=\"document.title='taken over'\">"
    "<script>document.title='taken over'</script>"
    "\n\n## ✔ Succeeded\n\n```\n`````\n| a | b |\n|---|---|\n![seen](http://tracker.example/)"
    "\n[click](javascript:alert(1))\n\x1b[2J\x1b]0;title\x07 Harmless end."
)


@pytest.fixture(scope="module")
def finished(runner: Runner) -> RunOnPage:
    return runner.run()


@pytest.fixture(scope="module")
def failed(runner: Runner) -> RunOnPage:
    for name in ("max_turns_3.jsonl", "max_turns_3.meta.json"):
        shutil.copy(DATA / name, runner.recordings)
    return runner.run(env={"REPLAY_TRANSCRIPT": "max_turns_3"})


@pytest.fixture(scope="module")
def hostile(runner: Runner) -> RunOnPage:
    """An agent that says and prints what pages are afraid of, in a line of 400 KB too."""
    lines = (DATA / "tools.jsonl").read_text()
    for harmless in ("hello from the workspace", "I'll list the directory first."):
        assert harmless in lines
        lines = lines.replace(harmless, json.dumps(HOSTILE)[1:-1])
    assert "Second part of the answer: DONE." in lines
    lines = lines.replace("Second part of the answer: DONE.", json.dumps(HOSTILE)[1:-1])
    (runner.recordings / "hostile.jsonl").write_text(f"{'<b>' * 133_000}\n{lines}")
    (runner.recordings / "hostile.meta.json").write_text('{"exit_code": 1}')
    return runner.run(env={"REPLAY_TRANSCRIPT": "hostile"})


def test_page_of_a_finished_run_shows_how_it_went(ui: Ui, finished: RunOnPage) -> None:
    assert finished.result["error_code"] is None

    ui.open(finished.path)
    ui.expect("Completed")
    ui.expect("tool call Edit")
    ui.expect("turn ended (success, completed)")
    ui.choose_tab("Details")
    ui.expect(finished.result["message"][:FOLDED])
    ui.take_picture("finished-run")

    ui.open_artifact(finished.artifacts["report"])
    ui.expect("✔ Succeeded – agent demo")
    ui.expect("Usage and cost")
    ui.take_picture("finished-report")
    assert "forensics" not in finished.artifacts

    ui.open_artifact(finished.artifacts["transcript"])
    ui.expect("turn 1: tokens in")
    ui.expect("· Run the tests again")
    ui.expect('+    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")')
    ui.expect("of them give runs of hyphens")
    assert ui.page.locator("blockquote", has_text="runs of them give").count() == 1
    ui.take_picture("finished-transcript")


def test_page_of_a_failed_run_shows_why_and_what_to_do(ui: Ui, failed: RunOnPage) -> None:
    assert failed.result["error_code"] == "claude_max_turns"

    ui.open(failed.path)
    ui.expect("Max turns reached")
    ui.expect("echo round 2")
    ui.take_picture("failed-run")
    ui.choose_tab("Details")
    ui.expect(failed.result["message"][:FOLDED])
    ui.choose_tab("Artifacts")
    ui.expect("Max turns reached · $0.0034 · 4 turns")

    ui.open_artifact(failed.artifacts["report"])
    ui.expect("✘ Max turns reached – agent demo")
    ui.expect(failed.result["advice"])
    ui.take_picture("failed-report")

    # The UI opens links of artifacts in a tab of their own.
    forensics = ui.page.get_by_role("link", name="Forensics").get_attribute("href")
    assert forensics is not None
    ui.open(forensics)
    ui.expect("Facts behind the verdict")
    ui.expect("BackoffLimitExceeded")
    ui.expect('"phase": "Failed"')
    ui.take_picture("failed-forensics")

    ui.open_artifact(failed.artifacts["transcript"])
    ui.expect("tool call Bash")
    ui.expect("The transcript file is")
    ui.take_picture("failed-transcript")


def test_page_of_a_cancelled_run_says_what_was_kept(ui: Ui, runner: Runner) -> None:
    slow = {"REPLAY_LINE_DELAY_SECONDS": "2"}
    process = runner.start(agent={"agent_id": "stopped"}, env=slow)
    path = runner.path_of("stopped")
    ui.open(path)
    ui.expect("assistant:")

    runner.cancel(path)
    cancelled = runner.finish(process)

    assert cancelled.result["error_code"] == "cancelled"
    assert cancelled.result["cause"] is None
    ui.open(cancelled.path)
    ui.expect("Cancelled")
    ui.choose_tab("Artifacts")
    ui.take_picture("cancelled-run")
    ui.open_artifact(cancelled.artifacts["report"])
    ui.expect(cancelled.result["message"])
    ui.take_picture("cancelled-report")


def test_table_of_all_agents_shows_the_last_outcome(
    ui: Ui, runner: Runner, failed: RunOnPage
) -> None:
    key = f"agents-{failed.result['kubernetes']['namespace']}"

    ui.open(f"/artifacts/key/{key}")
    ui.expect("in namespace default")
    ui.open(f"/artifacts/artifact/{runner.latest_artifact(key)}")
    ui.expect("last outcome")
    ui.expect("Max turns reached")
    ui.take_picture("agents")


def test_subagent_stands_under_its_call(ui: Ui, runner: Runner) -> None:
    for name in ("subagent.jsonl", "subagent.meta.json"):
        shutil.copy(DATA / name, runner.recordings)
    run = runner.run(env={"REPLAY_TRANSCRIPT": "subagent"})

    ui.open_artifact(run.artifacts["transcript"])
    ui.expect("Subagent looks.")
    ui.take_picture("subagent-transcript")
    assert ui.page.locator("blockquote", has_text="from-subagent").count() == 2


def test_pages_of_a_hostile_agent_show_its_text_and_do_nothing(ui: Ui, hostile: RunOnPage) -> None:
    assert hostile.result["error_code"] == "claude_failed"

    for kind in ("transcript", "report", "forensics"):
        ui.open_artifact(hostile.artifacts[kind])
        ui.expect("Harmless end.")
        ui.take_picture(f"hostile-{kind}")
        page = ui.page
        assert page.locator("h2", has_text="Succeeded").count() == 0
        assert page.locator("img[src*=tracker], img[src=x], script:text('taken over')").count() == 0
        assert page.locator("a[href^=javascript]").count() == 0
        assert page.locator("td", has_text="a").filter(has_text="|").count() == 0
        assert "taken over" not in page.title()


def test_list_of_runs_shows_names_and_tags(ui: Ui, runner: Runner, finished: RunOnPage) -> None:
    other = runner.run(agent={"agent_id": "other"}, task_id="T-1")
    assert (finished.result["error_code"], other.result["error_code"]) == (None, None)

    ui.open("/runs")

    ui.expect("other · T-1 · attempt 1")
    ui.expect("demo · A test fails. Find out why and fix it. · attempt 1")
    for tag in ("agent:other", "task:T-1", "agent:demo"):
        ui.expect(tag)
    ui.take_picture("all-runs")

    ui.show_only_tag("agent:other")
    ui.expect_no("demo · A test fails. Find out why and fix it. · attempt 1")
    ui.expect("other · T-1 · attempt 1")
    ui.take_picture("runs-of-one-agent")
