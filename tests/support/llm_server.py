"""A loopback server with the HTTP protocol of OpenAI chat completions and batches, and with faults on request.

It runs in a thread of the tests, or as a separate process:

    python tests/support/llm_server.py --log LOG --settings '{"fault_share": 0.2}'

It prints its address. Its log has one entry when a request arrives and one when it is answered, so that tests count by
the requests at the server and not by the reports of the client.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

MIXED = ("429", "429_after", "500", "503", "slow", "cut", "cut_body", "not_json", "no_choices")
"""Faults after which a retry succeeds."""


@dataclass
class ServerSettings:
    """Behaviour of the server. `script` lists the faults of the first requests in order; "ok" is none."""

    script: list[str] = field(default_factory=list)
    fault_share: float = 0.0
    faults: Sequence[str] = MIXED
    seed: int = 0
    forms: Sequence[str] = ("json_schema", "json_object")
    bounds: Sequence[str] = ("max_tokens", "max_completion_tokens")
    model: str = "tiny"
    key: str | None = None
    latency_seconds: float = 0.0
    slow_seconds: float = 0.2
    rpm: int | None = None
    """Requests per minute: enforced as a bucket that refills evenly, and reported in headers."""
    quota: int | None = None
    counts_tokens: bool = True
    batch_script: list[str] = field(default_factory=list)
    refused: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that the server refuses, each with its message, or with the whole body of the response.

    `system` is the role of a message; `json_schema` and `json_object` are forms.
    """
    refusal_status: int = 400
    quiet: bool = False
    """Write no log, to measure memory over many requests."""


Answerer = Callable[[Mapping[str, Any]], str]
Opinionated = Callable[[Mapping[str, Any]], bool]


def contradict(item: Mapping[str, Any]) -> str:
    """Return a correct negative of a text with an auxiliary verb."""
    text = str(item["entailment"])
    for old, new in ((" is not ", " is "), (" are not ", " are "), (" is ", " is not "), (" are ", " are not ")):
        if old in text:
            return text.replace(old, new, 1)
    return f"Nobody {text[0].lower()}{text[1:]}"


class LlmServer:
    """The server in its own thread: `with LlmServer(...) as server`."""

    def __init__(
        self,
        settings: ServerSettings | None = None,
        *,
        answer: Answerer = contradict,
        judge: Opinionated = lambda _: True,
        wrap: Callable[[str], Any] = lambda text: text,
        log: Path | None = None,
    ) -> None:
        self.settings = settings or ServerSettings()
        self.answer = answer
        self.judge = judge
        self.wrap = wrap
        """Changes the content of an answer; a dict replaces fields of the message or of the choice."""
        self.judged: list[Mapping[str, Any]] = []
        """The items of the requests to the judge, in order."""
        self.log_path = log
        self.log: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.n_chats = 0
        self.url = ""
        self._level, self._leaked_at = 0.0, time.monotonic()
        self._thread: threading.Thread | None = None
        self._loop = asyncio.new_event_loop()
        self._sink = log.open("a", buffering=1, encoding="utf-8") if log else None
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}

    # ----------------------------------------------------------------------------------------------------- running

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join(10)
        self._loop.close()
        if self._sink is not None:
            self._sink.close()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self.start())
        started.set()
        self._loop.run_forever()

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=300 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._download)
        app.router.add_post("/v1/batches", self._create_batch)
        app.router.add_get("/v1/batches", self._list_batches)
        app.router.add_get("/v1/batches/{id}", self._retrieve_batch)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[attr-defined]

    async def _stop(self) -> None:
        await self._runner.cleanup()

    def _note(self, **entry: Any) -> None:
        if self.settings.quiet:
            return
        entry["time"] = time.time()
        if self._sink is None:
            self.log.append(entry)
        else:
            self._sink.write(json.dumps(entry) + "\n")

    # -------------------------------------------------------------------------------------------- chat completions

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        name = hashlib.sha256(raw).hexdigest()[:24]
        number, self.n_chats = self.n_chats, self.n_chats + 1
        nth = 0
        if not self.settings.quiet:
            self.counts[name] += 1
            nth = self.counts[name]
        self._note(event="arrive", number=number, name=name, nth=nth)
        fault = self._refusal(request, body) or self._fault(name, nth, number)
        if self.settings.latency_seconds:
            await asyncio.sleep(self.settings.latency_seconds)
        refused = next((name for name in settings_names(body) if name in self.settings.refused), None)
        if refused is not None and fault is None:
            fault = f"refused {refused}"
            message = self.settings.refused[refused]
            payload = {"error": {"message": message}} if isinstance(message, str) else message
            response: web.StreamResponse = web.json_response(payload, status=self.settings.refusal_status)
        else:
            response = await self._respond(request, body, fault)
        self._note(event="answer", number=number, name=name, did=fault or "ok")
        return response

    def _refusal(self, request: web.Request, body: Mapping[str, Any]) -> str | None:
        """Return the error of a real server for this request, None for a valid one."""
        settings = self.settings
        if settings.key is not None and request.headers.get("Authorization") != f"Bearer {settings.key}":
            return "401"
        if body["model"] != settings.model:
            return "404"
        if settings.quota is not None and self.n_chats > settings.quota:
            return "quota"
        response_format = body.get("response_format")
        if response_format is not None and response_format["type"] not in settings.forms:
            return "400_form"
        if any(name in body and name not in settings.bounds for name in ("max_tokens", "max_completion_tokens")):
            return "400_bound"
        return None if self._has_room() else "429_after"

    def _has_room(self) -> bool:
        if self.settings.rpm is None:
            return True
        now = time.monotonic()
        self._level = max(0.0, self._level - (now - self._leaked_at) * self.settings.rpm / 60)
        self._leaked_at = now
        if self._level + 1 > self.settings.rpm:
            return False
        self._level += 1
        return True

    def _fault(self, name: str, nth: int, number: int) -> str | None:
        """Return the fault of a request: by the script, or by a hash of the request and its number of arrivals."""
        if number < len(self.settings.script):
            scripted = self.settings.script[number]
            return None if scripted == "ok" else scripted
        if not self.settings.fault_share:
            return None
        chance = random.Random(f"{self.settings.seed} {name} {nth}")
        return chance.choice(list(self.settings.faults)) if chance.random() < self.settings.fault_share else None

    async def _respond(self, request: web.Request, body: Mapping[str, Any], fault: str | None) -> web.StreamResponse:
        if fault in ERRORS:
            status, headers, error = ERRORS[fault]
            message = error["message"].format(key=request.headers.get("Authorization", ""), **body)
            return web.json_response({"error": {**error, "message": message}}, status=status, headers=headers)
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault in BODIES:
            text = BODIES[fault]
            return web.Response(text=text, content_type="text/html" if text.startswith("<") else "application/json")
        if fault in ("slow", "hang"):
            await asyncio.sleep(self.settings.slow_seconds if fault == "slow" else 3600)
        whole = completion(body, self._content(body, fault), fault, self.settings.counts_tokens)
        self._wrap(whole)
        payload = json.dumps(whole)
        if fault == "stream":
            return web.Response(text=as_stream(whole), content_type="text/event-stream")
        if fault == "broken_json":
            payload = payload[: len(payload) // 2]
        if fault == "cut_body":
            return await self._half(request, payload)
        return web.Response(text=payload, content_type="application/json", headers=self._rate_headers())

    def _wrap(self, whole: dict[str, Any]) -> None:
        for choice in whole["choices"]:
            changed = self.wrap(choice["message"]["content"] or "")
            if isinstance(changed, dict):
                choice |= {name: value for name, value in changed.items() if name == "finish_reason"}
                choice["message"] |= {name: value for name, value in changed.items() if name != "finish_reason"}
            elif choice["message"]["content"] is not None:
                choice["message"]["content"] = changed

    async def _half(self, request: web.Request, payload: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(payload))})
        await response.prepare(request)
        await response.write(payload[: len(payload) // 2].encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    def _rate_headers(self) -> dict[str, str]:
        if self.settings.rpm is None:
            return {}
        left = int(self.settings.rpm - self._level)
        return {
            "x-ratelimit-limit-requests": str(self.settings.rpm),
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": f"{1000 * 60 * self._level / self.settings.rpm:.0f}ms",
        }

    def _content(self, body: Mapping[str, Any], fault: str | None) -> str | None:
        """Return the answer of a model in the requested form, or a bad answer for a fault."""
        if fault == "refusal":
            return None
        lines = body["messages"][-1]["content"].splitlines()
        items = [json.loads(line) for line in lines if line.startswith("{")]
        is_text = "response_format" not in body
        if "negative" in items[0] and fault is None:
            self.judged.append(items[0])
            return opine(self.judge(items[0]), is_text=is_text)
        return say(items, self.answer, is_text=is_text, fault=fault)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.settings.model, "object": "model"}]})

    # ---------------------------------------------------------------------------------------------------- batches

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        sent = form["file"]
        assert isinstance(sent, web.FileField)
        name = f"file-{len(self.files)}"
        self.files[name] = sent.file.read()
        self._note(event="upload", id=name, lines=self.files[name].count(b"\n"), size=len(self.files[name]))
        return web.json_response({"id": name, "object": "file", "bytes": len(self.files[name]), "purpose": "batch",
                                  "created_at": 0, "filename": "x.jsonl", "status": "processed"})  # fmt: skip

    async def _download(self, request: web.Request) -> web.Response:
        self._note(event="download", id=request.match_info["id"])
        return web.Response(body=self.files[request.match_info["id"]], content_type="application/octet-stream")

    async def _create_batch(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"batch-{len(self.batches)}"
        scripts = self.settings.batch_script
        script = scripts[len(self.batches)] if len(self.batches) < len(scripts) else "ok"
        self._note(event="batch", id=name, script=script, keys=len(self.files[body["input_file_id"]].splitlines()))
        self.batches[name] = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"],
            "completion_window": "24h", "status": "validating", "created_at": int(time.time()),
            "metadata": body.get("metadata"), "output_file_id": None, "error_file_id": None, "errors": None,
            "script": script,
        }  # fmt: skip
        if script == "cut_create":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(self.batches[name])

    async def _list_batches(self, request: web.Request) -> web.Response:
        batches = list(self.batches.values())[::-1]
        return web.json_response({"object": "list", "data": batches, "has_more": False})

    async def _retrieve_batch(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        steps = {"validating": "in_progress", "in_progress": "finalizing"}
        if batch["script"] == "stuck":
            batch["status"] = "in_progress"
        elif batch["status"] in steps:
            batch["status"] = steps[batch["status"]]
        elif batch["status"] == "finalizing":
            self._finish_batch(batch)
        self._note(event="poll", id=batch["id"], status=batch["status"])
        return web.json_response(batch)

    def _finish_batch(self, batch: dict[str, Any]) -> None:
        script = batch["script"]
        if script in ("failed", "token_limit"):
            code = "token_limit_exceeded" if script == "token_limit" else "invalid_json_line"
            data = [{"code": code, "message": f"it failed: {code}", "line": 1, "param": None}]
            batch |= {"status": "failed", "errors": {"object": "list", "data": data}}
            return
        rows = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        done: list[Any] = []
        failed: list[Any] = []
        if script == "strange":
            done = [{"custom_id": "other", "response": {"status_code": 200, "body": {}}}, "broken"]
        for place, row in enumerate(rows):
            body = row["body"]
            kind = row_outcome(script, place, len(rows), self._refused_form(body))
            if kind == "ok":
                whole = completion(body, self._content(body, None), None, self.settings.counts_tokens)
                self._wrap(whole)
                answer = whole if script == "unwrapped" else {"status_code": 200, "request_id": "r", "body": whole}
                done.append({"id": f"r{place}", "custom_id": row["custom_id"], "response": answer, "error": None})
            elif kind in ERRORS:
                status, _, error = ERRORS[kind]
                answer = {"status_code": status, "request_id": "r", "body": {"error": error}}
                failed.append({"id": "r", "custom_id": row["custom_id"], "response": answer, "error": None})
            elif kind != "lost":
                error = {"code": kind, "message": kind}
                failed.append({"id": "r", "custom_id": row["custom_id"], "response": None, "error": error})
        random.Random(self.settings.seed).shuffle(done)
        for name, lines in (("output", done), ("error", failed)):
            if lines:
                batch[f"{name}_file_id"] = f"{batch['id']}-{name}"
                text = "".join(("{broken" if line == "broken" else json.dumps(line)) + "\n" for line in lines)
                self.files[f"{batch['id']}-{name}"] = text.encode()
        batch["status"] = {"expired": "expired", "cancelled": "cancelled"}.get(script, "completed")

    def _refused_form(self, body: Mapping[str, Any]) -> bool:
        return "response_format" in body and body["response_format"]["type"] not in self.settings.forms


def row_outcome(script: str, place: int, n_rows: int, is_refused: bool) -> str:
    """Return the result of a row of a batch."""
    if is_refused:
        return "400_form"
    if script in ("all_failed", "empty", "strange"):
        return "500" if script == "all_failed" else "lost"
    if place < n_rows // 2:
        return "ok"
    return {"expired": "batch_expired", "cancelled": "batch_cancelled", "partly_failed": "500", "lost": "lost"}.get(
        script, "ok"
    )


ERRORS: dict[str, tuple[int, dict[str, str], dict[str, Any]]] = {
    "429": (429, {}, {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}),
    "429_after": (
        429,
        {"retry-after-ms": "150", "Retry-After": "1"},
        {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"},
    ),
    "500": (500, {}, {"message": "The server had an error", "type": "server_error", "code": None}),
    "503": (503, {}, {"message": "Overloaded", "type": "server_error", "code": None}),
    "400": (400, {}, {"message": "this text is not allowed", "type": "invalid_request_error", "code": None}),
    "400_form": (
        400,
        {},
        {"message": "response_format is not supported", "type": "invalid_request_error", "code": "unsupported_value"},
    ),
    "400_bound": (
        400,
        {},
        {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'", "code": "unsupported_parameter",
         "type": "invalid_request_error"},
    ),
    "401": (401, {}, {"message": "Incorrect API key provided: {key}", "type": "invalid_request_error",
                      "code": "invalid_api_key"}),
    "404": (404, {}, {"message": "The model {model} does not exist", "type": "invalid_request_error",
                      "code": "model_not_found"}),
    "quota": (429, {}, {"message": "You exceeded your current quota", "type": "insufficient_quota",
                        "code": "insufficient_quota"}),
}  # fmt: skip


BODIES = {
    "not_json": "<html>bad gateway</html>",
    "login": "<!DOCTYPE html><html><head><title>Sign in</title></head><body></body></html>",
    "empty_body": "",
    "null_choices": '{"id": "x", "choices": null}',
    "busy_200": '{"error": {"message": "The model is overloaded", "type": "server_error"}}',
    "rate_200": '{"error": {"code": 429, "message": "Too many requests"}}',
    "base_resp": '{"base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded"}, "choices": null}',
    "key_200": '{"error": "Invalid API key", "success": false}',
    "error_choice": '{"choices": [{"finish_reason": "error", "message": {"content": ""}}]}',
}
"""Bodies with status 200 that are no completions."""


def settings_names(body: Mapping[str, Any]) -> list[str]:
    """Return the names in a request that a server may refuse."""
    roles = [message["role"] for message in body["messages"]]
    return [*body, *roles, *([body["response_format"]["type"]] if "response_format" in body else [])]


def as_stream(whole: Mapping[str, Any]) -> str:
    """Return a completion as a stream of events."""
    (choice,) = whole["choices"]
    content = choice["message"]["content"]
    deltas = [{"role": "assistant"}, {"content": content[:5]}, {"content": content[5:]}]
    chunks: list[Any] = [{"model": whole["model"], "choices": [{"delta": delta}]} for delta in deltas]
    chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": whole["usage"]}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def opine(contradicts: bool, *, is_text: bool) -> str:
    """Return an answer of a judge."""
    why = "both cannot be" if contradicts else "both may be"
    if is_text:
        return f"{'Yes' if contradicts else 'No'}: {why}"
    return json.dumps({"reason": why, "contradicts": contradicts})


def say(items: Sequence[Mapping[str, Any]], answer: Answerer, *, is_text: bool, fault: str | None) -> str:
    """Return the answer of a model to the given items."""
    negatives = [answer(item) for item in items]
    if fault == "bad_content":
        return "Sure! Here is what you asked for."
    if fault == "echo":
        negatives = [str(item["entailment"]) for item in items]
    numbers = range(1, len(items) + 1)
    if fault == "wrong_count":
        numbers, negatives = range(1, len(items)), negatives[:-1]
    if is_text:
        many = [f"{number}. {negative}" for number, negative in zip(numbers, negatives, strict=True)]
        return "\n".join(many if len(items) > 1 else negatives)
    if len(items) == 1:
        content = json.dumps({"negative": negatives[0]} if negatives else {"answer": None})
    else:
        pairs = [{"id": number, "negative": text} for number, text in zip(numbers, negatives, strict=True)]
        content = json.dumps({"negatives": pairs[::-1]})
    return content[: len(content) // 2] if fault == "truncated" else content


def completion(body: Mapping[str, Any], content: str | None, fault: str | None, counts: bool) -> dict[str, Any]:
    """Return a chat completion."""
    reply = {"role": "assistant", "content": content, "refusal": "I cannot help with that." if not content else None}
    finish = {"truncated": "length", "filtered": "content_filter"}.get(fault or "", "stop")
    n_in = sum(len(message["content"]) for message in body["messages"]) // 4
    n_out = len(content or "") // 4 + 1
    usage = {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out}
    choices = [] if fault == "no_choices" else [{"index": 0, "message": reply, "finish_reason": finish}]
    value = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": choices}
    return value | ({"usage": usage} if counts else {})


async def _serve(settings: ServerSettings, log: Path | None, port: int) -> None:
    server = LlmServer(settings, log=log)
    await server.start(port)
    print(server.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(_serve(ServerSettings(**arguments.settings), arguments.log, arguments.port))
