"""What flow runs are called, whatever their agents, tasks and prompts are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.agent_job.run_naming import agent_tag, may_be_renamed, run_name, run_tags

LONG = "a" * 300
# Every id has an ASCII letter or digit.
AGENTS = st.text(max_size=300).map(lambda text: f"{text}a")
TEXTS = st.none() | st.text(max_size=900)
ATTEMPTS = st.none() | st.integers(1, 10_000)


@pytest.mark.parametrize(
    ("agent_id", "task_id", "prompt", "attempt", "expected"),
    [
        pytest.param("ada", "T-1", "Say hello.", 1, "ada · T-1 · attempt 1", id="task"),
        pytest.param("ada", None, "Say hello.", 2, "ada · Say hello. · attempt 2", id="prompt"),
        pytest.param("ada", None, None, 1, "ada · attempt 1", id="confidential prompt"),
        pytest.param("ada", "T-1", None, None, "ada · T-1", id="no Job yet"),
        pytest.param("ada", None, " \n\t\u200b ", None, "ada", id="blank prompt"),
        pytest.param("ada", " ", "Go on.", None, "ada · Go on.", id="blank task"),
        pytest.param(
            "ada", None, "Say\r\n\r\n hello\tnow", None, "ada · Say hello now", id="lines"
        ),
        pytest.param("a\x1b[31mda", "T\x00", None, None, "a\\x1b[31mda · T\\x00", id="controls"),
        pytest.param("ada", "T\u202e1\u200b", None, None, "ada · T\\u202e1", id="invisible"),
        pytest.param(LONG, None, None, 1, f"{'a' * 59}… · attempt 1", id="long agent"),
        pytest.param("ada", LONG, None, None, f"ada · {'a' * 59}…", id="long task"),
        pytest.param("ada", None, f"Use {LONG} now", None, "ada · Use …", id="long word"),
        pytest.param("ada", None, LONG, None, "ada", id="nothing but a long word"),
        pytest.param("ada", None, "Go. " + "b" * 400, None, "ada · Go. …", id="a word beyond"),
        pytest.param("ada", None, "Go." + " " * 500, None, "ada · Go. …", id="blanks beyond"),
        pytest.param("ada", None, "Grüß 👋 Gott", None, "ada · Grüß 👋 Gott", id="not ASCII"),
    ],
)
def test_name_of_a_run(
    agent_id: str, task_id: str | None, prompt: str | None, attempt: int | None, expected: str
) -> None:
    assert run_name(agent_id, task_id, prompt, attempt) == expected


@given(AGENTS, TEXTS, TEXTS, ATTEMPTS)
def test_name_is_one_short_visible_line(
    agent_id: str, task_id: str | None, prompt: str | None, attempt: int | None
) -> None:
    name = run_name(agent_id, task_id, prompt, attempt)

    assert len(name) <= 160
    assert name.isprintable()
    assert name == " ".join(name.split())
    assert all(part.strip() for part in name.split(" · "))
    assert attempt is None or name.endswith(f"attempt {attempt}")


@given(st.lists(st.text("abc-=/", min_size=1, max_size=90), max_size=40), st.sampled_from(" \n"))
def test_name_has_whole_words_of_a_prompt(words: list[str], blank: str) -> None:
    shown = run_name("x", None, blank.join(words)).split()[2:]

    assert shown[-1:] == ["…"] or shown == words or not shown
    kept = [word for word in shown if word != "…"]
    assert kept == words[: len(kept)]


@given(AGENTS, TEXTS, TEXTS, ATTEMPTS)
def test_name_is_known_as_one_of_ours(
    agent_id: str, task_id: str | None, prompt: str | None, attempt: int | None
) -> None:
    base = run_name(agent_id, task_id, prompt)

    assert may_be_renamed(run_name(agent_id, task_id, prompt, attempt), base)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fractal-sambar", True),
        ("ada · T-1", True),
        ("ada · T-1 · attempt 3", True),
        ("Nightly review", False),
        ("nightly", False),
        ("review-of-may", False),
        ("build-42", False),
        ("ada", True),
        ("adagio", False),
    ],
)
def test_name_that_somebody_has_chosen_stays(name: str, expected: bool) -> None:
    assert may_be_renamed(name, "ada · T-1") is expected


@given(st.text(min_size=1, max_size=256), st.text(min_size=1, max_size=256))
def test_tags_tell_ids_apart(one: str, other: str) -> None:
    assert (agent_tag(one) == agent_tag(other)) == (one == other) or "\\" in one + other


def test_tags_are_of_what_the_run_has() -> None:
    assert run_tags("ada", "acme", "T-1") == ("agent:ada", "tenant:acme", "task:T-1")
    assert run_tags("ada\x1b[2J", None, None) == ("agent:ada\\x1b[2J",)
