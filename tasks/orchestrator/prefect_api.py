"""Whether the Prefect API in use can be used at all, and if not, why, in a sentence for people."""

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)
from pydantic import ValidationError

from tasks.text.quoting import quote
from tasks.vocabulary.backoff import Backoff
from tasks.vocabulary.errors import PrefectUnusable

# Long enough for a server that is just being restarted; Prefect's own client would try for 77 s.
_ANSWER_SECONDS = 10.0
_BACKOFF = Backoff(0.5, 4.0, least_share=0.5)

_LOGIN = "Set PREFECT_API_KEY, or PREFECT_API_AUTH_STRING for a server of your own."
_ADDRESS = "Correct PREFECT_API_URL; it ends in /api, or names an account and a workspace."
_AWAY = "Check that the server is running and that this machine reaches it, then try again."
_PROXY = "Look for a proxy or login page between this machine and Prefect, and correct the address."

_OTHER = (
    "Compare its version with `prefect version`. If it takes fewer bytes of parameters than the "
    "request has, put the prompt into a Secret (`prompt_secret` or `prompt_block`)."
)

_REFUSALS = {
    401: ("does not accept our credentials (401)", _LOGIN),
    403: ("does not give us access (403)", f"Check the key's workspace and rights. {_LOGIN}"),
    404: ("knows no such address (404)", _ADDRESS),
    405: ("knows no such address (405)", _ADDRESS),
    407: ("is behind a proxy that wants a login (407)", _PROXY),
}


async def check_prefect() -> None:
    """Ask the Prefect API in use one small question; a temporary server is not asked.

    Raises:
        PrefectUnusable: It gave no usable answer, for 10 s where that may pass.
    """
    if not get_current_settings().api.url:
        return
    give_up_at, tries = time.monotonic() + _ANSWER_SECONDS, 0
    telling: Exception | None = None
    while True:
        try:
            async with asyncio.timeout(max(0.0, give_up_at - time.monotonic())):
                await _ask()
            return
        except Exception as error:
            # That our time ran out in a later try says less than how an earlier one failed.
            telling = telling if telling and isinstance(error, TimeoutError) else error
            tries += 1
            delay = _BACKOFF.delay_seconds(tries)
            if not _may_pass(error) or time.monotonic() + delay > give_up_at:
                raise explain_prefect_failure(telling, asked=True) or telling from error
        await asyncio.sleep(delay)


async def _ask() -> None:
    # With the client's own retries the reason would be known after a minute.
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with get_client() as client:
            await client.read_flows(limit=1)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in {408, 429} or error.response.status_code >= 500
    if isinstance(error, httpx.UnsupportedProtocol | httpx.ProxyError) or _is_tls(error):
        return False
    return isinstance(error, httpx.TransportError | TimeoutError)


def explain_prefect_failure(error: BaseException, *, asked: bool = False) -> PrefectUnusable | None:
    """Return why Prefect could not be used; `None` if the error is none of its client's.

    Args:
        error: As Prefect's client or its engine raised it.
        asked: Prefect was asked for something that every server has, so that an answer of another
            form, or that there is no such thing, means another address than Prefect's.
    """
    if isinstance(error, PrefectUnusable):
        return error
    for link in _chain(error):
        told = _explain(link, error, asked=asked)
        if told is not None:
            reason, advice = told
            unusable = PrefectUnusable(f"The Prefect API in use ({_place()}) {reason}.", advice)
            unusable.__cause__ = error
            return unusable
    return None


def _explain(link: BaseException, error: BaseException, *, asked: bool) -> tuple[str, str] | None:
    match link:
        case httpx.HTTPStatusError():
            return _explain_status(link.response.status_code, asked=asked)
        case httpx.InvalidURL():
            return "has no usable address", _ADDRESS
        case httpx.RequestError():
            return _explain_request(link, error)
        case TimeoutError() if asked:
            return f"did not answer within {_ANSWER_SECONDS:.0f} s", _AWAY
        case json.JSONDecodeError() | ValidationError() if asked:
            return "answers, but not as Prefect does", f"{_PROXY} {_ADDRESS}"
        case _:
            return None


def _explain_request(link: httpx.RequestError, error: BaseException) -> tuple[str, str]:
    match link:
        case httpx.UnsupportedProtocol():
            return "has no usable address", _ADDRESS
        case httpx.ProxyError():
            return f"is behind a proxy that fails{_words(link)}", _PROXY
        case httpx.TimeoutException():
            return "did not answer in time", _AWAY
        case httpx.TransportError() if _is_tls(error):
            return (
                f"cannot be trusted: TLS failed{_words(link)}",
                "Set PREFECT_API_SSL_CERT_FILE to the certificate authority, or correct http and "
                "https in PREFECT_API_URL.",
            )
        case httpx.ConnectError():
            return f"cannot be reached{_words(link)}", _AWAY
        case httpx.TooManyRedirects():
            return "sends us elsewhere, again and again", f"{_PROXY} {_ADDRESS}"
        case _:
            return f"broke off the connection{_words(link)}", _AWAY


def _explain_status(status: int, *, asked: bool) -> tuple[str, str] | None:
    if status == 404 and not asked:
        return None
    if status in _REFUSALS:
        return _REFUSALS[status]
    if 300 <= status < 400:
        return f"sends us elsewhere ({status})", f"{_PROXY} {_ADDRESS}"
    if status >= 500 or status in {408, 429}:
        return f"cannot answer now ({status})", _AWAY
    return f"refused the request ({status})", _OTHER


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, those in its group, and what led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", link).exceptions
        waiting += [e for e in (link.__cause__, link.__context__) if e is not None]


def _is_tls(error: BaseException) -> bool:
    return any(isinstance(link, ssl.SSLError) for link in _chain(error))


def _words(error: BaseException) -> str:
    # Transport errors hold the system's words, never what was sent.
    said = quote(str(error))
    return f" ({said})" if said else ""


def _place() -> str:
    """Return the address without credentials."""
    url = urlsplit(get_current_settings().api.url or "")
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}" if url.netloc else url.path
