from typing import Any

import pytest

from tasks.claude_code.template import render_template
from tasks.vocabulary.errors import InputInvalid

VALUES: dict[str, Any] = {
    "agent": {"id": "a-1", "name": "Ada"},
    "task": {"id": None},
    "context": {"o": {"a": [1, 2]}, "yes": True, "n": 1.5, "word": "{{ agent.id }}", "ü": 1},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("Hello {{ agent.name }}!", "Hello Ada!", id="name"),
        pytest.param("{{agent.id}}{{  agent.id  }}", "a-1a-1", id="spaces"),
        pytest.param("[{{ task.id }}]", "[]", id="known_without_value"),
        pytest.param("{{ context.o }}", '{"a":[1,2]}', id="object_as_json"),
        pytest.param("{{ context.o.a }} {{ context.yes }}", "[1,2] true", id="list_and_truth"),
        pytest.param("{{ context.n }}", "1.5", id="number"),
        pytest.param("{{ context.word }}", "{{ agent.id }}", id="values_are_not_looked_at_again"),
        pytest.param(
            "{% if x %}{# no #}{{ 1 + 1 }}{{}}", "{% if x %}{# no #}{{ 1 + 1 }}{{}}", id="literal"
        ),
        pytest.param("{{ agent.name | upper }}", "{{ agent.name | upper }}", id="no_filters"),
        pytest.param("{{ ünknown }}", "{{ ünknown }}", id="letters_outside_ascii_are_no_name"),
    ],
)
def test_template_is_rendered(template: str, expected: str) -> None:
    assert render_template(template, VALUES) == expected


@pytest.mark.parametrize(
    ("template", "named"),
    [
        pytest.param("{{ nobody }} {{ agent.nam }}", "nobody, agent.nam;", id="both_named"),
        pytest.param("{{ agent.id.x }}", "agent.id.x;", id="text_has_no_parts"),
        pytest.param("{{ __class__ }}", "__class__;", id="nothing_of_python"),
    ],
)
def test_template_with_unknown_names_is_refused_with_the_known_ones(
    template: str, named: str
) -> None:
    with pytest.raises(InputInvalid) as refusal:
        render_template(template, VALUES)

    assert str(refusal.value) == (
        f"The template has unknown names: {named} known are agent, agent.id, agent.name, context, "
        "context.n, context.o, context.o.a, context.word, context.yes, task, task.id."
    )


def test_template_refusal_lists_no_more_names_than_people_read() -> None:
    values = {"context": {f"name{number:03}": 1 for number in range(500)}}

    with pytest.raises(InputInvalid, match=r"context\.name058, …\.$"):
        render_template("{{ x }}", values)
