"""What a flow run is called in Prefect, and the tags by which people find an agent's runs."""

import re
from collections.abc import Iterator

from tasks.text.safe_text import escape_control_characters

_SEPARATOR = " · "
_PART_CHARACTERS = 60
# Looked at for the first words of a prompt, which may have megabytes.
_HEAD_CHARACTERS = 400
_RANDOM_NAME = re.compile("[a-z]+-[a-z]+")


def run_name(
    agent_id: str, task_id: str | None, prompt: str | None, attempt: int | None = None
) -> str:
    """Return the name of a flow run: its agent, its task or the prompt's first words, its attempt.

    One line of at most 160 characters, without control or invisible characters and without empty
    parts. The words of a prompt are whole ones: half of one that is a secret would not be masked.

    Args:
        agent_id: As exact as its length allows.
        task_id: The run's task, if it has one.
        prompt: A prompt that everybody may read, known secrets masked; `None` for another one.
        attempt: Number of the Job at work, once it is known.
    """
    number = f"attempt {attempt}" if attempt is not None else ""
    parts = (_shown(agent_id), _shown(task_id or "") or _first_words(prompt or ""), number)
    return _SEPARATOR.join(part for part in parts if part)


def agent_tag(agent_id: str) -> str:
    """Return the tag of an agent's flow runs."""
    return f"agent:{escape_control_characters(agent_id)}"


def run_tags(agent_id: str, tenant_id: str | None, task_id: str | None) -> tuple[str, ...]:
    """Return the tags of a flow run, with exact ids; what steers a terminal is written out."""
    named = (("tenant", tenant_id), ("task", task_id))
    others = (f"{key}:{escape_control_characters(value)}" for key, value in named if value)
    return (agent_tag(agent_id), *others)


def may_be_renamed(name: str, base: str) -> bool:
    """Tell whether a flow run's name is Prefect's random one, or one of ours; not one of people's.

    Prefect's are two lowercase words with a dash, ours begin with the agent. A few that people
    give look like that too, and are replaced.

    Args:
        name: The flow run's name.
        base: What the run is called without an attempt.
    """
    agents = [text.partition(_SEPARATOR)[0] for text in (name, base)]
    return _RANDOM_NAME.fullmatch(name) is not None or agents[0] == agents[1]


def _shown(text: str) -> str:
    words = " ".join(_words(text[:_HEAD_CHARACTERS]))
    excess = len(words) > _PART_CHARACTERS or len(text) > _HEAD_CHARACTERS
    return words[: _PART_CHARACTERS - 1].rstrip() + "…" if excess else words


def _first_words(prompt: str) -> str:
    head, is_cut = prompt[:_HEAD_CHARACTERS], len(prompt) > _HEAD_CHARACTERS
    words = list(_words(head))
    if is_cut and not head[-1].isspace() and not prompt[_HEAD_CHARACTERS].isspace():
        # The head ends within this word.
        words = words[:-1]
    shown = words[:1]
    for word in words[1:]:
        if len(" ".join([*shown, word])) > _PART_CHARACTERS - 2:
            break
        shown.append(word)
    if len(" ".join(shown)) > _PART_CHARACTERS - 2:
        return ""
    is_whole = len(shown) == len(words) and not is_cut
    return " ".join(shown if is_whole or not shown else [*shown, "…"])


def _words(text: str) -> Iterator[str]:
    for word in text.split():
        visible = "".join(filter(str.isprintable, escape_control_characters(word)))
        if visible:
            yield visible
