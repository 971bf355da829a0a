#!/usr/bin/env python3
"""stub_messages_api.py - a scripted test double of the Anthropic Messages API (stdlib only, Python >= 3.9).

Made to drive the *real* Claude Code CLI offline:

    python stub_messages_api.py --port 0 --scenario tools --port-file /tmp/port --log /tmp/requests.jsonl
    ANTHROPIC_BASE_URL=http://127.0.0.1:$(cat /tmp/port) ANTHROPIC_API_KEY=sk-ant-test-000 \
        claude -p --output-format stream-json --verbose 'hello'

It binds 127.0.0.1 unless told otherwise (--host), prints one line ``READY <port> <scenario>`` on stdout, and serves until killed.
`--list` prints the scenarios. It can also be imported:

    with StubServer("tools") as s:      # s.port, s.base_url, s.requests (list of logged dicts)
        ...

Endpoints
    POST /v1/messages                 streaming (SSE) and non-streaming, scripted by the scenario
    POST /v1/messages/count_tokens    {"input_tokens": len(body)//4}
    GET  /v1/models, /v1/models/<id>  a one-entry model list
    POST /__scenario {"name": ...}    switch the scenario at run time (tests)
    GET  /__requests                  the request log as JSON (tests)
    anything else                     200 {} (GET/HEAD/POST), so that probes are harmless

How a scenario chooses its reply
    A scenario is a function (Ctx) -> Reply. It is stateless on purpose: the CLI may retry a request or fire
    side requests (session title, topic, quota probe) at any time, so replies are chosen from the
    *conversation*, not from a call counter: ``ctx.step`` = number of tool_result-carrying user messages since
    the last plain user prompt. Side requests (no tools in the request body) get ``side_reply``; error
    scenarios answer them with the error as well. ``ctx.n`` (how many main requests were seen) is there for
    scenarios such as "fail twice and then work".
"""
from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Optional

# --------------------------------------------------------------------------- replies


def rid(prefix: str, n: int = 24) -> str:
    return prefix + "".join(random.choice("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz123456789") for _ in range(n))


def text(s: str) -> Dict[str, Any]:
    return {"type": "text", "text": s}


def thinking(s: str) -> Dict[str, Any]:
    return {"type": "thinking", "thinking": s, "signature": rid("EqQBCkYIBxgC", 64)}


def tool(name: str, **inp: Any) -> Dict[str, Any]:
    return {"type": "tool_use", "id": rid("toolu_01", 22), "name": name, "input": inp}


@dataclass
class Message:
    """A 200 answer. Streaming: SSE with deltas of `chunk` characters, `delay` seconds apart.

    cut_after: stop after this many SSE events (None = send all); cut_how then says how the stream ends:
        'clean'  final chunk, i.e. well-formed HTTP with a missing tail of events
        'eof'    FIN without the terminating chunk (premature EOF)
        'rst'    TCP reset
        'hang'   keep the socket open and silent (until the client leaves)
        'error'  an SSE `event: error` (overloaded_error), then a clean end
    """
    blocks: List[Dict[str, Any]]
    stop_reason: Optional[str] = "auto"
    chunk: int = 40
    delay: float = 0.0
    first_delay: float = 0.0
    cut_after: Optional[int] = None
    cut_how: str = "eof"
    output_tokens: Optional[int] = None
    input_tokens: int = 12
    headers: Dict[str, str] = field(default_factory=dict)

    def resolved_stop(self) -> Optional[str]:
        if self.stop_reason != "auto":
            return self.stop_reason
        return "tool_use" if any(b["type"] == "tool_use" for b in self.blocks) else "end_turn"

    def resolved_out(self) -> int:
        if self.output_tokens is not None:
            return self.output_tokens
        return max(1, sum(len(json.dumps(b)) for b in self.blocks) // 4)


@dataclass
class HttpError:
    status: int
    type: str
    message: str
    headers: Dict[str, str] = field(default_factory=dict)
    raw: Optional[str] = None          # send this body instead of the JSON error envelope


@dataclass
class Raw:
    """200 text/event-stream with exactly these bytes (possibly none), ended as in Message.cut_how."""
    body: bytes
    end: str = "clean"


@dataclass
class Ctx:
    body: Dict[str, Any]
    headers: Dict[str, str]
    step: int                # tool rounds since the last plain user prompt
    turn: int                # plain user prompts so far (1 = first prompt; >1 = resumed / multi-turn)
    n: int                   # main requests seen by this server, this one included
    cwd: str
    prompt: str              # last plain user prompt (text)


Scenario = Callable[[Ctx], Any]
SCENARIOS: Dict[str, Scenario] = {}
DOC: Dict[str, str] = {}


def scenario(name: str, doc: str):
    def deco(f: Scenario) -> Scenario:
        SCENARIOS[name] = f
        DOC[name] = doc
        return f
    return deco


# --------------------------------------------------------------------------- scenarios


@scenario("ok", "one plain text answer")
def _ok(c: Ctx):
    return Message([text("Hello from the stub. Prompt number %d had %d characters. Done."
                         % (c.turn, len(c.prompt)))])


@scenario("tools", "thinking + text + Bash; then two texts + Read; then thinking + two texts (end_turn)")
def _tools(c: Ctx):
    if c.step == 0:
        return Message([thinking("I should look at the directory first."),
                        text("I'll list the directory first."),
                        tool("Bash", command="pwd; ls -la; cat hello.txt", description="List files and show hello.txt")])
    if c.step == 1:
        return Message([text("The directory holds hello.txt."),
                        text("Now I read it with the Read tool."),
                        tool("Read", file_path=os.path.join(c.cwd, "hello.txt"))])
    return Message([thinking("The file says hello. I can answer."),
                    text("First part of the answer: the file greets."),
                    text("Second part of the answer: DONE.")])


@scenario("structured", "StructuredOutput with a field that does not fit {n: integer}, then one that does")
def _structured(c: Ctx):
    return Message([tool("StructuredOutput", n="many" if c.step == 0 else 2)])


@scenario("parallel_tools", "one message with two Bash calls and one failing Read (3 tool_use blocks), then text")
def _parallel(c: Ctx):
    if c.step == 0:
        return Message([text("Three calls at once."),
                        tool("Bash", command="echo one; sleep 0.3", description="Echo one"),
                        tool("Bash", command="echo two; exit 3", description="Echo two and fail"),
                        tool("Read", file_path=os.path.join(c.cwd, "does-not-exist.txt"))])
    return Message([text("All three calls came back.")])


@scenario("loop_tools", "never stops calling Bash (for --max-turns)")
def _loop(c: Ctx):
    return Message([text("Round %d." % c.step),
                    tool("Bash", command="echo round %d" % c.step, description="Echo the round")])


@scenario("edit", "Write then Edit a file, then text (permission denials show without --dangerously-skip-permissions)")
def _edit(c: Ctx):
    p = os.path.join(c.cwd, "made.txt")
    if c.step == 0:
        return Message([tool("Write", file_path=p, content="alpha\nbeta\n")])
    if c.step == 1:
        return Message([tool("Edit", file_path=p, old_string="beta", new_string="gamma")])
    return Message([text("Wrote and edited made.txt.")])


@scenario("subagent", "main agent calls the Agent/Task tool once; the subagent answers with text")
def _subagent(c: Ctx):
    if "SUBAGENT-JOB" in c.prompt:
        if c.step == 0:
            return Message([text("Subagent looks."), tool("Bash", command="echo from-subagent", description="Echo")])
        return Message([text("Subagent report: all fine.")])
    names = [t.get("name") for t in c.body.get("tools", [])]
    if c.step == 0 and c.turn == 1:      # turn 2 = the CLI's own task-notification prompt
        return Message([tool("Agent" if "Agent" in names else "Task", description="Small job",
                             prompt="SUBAGENT-JOB: say hello", subagent_type="general-purpose")])
    if c.turn == 1:
        return Message([text("I started a subagent in the background.")])
    return Message([text("The subagent finished: all fine.")])


@scenario("max_tokens", "text with stop_reason max_tokens")
def _max_tokens(c: Ctx):
    return Message([text("This answer is cut off because the token budget is")], stop_reason="max_tokens")


@scenario("refusal", "stop_reason refusal")
def _refusal(c: Ctx):
    return Message([text("I can't")], stop_reason="refusal")


@scenario("api_error_500", "HTTP 500 api_error, always")
def _e500(c: Ctx):
    return HttpError(500, "api_error", "Internal server error")


@scenario("overloaded_529", "HTTP 529 overloaded_error, always")
def _e529(c: Ctx):
    return HttpError(529, "overloaded_error", "Overloaded")


@scenario("rate_limit_429", "HTTP 429 rate_limit_error with retry-after: 1, always")
def _e429(c: Ctx):
    return HttpError(429, "rate_limit_error", "This request would exceed your organization's rate limit of 50 requests per minute.",
                     {"retry-after": "1", "anthropic-ratelimit-requests-limit": "50",
                      "anthropic-ratelimit-requests-remaining": "0"})


def _unified(status: str) -> Dict[str, str]:
    reset = str(int(time.time()) + 3600)
    return {"anthropic-ratelimit-unified-status": status,
            "anthropic-ratelimit-unified-reset": reset,
            "anthropic-ratelimit-unified-representative-claim": "five_hour",
            "anthropic-ratelimit-unified-5h-status": status,
            "anthropic-ratelimit-unified-5h-reset": reset,
            "anthropic-ratelimit-unified-5h-utilization": "1.0" if status == "rejected" else "0.93",
            "anthropic-ratelimit-unified-7d-status": "allowed",
            "anthropic-ratelimit-unified-7d-reset": str(int(time.time()) + 86400),
            "anthropic-ratelimit-unified-7d-utilization": "0.4",
            "anthropic-ratelimit-unified-fallback-percentage": "0.5",
            "anthropic-ratelimit-unified-overage-status": "rejected",
            "anthropic-ratelimit-unified-overage-disabled-reason": "org_level_disabled"}


@scenario("unified_warning", "plain answer carrying anthropic-ratelimit-unified-* headers (allowed_warning)")
def _uni_warn(c: Ctx):
    m = _ok(c)
    m.headers = _unified("allowed_warning")
    return m


@scenario("usage_limit_429", "HTTP 429 with anthropic-ratelimit-unified-status: rejected (subscription usage limit)")
def _uni_rej(c: Ctx):
    return HttpError(429, "rate_limit_error", "This request would exceed your account's rate limit. Please try again later.",
                     dict(_unified("rejected"), **{"retry-after": "3600", "x-should-retry": "false"}))


@scenario("usage_limit_429_midrun", "one tool round, then usage_limit_429")
def _uni_rej_mid(c: Ctx):
    if c.step == 0:
        m = _tools(c)
        m.headers = _unified("allowed_warning")
        return m
    return _uni_rej(c)


@scenario("auth_401", "HTTP 401 authentication_error, always")
def _e401(c: Ctx):
    return HttpError(401, "authentication_error", "invalid x-api-key", {"x-should-retry": "false"})


@scenario("auth_401_plain", "as auth_401, without the x-should-retry header")
def _e401p(c: Ctx):
    return HttpError(401, "authentication_error", "invalid x-api-key")


@scenario("model_not_found_plain", "as model_not_found, without the x-should-retry header")
def _e404p(c: Ctx):
    return HttpError(404, "not_found_error", "model: %s" % c.body.get("model"))


@scenario("usage_limit_429_plain", "as usage_limit_429, with neither x-should-retry nor retry-after")
def _uni_rej_plain(c: Ctx):
    r = _uni_rej(c)
    r.headers = _unified("rejected")
    return r


@scenario("forbidden_403", "HTTP 403 permission_error, always")
def _e403(c: Ctx):
    return HttpError(403, "permission_error", "Your API key does not have permission to use the specified resource.")


@scenario("model_not_found", "HTTP 404 not_found_error naming the requested model, always")
def _e404(c: Ctx):
    return HttpError(404, "not_found_error", "model: %s" % c.body.get("model"), {"x-should-retry": "false"})


@scenario("credit_400", "HTTP 400 credit balance too low, always")
def _e400c(c: Ctx):
    return HttpError(400, "invalid_request_error",
                     "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.")


@scenario("prompt_too_long", "HTTP 400 prompt is too long, always")
def _e400p(c: Ctx):
    return HttpError(400, "invalid_request_error", "prompt is too long: 215000 tokens > 200000 maximum")


@scenario("html_502", "HTTP 502 with an HTML body (a proxy in the way)")
def _e502(c: Ctx):
    return HttpError(502, "", "", raw="<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>")


@scenario("flaky_500_then_ok", "HTTP 500 for the first two main requests, then ok")
def _flaky(c: Ctx):
    return _e500(c) if c.n <= 2 else _ok(c)


@scenario("error_midrun_500", "one real tool round, then HTTP 500 for ever")
def _mid500(c: Ctx):
    return _tools(c) if c.step == 0 else _e500(c)


@scenario("empty_stream", "HTTP 200 event stream with no event at all, clean end")
def _empty_stream(c: Ctx):
    return Raw(b"")


@scenario("zero_tokens", "complete stream without content: stop_reason end_turn, output_tokens 0")
def _zero(c: Ctx):
    return Message([], stop_reason="end_turn", output_tokens=0)


@scenario("zero_tokens_null_stop", "complete stream without content: stop_reason null, output_tokens 0")
def _zero_null(c: Ctx):
    return Message([], stop_reason=None, output_tokens=0)


@scenario("empty_text", "one text block with the empty string, end_turn")
def _empty_text(c: Ctx):
    return Message([text("")], output_tokens=1)


@scenario("thinking_only", "a thinking block and nothing else, end_turn")
def _think_only(c: Ctx):
    return Message([thinking("Hmm, I have nothing to say.")])


@scenario("start_only", "message_start, then a clean end (stop_reason stays null, no content)")
def _start_only(c: Ctx):
    return Message([text("never sent")], cut_after=1, cut_how="clean")


LONG = "This is sentence %d of a long answer that will not be finished. "


@scenario("no_stop", "text deltas, then a clean HTTP end without content_block_stop/message_delta/message_stop")
def _no_stop(c: Ctx):
    return Message([text("".join(LONG % i for i in range(5)))], cut_after=6, cut_how="clean")


@scenario("block_then_no_stop", "one complete text block, then a clean HTTP end without message_delta/message_stop")
def _block_no_stop(c: Ctx):
    return Message([text("A complete block."), text("An unfinished block " * 20)], chunk=1000, cut_after=5, cut_how="clean")


@scenario("cut_eof", "server closes the socket (FIN, no last chunk) in the middle of a text block, every time")
def _cut_eof(c: Ctx):
    return Message([text("".join(LONG % i for i in range(5)))], cut_after=6, cut_how="eof", delay=0.02)


@scenario("cut_fallback_ok", "streaming requests are cut in mid text, the CLI's non-streaming retry gets the whole answer")
def _cut_fallback(c: Ctx):
    m = _cut_eof(c)
    if not c.body.get("stream"):
        m.cut_after = None
    return m


@scenario("cut_once_after_block", "the first answer is cut after one complete block, the continuation works")
def _cut_once(c: Ctx):
    if c.n == 1:
        return _cut_after_block(c)
    return Message([text("The rest of the answer.")])


@scenario("cut_rst", "server resets the socket in the middle of a text block, every time")
def _cut_rst(c: Ctx):
    return Message([text("".join(LONG % i for i in range(5)))], cut_after=6, cut_how="rst", delay=0.02)


@scenario("cut_after_block", "one complete text block, then the socket is closed inside the second block, every time")
def _cut_after_block(c: Ctx):
    return Message([text("A complete block."), text("An unfinished block " * 20)], chunk=200, cut_after=6, cut_how="eof", delay=0.02)


@scenario("cut_midrun", "one real tool round, then the socket is closed mid text, every time")
def _cut_mid(c: Ctx):
    return _tools(c) if c.step == 0 else _cut_eof(c)


@scenario("sse_error", "SSE `event: error` overloaded_error in mid message, every time")
def _sse_error(c: Ctx):
    return Message([text("".join(LONG % i for i in range(5)))], cut_after=6, cut_how="error")


@scenario("refuse_connection", "accepts and closes the socket without answering, every time")
def _refuse(c: Ctx):
    return Raw(b"", end="drop")


@scenario("hang", "accepts the request and never answers")
def _hang(c: Ctx):
    return Raw(b"", end="hang")


@scenario("slow", "one quick complete text block, then a second block that trickles for about a minute")
def _slow(c: Ctx):
    return Message([text("A first complete block before the slow one."), text("".join(LONG % i for i in range(60)))], chunk=12, delay=0.2)


@scenario("slow_tools", "a real Bash round, then a block that trickles for about a minute")
def _slow_tools(c: Ctx):
    return _tools(c) if c.step == 0 else _slow(c)


@scenario("long_bash", "a Bash call that sleeps 60 s (to be killed while a tool runs)")
def _long_bash(c: Ctx):
    if c.step == 0:
        return Message([text("Running something long."), tool("Bash", command="echo begin; sleep 60; echo end", description="Sleep")])
    return Message([text("It ended.")])


@scenario("bg_bash", "a Bash call with run_in_background (sleeps 4 s), then a text; the CLI's completion notice gets a second text")
def _bg_bash(c: Ctx):
    if c.turn == 1 and c.step == 0:
        return Message([tool("Bash", command="sleep 4; echo background-done", description="Background sleep", run_in_background=True)])
    return Message([text("Started it in the background." if c.turn == 1 else "The background command finished.")])


@scenario("unknown_tool", "the model calls a tool that does not exist, then answers")
def _unknown_tool(c: Ctx):
    if c.step == 0:
        return Message([tool("NoSuchTool", x=1)])
    return Message([text("That tool does not exist.")])


@scenario("bad_tool_input", "the model calls Bash without its required input, then answers")
def _bad_input(c: Ctx):
    if c.step == 0:
        return Message([tool("Bash", cmd="echo wrong key")])
    return Message([text("My tool input was wrong.")])


NASTY = ("CJK: \u6f22\u5b57\u304b\u306a\ud55c\uae00 emoji: \U0001f600\U0001f469\u200d\U0001f4bb LS:\u2028 PS:\u2029 NEL:\u0085 "
         "NUL-free; CR:[\r] CRLF:[\r\n] ANSI:\x1b[31mred\x1b[0m BEL:\x07 VT:\x0b FF:\x0c BOM:\ufeff ZWSP:\u200b "
         "RTL:\u202e quote:\" backslash:\\ tab:\t </script> ")


@scenario("big", "nasty unicode, a 150 KB assistant text, 30 rounds of large Bash/Read outputs, a 200 KB Write input")
def _big(c: Ctx):
    rounds = 30
    if c.step == 0:
        return Message([text("Nasty characters follow. " + NASTY),
                        tool("Bash", command="cat nasty.txt; printf '\\r progress 10%%\\r progress 100%%\\n\\033[32mgreen\\033[0m\\n'",
                             description="Show nasty bytes")], chunk=4000)
    if c.step == 1:
        return Message([text("A large single line.\n" + (NASTY * 1000)[:150_000]),
                        tool("Write", file_path=os.path.join(c.cwd, "big-written.txt"),
                             content=("w\u4e16\u754c " * 50_000)[:200_000])], chunk=8000)
    if c.step < rounds:
        if c.step % 2:
            return Message([tool("Bash", command="head -c 140000 oneline.txt | tr 'a' '%s'" % "bcdefgh"[c.step % 7],
                                 description="Print 140 KB on one line")], chunk=4000)
        return Message([tool("Read", file_path=os.path.join(c.cwd, "part%02d.txt" % c.step))], chunk=4000)
    return Message([text("Big run done. " + NASTY)], chunk=4000)


# --------------------------------------------------------------------------- server


def _is_plain_user(m: Dict[str, Any]) -> bool:
    if m.get("role") != "user":
        return False
    ct = m.get("content")
    return isinstance(ct, str) or not any(b.get("type") == "tool_result" for b in ct)


def _has_tool_result(m: Dict[str, Any]) -> bool:
    ct = m.get("content")
    return m.get("role") == "user" and isinstance(ct, list) and any(b.get("type") == "tool_result" for b in ct)


def conversation(messages: List[Dict[str, Any]]):
    """-> (step, turn, prompt) where a 'turn' starts with a plain user message that follows an assistant one."""
    step = turn = 0
    prompt = ""
    prev = None
    for m in messages:
        if _has_tool_result(m):
            step += 1
        elif _is_plain_user(m):
            ct = m["content"]
            texts = [ct] if isinstance(ct, str) else [b.get("text", "") for b in ct if b.get("type") == "text"]
            texts = [t for t in texts if not t.lstrip().startswith("<system-reminder>")]
            if prev is None or prev.get("role") == "assistant":
                turn, step = turn + 1, 0
                prompt = "\n".join(texts)
            else:
                prompt += "\n" + "\n".join(texts)
        prev = m
    return step, turn, prompt


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *a):  # quiet
        pass

    # -- plumbing
    def _json(self, status: int, obj: Any, headers: Optional[Dict[str, str]] = None, raw: Optional[str] = None):
        data = (raw if raw is not None else json.dumps(obj)).encode()
        self.send_response(status)
        self.send_header("content-type", "text/html" if raw is not None else "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("request-id", self._reqid)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _chunk(self, data: bytes):
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def _end(self, how: str):
        self.close_connection = True
        if how in ("clean", "error"):
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        elif how == "rst":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif how == "hang":
            while True:                       # until the client goes away
                time.sleep(0.2)
                try:
                    if self.connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"":
                        return
                except BlockingIOError:
                    continue
                except OSError:
                    return
        # 'eof'/'drop': nothing, http.server closes the socket

    def _dispatch(self):
        self._reqid = rid("req_01", 22)
        ln = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(ln) if ln else b""
        if (self.headers.get("content-encoding") or "") == "gzip":
            raw = gzip.decompress(raw)
        path = self.path.split("?", 1)[0]
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {}
        srv = self.server
        if path == "/__scenario":
            srv.scenario = body["name"]
            return self._json(200, {"scenario": srv.scenario})
        if path == "/__requests":
            return self._json(200, srv.requests)
        entry = {"t": round(time.time() - srv.t0, 3), "method": self.command, "path": self.path, "bytes": len(raw),
                 "auth": "x-api-key" if self.headers.get("x-api-key") else ("bearer" if self.headers.get("authorization") else None),
                 "user_agent": self.headers.get("user-agent"), "anthropic_beta": self.headers.get("anthropic-beta"),
                 "retry_count": self.headers.get("x-stainless-retry-count"), "timeout": self.headers.get("x-stainless-timeout")}
        if path == "/v1/messages":
            tools = [t.get("name") for t in body.get("tools") or []]
            step, turn, prompt = conversation(body.get("messages") or [])
            main = bool(tools)
            with srv.lock:
                if main:
                    srv.n_main += 1
                n = srv.n_main
            entry.update(model=body.get("model"), stream=body.get("stream"), max_tokens=body.get("max_tokens"),
                         thinking=body.get("thinking"), output_config=body.get("output_config"), n_messages=len(body.get("messages") or []),
                         n_tools=len(tools), tools=tools, main=main, step=step, turn=turn, prompt_head=prompt[:120],
                         prompt_chars=len(prompt), system_tail=_system_text(body)[-160:])
        srv.log(entry)
        if path == "/v1/messages/count_tokens":
            return self._json(200, {"input_tokens": max(1, len(raw) // 4)})
        if path.startswith("/v1/models"):
            one = {"type": "model", "id": "claude-sonnet-4-5", "display_name": "Stub", "created_at": "2025-01-01T00:00:00Z"}
            return self._json(200, {"data": [one], "has_more": False, "first_id": one["id"], "last_id": one["id"]}
                              if path == "/v1/models" else dict(one, id=path.rsplit("/", 1)[1]))
        if path != "/v1/messages":
            return self._json(200, {})
        ctx = Ctx(body, dict(self.headers), step, turn, n, srv.cwd, prompt)
        reply = SCENARIOS[srv.scenario](ctx)
        if not main and not isinstance(reply, HttpError):
            reply = Message([text('{"title": "Stub title"}' if "title" in json.dumps(body)[:4000] else "ok")])
        self._reply(body, reply)

    def _reply(self, body: Dict[str, Any], r: Any):
        if isinstance(r, HttpError):
            return self._json(r.status, {"type": "error", "error": {"type": r.type, "message": r.message},
                                         "request_id": self._reqid}, r.headers, r.raw)
        if isinstance(r, Raw):
            if r.end == "drop":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if r.end == "hang":
                return self._end("hang")
            self._sse_head({})
            self._chunk(r.body)
            return self._end(r.end)
        usage = {"input_tokens": r.input_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1000,
                 "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                 "output_tokens": 1, "service_tier": "standard"}
        if r.output_tokens == 0:
            usage["output_tokens"] = 0
        msg = {"id": rid("msg_01", 22), "type": "message", "role": "assistant", "model": body.get("model"),
               "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        if not body.get("stream"):
            if r.cut_after is not None and r.cut_how == "error":
                return self._json(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"},
                                        "request_id": self._reqid})
            if r.cut_after is not None:
                self.close_connection = True
                return
            msg.update(content=r.blocks, stop_reason=r.resolved_stop(), usage=dict(usage, output_tokens=r.resolved_out()))
            return self._json(200, msg, r.headers)
        if r.first_delay:
            time.sleep(r.first_delay)
        self._sse_head(r.headers)
        n = 0
        for ev in _events(msg, r):
            if r.cut_after is not None and n >= r.cut_after:
                break
            n += 1
            self._chunk(b"event: %s\ndata: %s\n\n" % (ev["type"].encode(), json.dumps(ev, ensure_ascii=False).encode()))
            if r.delay:
                time.sleep(r.delay)
        if r.cut_after is None:
            return self._finish()
        if r.cut_how == "error":
            err = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": self._reqid}
            self._chunk(b"event: error\ndata: %s\n\n" % json.dumps(err).encode())
        self._end(r.cut_how)

    def _finish(self):
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _sse_head(self, headers: Dict[str, str]):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("cache-control", "no-cache")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("request-id", self._reqid)
        for k, v in headers.items():
            self.send_header(k, v)
        self.end_headers()

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError, OSError):
            self.close_connection = True

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _dispatch


def _system_text(body: Dict[str, Any]) -> str:
    s = body.get("system") or ""
    return s if isinstance(s, str) else "\n".join(b.get("text", "") for b in s)


def _events(msg: Dict[str, Any], r: Message):
    """The SSE events of a message, in the order the real API sends them."""
    yield {"type": "message_start", "message": msg}
    for i, b in enumerate(r.blocks):
        if b["type"] == "text":
            start, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": b["text"][k:k + r.chunk]}
                                                             for k in range(0, len(b["text"]), r.chunk)]
        elif b["type"] == "thinking":
            start = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": b["thinking"][k:k + r.chunk]}
                      for k in range(0, len(b["thinking"]), r.chunk)] + [{"type": "signature_delta", "signature": b["signature"]}]
        else:
            js = json.dumps(b["input"], ensure_ascii=False)
            start = dict(b, input={})
            deltas = [{"type": "input_json_delta", "partial_json": ""}] + \
                     [{"type": "input_json_delta", "partial_json": js[k:k + r.chunk]} for k in range(0, len(js), r.chunk)]
        yield {"type": "content_block_start", "index": i, "content_block": start}
        if i == 0:
            yield {"type": "ping"}
        for d in deltas:
            yield {"type": "content_block_delta", "index": i, "delta": d}
        yield {"type": "content_block_stop", "index": i}
    u = msg["usage"]
    yield {"type": "message_delta", "delta": {"stop_reason": r.resolved_stop(), "stop_sequence": None},
           "usage": {"input_tokens": u["input_tokens"], "cache_creation_input_tokens": u["cache_creation_input_tokens"],
                     "cache_read_input_tokens": u["cache_read_input_tokens"], "output_tokens": r.resolved_out()}}
    yield {"type": "message_stop"}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, scenario_name: str, cwd: str, logfile: Optional[str], host: str = "127.0.0.1"):
        super().__init__((host, port), Handler)
        self.scenario, self.cwd, self.logfile = scenario_name, cwd, logfile
        self.lock, self.requests, self.n_main, self.t0 = threading.Lock(), [], 0, time.time()

    def log(self, entry: Dict[str, Any]):
        with self.lock:
            self.requests.append(entry)
            if self.logfile:
                with open(self.logfile, "a", encoding="utf-8") as f:
                    f.write(json.dumps(entry) + "\n")

    def handle_error(self, request, client_address):  # client went away: not our problem
        pass


class StubServer:
    """Context manager for tests."""

    def __init__(self, scenario_name: str, port: int = 0, cwd: str = ".", logfile: Optional[str] = None,
                 host: str = "127.0.0.1"):
        self._srv = Server(port, scenario_name, os.path.abspath(cwd), logfile, host)
        self.port = self._srv.server_address[1]
        self.base_url = "http://%s:%d" % (host, self.port)

    @property
    def requests(self) -> List[Dict[str, Any]]:
        return self._srv.requests

    def set_scenario(self, name: str):
        self._srv.scenario = name

    def __enter__(self):
        self._t = threading.Thread(target=self._srv.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._t.start()
        return self

    def __exit__(self, *a):
        self._srv.shutdown()
        self._srv.server_close()


def main(argv: Optional[List[str]] = None) -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--port", type=int, default=0, help="0 = any free port (see READY line / --port-file)")
    ap.add_argument("--host", default="127.0.0.1", help="an address of this machine that pods reach")
    ap.add_argument("--scenario", default="ok", choices=sorted(SCENARIOS))
    ap.add_argument("--cwd", default=os.getcwd(), help="directory the scripted file tools refer to (the CLI's cwd)")
    ap.add_argument("--port-file", help="write the port number here once listening")
    ap.add_argument("--log", help="append one JSON line per request (no keys, no full bodies)")
    ap.add_argument("--list", action="store_true", help="list the scenarios and exit")
    a = ap.parse_args(argv)
    if a.list:
        for k in SCENARIOS:
            print("%-24s %s" % (k, DOC[k]))
        return 0
    srv = Server(a.port, a.scenario, a.cwd, a.log, a.host)
    port = srv.server_address[1]
    if a.port_file:
        with open(a.port_file + ".tmp", "w") as f:
            f.write(str(port))
        os.replace(a.port_file + ".tmp", a.port_file)
    print("READY %d %s" % (port, a.scenario), flush=True)
    try:
        srv.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
