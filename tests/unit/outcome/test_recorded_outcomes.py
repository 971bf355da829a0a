import json
import pickle
import re
from dataclasses import replace

import pytest

from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.session_summary import SessionState
from tasks.outcome.verdict import Outcome, judge_run
from tests.unit.outcome.recorded_outcomes import RECORDED_OUTCOMES, Expected
from tests.unit.outcome.recordings import read_recording, recorded_facts, recording_names

STREAM_JSON = r'"(type|uuid|session_id)"\s*:'


def _judge(name: str) -> Outcome:
    return judge_run(recorded_facts(read_recording(name)))


def test_every_recording_has_an_expected_outcome() -> None:
    assert sorted(RECORDED_OUTCOMES) == recording_names()


@pytest.mark.parametrize("name", RECORDED_OUTCOMES)
def test_recording_is_judged_as_written_down(name: str) -> None:
    outcome = _judge(name)

    actual = Expected(outcome.code, outcome.exit_code or 0, outcome.cause, outcome.clear_session)
    assert actual == RECORDED_OUTCOMES[name]


@pytest.mark.parametrize("name", RECORDED_OUTCOMES)
def test_message_of_recording_is_one_sentence_with_its_facts(name: str) -> None:
    outcome, recording = _judge(name), read_recording(name)

    observed = dict(outcome.observed)
    assert observed["Exit code"].split()[0] == str(recording.meta["exit_code"])
    assert outcome.message.endswith(".")
    assert "\n" not in outcome.message
    assert (outcome.advice is None) == (outcome.code is None)
    assert (outcome.check is None) == (outcome.code is None)
    model = recorded_facts(recording).session.model
    assert model is None or model in observed["Model"]


@pytest.mark.parametrize("name", RECORDED_OUTCOMES)
def test_message_of_recording_has_no_stream_json(name: str) -> None:
    message = _judge(name).message

    assert not re.search(STREAM_JSON, message)
    with pytest.raises(json.JSONDecodeError):
        json.loads(message)


def test_message_after_start_failure_quotes_stderr() -> None:
    assert "“error: unknown option '--no-such-flag'”" in _judge("bad_flag").message


def test_message_of_usage_limit_tells_when_it_resets() -> None:
    assert "resets at 2026-11-20 19:34:45 UTC" in _judge("oauth_usage_limit_429_plain").message


def test_message_of_api_error_tells_status_and_retries() -> None:
    message = _judge("rate_limit_429_default_retries").message

    assert "status 429" in message
    assert "10 retries" in message


def test_advice_for_refused_login_says_where_credentials_belong() -> None:
    assert "Secret" in (_judge("auth_401").advice or "")


def test_advice_for_billing_is_not_to_log_in() -> None:
    outcome = _judge("credit_400")

    assert "billing" in outcome.message
    assert "credit" in (outcome.advice or "")


@pytest.mark.parametrize("name", ["ok", "resume_unknown", "auth_401", "bg_bash"])
def test_recording_cut_anywhere_is_no_success_before_its_result(name: str) -> None:
    recording = read_recording(name)
    whole, state = recorded_facts(recording), SessionState()
    has_result, judged = False, None

    for line in recording.lines:
        before = pickle.dumps(state)
        for end in range(len(line) + 1):
            cut: SessionState = pickle.loads(before)
            if end:
                cut.apply(parse_event_leniently(line[:end]))
            is_result = end == len(line) and json.loads(line)["type"] == "result"
            has_result = has_result or is_result
            # Most cuts of a line say the same, and what says the same is judged the same.
            is_new = (cut.summary(), is_result) != judged
            judged = cut.summary(), is_result
            for exit_code in (0, 1, 143) if is_new else ():
                facts = replace(whole, session=cut.summary(), container_exit_code=exit_code)
                outcome = judge_run(facts)
                assert outcome.code is not None or (has_result and exit_code == 0)
                assert not re.search(STREAM_JSON, outcome.message)
        state.apply(parse_event_leniently(line))

    assert judge_run(replace(whole, session=state.summary())) == judge_run(whole)
