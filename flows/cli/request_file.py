"""Reads a run's request from a JSON file or standard input."""

import json
import sys
from pathlib import Path
from typing import Any, cast

from tasks.agent_job.run_request import AgentRunRequest, parse_request
from tasks.vocabulary.errors import InputInvalid


def read_request(parameters: Path) -> AgentRunRequest:
    """Return the request in a file; `-` means standard input.

    Raises:
        InputInvalid: It cannot be read, or is not a valid request.
    """
    try:
        if str(parameters) == "-":
            text = sys.stdin.read()
        else:
            text = parameters.read_text(encoding="utf-8")
    except OSError as error:
        raise InputInvalid(f"The request {parameters} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputInvalid(f"The request {parameters} is not UTF-8 text.") from error
    try:
        raw: Any = json.loads(text)
    except ValueError as error:
        raise InputInvalid(f"The request {parameters} is not JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise InputInvalid(f"The request {parameters} is not a JSON object.")
    return parse_request(cast("dict[str, Any]", raw))
