"""A model of another server, asked like one of our own: a real server on loopback, good, bad, slow or gone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chat_server import KEY, Reply, Scripted

from nanochat.config.chat import SamplingConfig
from nanochat.engine import elsewhere
from nanochat.engine.backend import ChatBackend, Question
from nanochat.engine.client import RemoteSession
from nanochat.engine.elsewhere import ServerBackend
from nanochat.engine.events import TextDelta, Tokens, TurnFinished
from nanochat.errors import UsageError
from nanochat.runtime import openai_stream
from nanochat.runtime.openai import ServerError
from nanochat.tokenizer.conversation import Message, Part

HI = Message.text("user", "Hi")


def chunk(text: str | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason, **more}]}


def stream_of(*chunks: Any) -> bytes:
    lines = [": a comment\r\n\r\n", *(f"data: {json.dumps(value)}\n\n" for value in chunks), "data: [DONE]\n\n"]
    return "".join(lines).encode()


def streamed(*chunks: Any) -> Reply:
    return Reply(stream_of(*chunks), headers={"Content-Type": "text/event-stream; charset=utf-8"})


GOOD = streamed(
    {"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
    chunk("Hé"),
    chunk("llo"),
    chunk("", "stop"),
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}},
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_stream, "WAITS_S", (0.01, 0.02))


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[ServerBackend, Scripted]]]:
    running = []

    def start(*replies: Reply, model: str = "m", key: str = "") -> tuple[ServerBackend, Scripted]:
        scripted = Scripted(lambda number: replies[min(number, len(replies) - 1)])
        context = scripted.running()
        context.__enter__()
        running.append(context)
        return ServerBackend(scripted.url, model, key), scripted

    yield start
    for context in running:
        context.__exit__(None, None, None)


def said(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_a_conversation(serve: Any) -> None:
    backend, scripted = serve(GOOD, key=KEY)
    there: ChatBackend = backend
    config = SamplingConfig(temperature=0.5, top_k=7, min_p=0.1, seed=3, max_new_tokens=9, stop=("END",))
    session = RemoteSession(there, config, "Be brief.")
    events = list(session.ask("Hi"))
    end = events[-1]
    assert isinstance(end, TurnFinished) and said(events) == end.text == "Héllo"
    assert (end.tokens, end.prompt_tokens, end.stop_reason, end.ids) == (5, 7, "stop", ())
    assert end.time_to_first_token_s > 0
    list(session.ask("More"))
    first, second = scripted.requests
    assert (first["path"], first["key"], first["model"]) == ("/v1/chat/completions", f"Bearer {KEY}", "m")
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert [message["content"] for message in second["messages"]] == ["Be brief.", "Hi", "Héllo", "More"]
    wanted = {"temperature": 0.5, "top_k": 7, "min_p": 0.1, "seed": 3, "max_tokens": 9, "stop": ["END"], "stream": True}
    assert wanted.items() <= first.items() and not {"top_p", "repetition_penalty", "logprobs"} & set(first)
    assert backend.name == f"m at 127.0.0.1:{scripted.url.rpartition(':')[2]}"


def test_the_first_model_is_taken_where_none_is_named(serve: Any) -> None:
    backend, scripted = serve(GOOD, model="")
    backend.start()
    loaded = backend.wait(20)
    assert loaded and (loaded.place, loaded.context) == ("first-model", 0) and loaded.device in scripted.url
    assert backend.models() == ("first-model",)
    backend.switch("other")
    list(backend.ask(Question(messages=(HI,))))
    assert scripted.requests[0]["model"] == "other"


def test_samples_are_requests_with_seeds_of_their_own(serve: Any) -> None:
    backend, scripted = serve(GOOD)
    events = list(backend.ask(Question(messages=(HI,), config=SamplingConfig(seed=5), samples=3)))
    ends = [event for event in events if isinstance(event, TurnFinished)]
    assert sorted(end.sample for end in ends) == [0, 1, 2] and {end.text for end in ends} == {"Héllo"}
    assert sorted(request["seed"] for request in scripted.requests) == [5, 6, 7]
    one = [event.text for event in events if isinstance(event, TextDelta) and event.sample == 2]
    assert one == ["Hé", "llo"]


def test_tokens_with_their_alternatives(serve: Any) -> None:
    entry = {
        "token": "\ufffd",
        "bytes": [0xF0, 0x9F],
        "logprob": -0.5,
        "top_logprobs": [{"token": "b", "logprob": -1.5}, {"token": "c", "bytes": None, "logprob": "?"}],
    }
    backend, scripted = serve(streamed(chunk("a", logprobs={"content": [entry]}), chunk(None, "length")))
    question = Question(messages=(HI,), config=SamplingConfig(top_logprobs=30), tokens=True)
    tokens, _, end = backend.ask(question)
    assert isinstance(tokens, Tokens) and isinstance(end, TurnFinished) and end.stop_reason == "length"
    (token,) = tokens.tokens
    assert (token.id, token.data, token.text, token.logprob) == (None, b"\xf0\x9f", "\\xf0\\x9f", -0.5)
    assert [(other.text, other.logprob) for other in token.top] == [("b", -1.5), ("c", 0.0)]
    assert (scripted.requests[0]["logprobs"], scripted.requests[0]["top_logprobs"]) == (True, 20)


def test_tokens_that_are_halves_of_characters(serve: Any) -> None:
    logprobs = {"tokens": ["\ud800"], "token_logprobs": [-0.5], "top_logprobs": [{"\udfff": -1.5}]}
    backend, _ = serve(streamed({"choices": [{"text": "a", "logprobs": logprobs, "finish_reason": "stop"}]}))
    tokens, *_ = backend.ask(Question(text="Hi", config=SamplingConfig(top_logprobs=1), tokens=True))
    (token,) = tokens.tokens
    assert (token.data, token.top[0].data) == (b"?", b"?")


def test_plain_text_goes_on(serve: Any) -> None:
    logprobs = {"tokens": [" time"], "token_logprobs": [-0.25], "top_logprobs": [{" day": -2.0}]}
    backend, scripted = serve(streamed({"choices": [{"text": " time", "logprobs": logprobs, "finish_reason": "stop"}]}))
    events = list(backend.ask(Question(text="Once upon a", tokens=True)))
    assert said(events) == " time"
    token = events[0].tokens[0]
    assert (token.text, token.logprob, token.top[0].text) == (" time", -0.25, " day")
    assert scripted.requests[0]["path"] == "/v1/completions" and scripted.requests[0]["prompt"] == "Once upon a"


def test_an_answer_that_comes_as_a_whole(serve: Any) -> None:
    whole = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}], "usage": None}
    backend, _ = serve(Reply(json.dumps(whole).encode(), headers={"Content-Type": "application/json"}))
    assert said(list(backend.ask(Question(messages=(HI,))))) == "Hello"


def test_the_speed_of_an_answer_that_comes_as_a_whole(serve: Any) -> None:
    def slowly(handler: Any) -> None:
        time.sleep(0.2)
        body = json.dumps({"choices": [{"message": {"content": "Hi"}}], "usage": {"completion_tokens": 10}}).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    backend, _ = serve(Reply(b"", act=slowly))
    end = list(backend.ask(Question(messages=(HI,))))[-1]
    assert isinstance(end, TurnFinished) and 0 < end.tokens_per_s <= 50


def test_a_server_that_knows_no_stream_options(serve: Any) -> None:
    backend, scripted = serve(Reply(b'{"error": "unknown field: stream_options"}', 400), GOOD)
    assert said(list(backend.ask(Question(messages=(HI,))))) == "H\u00e9llo"
    assert ["stream_options" in request for request in scripted.requests] == [True, False]
    assert said(list(backend.ask(Question(messages=(HI,))))) == "H\u00e9llo"
    assert ["stream_options" in request for request in scripted.requests[2:]] == [False], "that is remembered"


def test_to_be_asked_without_stream_options_is_no_try_and_waits_for_nothing(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, busy = Reply(b'{"error": "unknown field: stream_options"}', 400), Reply(b"", 503)
    backend, scripted = serve(refused, busy, busy, GOOD)
    assert said(list(backend.ask(Question(messages=(HI,))))) == "H\u00e9llo" and len(scripted.requests) == 4
    monkeypatch.setattr(openai_stream, "WAITS_S", (30.0, 30.0))
    backend, _ = serve(refused, GOOD)
    began = time.perf_counter()
    assert said(list(backend.ask(Question(messages=(HI,))))) == "H\u00e9llo" and time.perf_counter() - began < 10


def test_a_server_whose_list_of_models_is_broken(serve: Any) -> None:
    for reply in (Reply(b"Internal Server Error", 500), Reply(b'{"data": []}'), Reply(b'{"object": "list"}')):
        backend, scripted = serve(GOOD)
        scripted.models = reply
        assert said(list(backend.ask(Question(messages=(HI,))))) == "H\u00e9llo", "it is named, and that is enough"
        nameless = ServerBackend(scripted.url)
        with pytest.raises(ServerError, match="does not say which models it has") as caught:
            nameless.wait(20)
        assert "name one" in caught.value.hint


def test_a_name_is_enough_where_the_list_is_refused_or_never_comes(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(handler: Any) -> None:
        handler.connection.settimeout(20)
        handler.connection.recv(1)  # until the other side has had enough

    for name in ("NAMED_LIST_S", "LIST_S"):
        monkeypatch.setattr(elsewhere, name, 0.2)
    for reply, trouble in (
        (Reply(b"not yours", 403), "status 403"),
        (Reply(b"", act=hang), "does not list its models"),
    ):
        backend, scripted = serve(GOOD)
        scripted.models = reply
        assert said(list(backend.ask(Question(messages=(HI,))))) == "H\u00e9llo"
        nameless = ServerBackend(scripted.url)
        with pytest.raises(ServerError, match=trouble):
            nameless.wait(20)


def test_stopping_closes_the_connection_at_once(serve: Any) -> None:
    gone = threading.Event()

    def act(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(f"data: {json.dumps(chunk('so far'))}\n\n".encode())
        handler.wfile.flush()
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            gone.set()

    backend, _ = serve(Reply(b"", act=act))
    reply = backend.ask(Question(messages=(HI,)))
    events = iter(reply)
    assert next(events) == TextDelta("so far")
    began = time.perf_counter()
    threading.Timer(0.05, reply.stop).start()
    (end,) = events
    assert isinstance(end, TurnFinished) and (end.text, end.stop_reason) == ("so far", "cancelled")
    assert end.tokens_per_s == 0, "nobody knows after one piece"
    assert gone.wait(10) and time.perf_counter() - began < 5

    asked, silent = threading.Event(), threading.Event()

    def wait(handler: Any) -> None:
        asked.set()
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            silent.set()

    backend, _ = serve(Reply(b"", act=wait))  # before the first word, in the middle of the prompt
    reply = backend.ask(Question(messages=(HI,)))
    threading.Thread(target=lambda: (asked.wait(20), reply.stop())).start()
    assert [event.stop_reason for event in reply if isinstance(event, TurnFinished)] == ["cancelled"]
    assert silent.wait(10)


@pytest.mark.parametrize(
    ("replies", "message", "hint"),
    [
        ((Reply(b'{"error": "no\x1bkey"}', 401),), "refuses: status 401", "set OPENAI_API_KEY"),
        ((Reply(b"no such model", 404),), "refuses: status 404", "check --url and MODEL"),
        ((Reply(b"", 503, {"Retry-After": "0"}),), "no answer in 3 tries: status 503", "try again later"),
        (
            (Reply(b'{"detail": "Unexpected fields in the request: {\'top_k\'}"}', 422),),
            "status 422 \"Unexpected fields in the request: {'top_k'}\"",
            "not sent: leave out top_k",
        ),
        ((Reply(b'{"error": {"message": "pinned to another", "code": 7}}', 400),), "400 'pinned to another'", "MODEL"),
        (
            (streamed(chunk("a"), {"error": {"message": "out of \x1b memory"}}),),
            r"server failed: .*memory",
            "ask again",
        ),
        ((Reply(b"<html>", 200, {"Content-Type": "text/html"}),), "no answer in 3 tries", "try again later"),
    ],
)
def test_what_goes_wrong_is_said_in_two_lines(serve: Any, replies: Any, message: str, hint: str) -> None:
    backend, _ = serve(*replies, key=KEY)
    session = RemoteSession(backend, SamplingConfig(top_k=5))
    with pytest.raises(ServerError, match=message) as caught:
        list(session.ask("Hi"))
    assert hint in caught.value.hint and session.messages == ()
    assert KEY not in caught.value.message and "\x1b" not in caught.value.message and "\n" not in caught.value.message


def test_a_server_that_is_loading_is_asked_again(serve: Any) -> None:
    backend, scripted = serve(Reply(b"", 503, {"Retry-After": "0"}), GOOD)
    assert said(list(backend.ask(Question(messages=(HI,))))) == "Héllo"
    assert len(scripted.requests) == 2


def test_a_connection_that_breaks_in_the_middle(serve: Any) -> None:
    def act(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(f"data: {json.dumps(chunk('so far'))}\n\n".encode())
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    backend, scripted = serve(Reply(b"", act=act))
    events = []
    with pytest.raises(ServerError, match="broke off"):
        for event in backend.ask(Question(messages=(HI,))):
            events.append(event)
    assert said(events) == "so far" and len(scripted.requests) == 1, "what was shown is not begun anew"


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    backend = ServerBackend(url, "m")
    with pytest.raises(ServerError, match="nothing answers at"):
        list(backend.ask(Question(messages=(HI,))))
    with pytest.raises(ServerError, match="nothing answers at"):
        backend.wait(20)


def test_what_only_our_own_models_can_is_refused() -> None:
    backend = ServerBackend("http://127.0.0.1:1", "m")
    refused: list[Callable[[], object]] = [
        lambda: backend.ask(Question(messages=(HI,), prefix=(1, 2))),
        lambda: backend.ask(Question(messages=(HI,), config=SamplingConfig(logit_bias=((1, 2.0),)))),
        lambda: backend.count((HI,)),
        lambda: backend.examine("text"),
        lambda: ServerBackend("http://h", key="two\nlines"),
        lambda: ServerBackend("ftp://h"),
        lambda: ServerBackend("localhost:8080"),
    ]
    for call in refused:
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.hint


def test_halves_of_characters_and_tool_calls_are_no_text(serve: Any) -> None:
    backend, scripted = serve(streamed(chunk("\ud800ok", "stop")))
    answer = Message("assistant", (Part("python", "1+1"), Part("output", "2"), Part("text", "two")))
    events = list(backend.ask(Question(messages=(Message.text("user", "\udc80?"), answer, HI))))
    assert said(events) == "\ufffdok"
    assert [message["content"] for message in scripted.requests[0]["messages"]] == ["\ufffd?", "two", "Hi"]


def test_front_ends_load_neither_torch_nor_a_network_library() -> None:
    code = """
import sys
import nanochat.engine.client, nanochat.engine.elsewhere, nanochat.runtime.safe_text
print({"torch", "numpy", "httpx2", "nanochat.engine.engine"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
