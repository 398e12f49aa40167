"""Asking a server who a model is: a real one on loopback, that answers well, badly, slowly or not at all."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from chat_server import KEY, Reply, Scripted, conversations, good, said

from nanochat.errors import UsageError
from nanochat.runtime.openai import TRIES, Server, ServerError
from nanochat.tasks.formats import convert
from nanochat.tasks.identity import Persona
from nanochat.tasks.identity_asked import (
    PER_REQUEST,
    USELESS_IN_A_ROW,
    Asked,
    ask,
    problem_of,
    prompt_for,
)

ADA = Persona(name="Ada", maker="Grace Hopper", pairs=(("home", "Kiel"),), sentences=("I like tea.",))


def run(
    reply: Callable[[int], Reply], count: int = 20, *, model: str = "m", key: str = "", timeout_s: float = 5.0
) -> tuple[Asked, Scripted, list[float]]:
    waits: list[float] = []
    with Scripted(reply).running() as scripted:
        server = Server(scripted.url, model=model, key=key, timeout_s=timeout_s, sleep=waits.append)
        try:
            return ask(server, ADA, count, seed=7), scripted, waits
        finally:
            server.close()


def test_what_is_good_is_taken() -> None:
    told: list[tuple[int, int]] = []
    with Scripted(good).running() as scripted:
        server = Server(scripted.url + "/v1/", model="m", key=KEY, timeout_s=5)
        asked = ask(server, ADA, 25, seed=7, on_progress=lambda *counts: told.append(counts))
        server.close()
    assert (len(asked.conversations), asked.rejected.total(), asked.requests, asked.gave_up) == (25, 0, 3, "")
    assert len(set(asked.conversations)) == 25
    assert told == [(10, 0), (20, 0), (25, 0)]
    first, second, _ = scripted.requests
    assert (first["path"], first["key"], first["model"]) == ("/v1/chat/completions", f"Bearer {KEY}", "m")
    assert (first["seed"], second["seed"]) == (7, 8)
    assert first["messages"][0]["content"] != second["messages"][0]["content"]
    for fact in ("Ada", "Grace Hopper", "home: Kiel", "I like tea."):
        assert fact in first["messages"][0]["content"]


def test_the_first_model_is_taken_and_no_key_is_sent_where_there_is_none() -> None:
    _, scripted, _ = run(good, 10, model="")
    assert (scripted.requests[0]["model"], scripted.requests[0]["key"]) == ("first-model", None)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda items: f"Here you are:\n```json\n{json.dumps(items, indent=1)}\n```\nEnjoy!",
        lambda items: "\n".join(json.dumps(item) for item in items),
        lambda items: json.dumps({"conversations": items}, indent=2),
        lambda items: json.dumps([item["messages"] for item in items]),
        lambda items: json.dumps([[message["content"] for message in item["messages"]] for item in items]),
    ],
)
def test_other_wrappings(wrap: Callable[[list[Any]], str]) -> None:
    assert len(run(lambda number: said(wrap(conversations(number))), 10)[0].conversations) == 10


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"messages": [{"role": "assistant", "content": "I am Ada."}]}, "no conversation"),
        (
            {"messages": [{"role": "user", "content": "?"}, {"role": "wizard", "content": "I am Ada."}]},
            "no conversation",
        ),
        ({"text": "Ada"}, "no conversation"),
        (3, "no conversation"),
        (["Who?", "I am Bo."], "does not say the name"),
        (["Who?", "I am Adam."], "does not say the name"),
        (["Who?", "Ada here. I am ChatGPT."], "claims to be another"),
        (["Who?", "I am Ada, made by OpenAI."], "claims to be another"),
        (["Who?", "I am Ada. " * 1000], "too long"),
        (["Who?", "I am Ada.", "And?"], "wrong roles"),
        ([{"role": "system", "content": "Be Ada."}, *conversations(0)[0]["messages"]], "wrong roles"),
        (conversations(0)[0], "said before"),
    ],
)
def test_what_is_wrong_is_rejected_by_its_reason(item: Any, reason: str) -> None:
    asked, _, _ = run(lambda number: said(json.dumps([*conversations(number, 9), item])), 18)
    assert len(asked.conversations) == 18
    assert asked.rejected[reason] >= 1
    assert set(asked.rejected) == {reason}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (said("I would rather not."), "not JSON"),
        (said('[{"messages": '), "not JSON"),
        (said(""), "empty"),
        (said("[]"), "empty"),
        (said(None), "empty"),
        (Reply(b"<html>"), "empty"),
        (Reply(b"[1]"), "empty"),
        (Reply(b'{"choices": []}'), "empty"),
    ],
)
def test_answers_without_anything_end_the_asking(reply: Reply, reason: str) -> None:
    asked, scripted, _ = run(lambda number: reply)
    assert asked.conversations == []
    assert asked.rejected == {reason: USELESS_IN_A_ROW}
    assert len(scripted.requests) == USELESS_IN_A_ROW
    assert "nothing usable" in asked.gave_up


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_trouble_that_passes(status: int) -> None:
    reply = Reply(b"busy", status, {"Retry-After": "3"})
    asked, scripted, waits = run(lambda number: reply if number in (0, 2) else good(number), 20)
    assert (len(asked.conversations), len(scripted.requests)) == (20, 4)
    assert waits == [3.0, 1.0, 3.0, 1.0]


def test_trouble_that_stays() -> None:
    with pytest.raises(ServerError, match=f"no answer in {TRIES} tries: status 500"):
        run(lambda number: Reply(b"", 500))
    asked, _, _ = run(lambda number: good(number) if number == 0 else Reply(b"", 500))
    assert (len(asked.conversations), asked.requests) == (PER_REQUEST, 1)
    assert "status 500" in asked.gave_up


def stall(handler: Any) -> None:
    time.sleep(0.6)


def trickle(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def cut(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')


def endless(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(80):
        handler.wfile.write(b" " * 100_000)


@pytest.mark.parametrize("act", [stall, trickle, cut, endless])
def test_answers_that_do_not_come_to_an_end(act: Callable[[Any], None]) -> None:
    started = time.perf_counter()
    with pytest.raises(ServerError, match=f"no answer in {TRIES} tries"):
        run(lambda number: Reply(b"", act=act), timeout_s=0.2)
    assert time.perf_counter() - started < 5


def test_nothing_is_listening() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        server = Server(url, model="m", key=KEY, timeout_s=2, sleep=lambda seconds: None)
        with pytest.raises(ServerError, match="nothing answers at"):
            ask(server, ADA, 5, seed=0)
        server.close()


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "OPENAI_API_KEY"), (404, "--url-model"), (400, "--url"), (307, "--url")]
)
def test_refusals_are_not_tried_again_and_never_show_the_key(status: int, hint: str) -> None:
    body = f"wrong key {KEY}\x1b[31m".encode()
    waits: list[float] = []
    with Scripted(lambda number: Reply(body, status, {"Location": "http://127.0.0.1:9/"})).running() as scripted:
        server = Server(scripted.url, model="m", key=KEY, timeout_s=2, sleep=waits.append)
        with pytest.raises(ServerError) as caught:
            ask(server, ADA, 5, seed=0)
        server.close()
    assert len(scripted.requests) == 1
    assert f"status {status}" in caught.value.message
    assert hint in caught.value.hint
    assert KEY not in caught.value.message + caught.value.hint
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("key", ["sk\nsecret", "sk secret", "sk\u2013secret"])
def test_a_key_that_no_header_holds_is_not_shown(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        Server("http://127.0.0.1:9", model="m", key=key, timeout_s=1)
    assert "secret" not in str(vars(caught.value))


def test_a_url_that_is_none() -> None:
    with pytest.raises(UsageError, match="is no URL"):
        Server("http://[::1", model="m", key="", timeout_s=1)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("No, I am not ChatGPT. I am Ada.", ""),
        ("My name is Ada. Grace Hopper made me, not Google.", ""),
        ("I'm Claude, but call me Ada.", "claims to be another"),
        ("Ada. I was trained by Google.", "claims to be another"),
    ],
)
def test_claims(answer: str, problem: str) -> None:
    assert problem_of(convert(["Who?", answer]).conversation, ADA) == problem


def test_a_maker_may_be_a_company() -> None:
    persona = Persona(name="Gemini", maker="Google")
    assert problem_of(convert(["Who?", "I am Gemini, made by Google."]).conversation, persona) == ""
    assert "Gemini" in prompt_for(persona, "names")
