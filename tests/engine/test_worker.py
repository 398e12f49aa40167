"""A model in a process of its own: quick to ask, quick to stop, gone with its parent, back after a crash."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from doubles import random_model, tiny_tokenizer

from nanochat.checkpoints.store import save_checkpoint
from nanochat.config.chat import SamplingConfig
from nanochat.engine.backend import Question
from nanochat.engine.client import RemoteSession, Worker
from nanochat.engine.engine import Engine
from nanochat.engine.events import ContextTrimmed, TextDelta, Tokens, ToolUsed, TurnFinished, nothing_said
from nanochat.engine.link import WorkerDied
from nanochat.engine.load import load_engine
from nanochat.engine.messages import Ask, Ended, Order, Said, UseTool
from nanochat.engine.session import Session
from nanochat.engine.worker import _Model, _Server, in_lots
from nanochat.errors import ContextError, ConversationError, MissingError
from nanochat.runtime.paths import Paths
from nanochat.tokenizer.conversation import Message
from nanochat.tokenizer.special import PYTHON_END, PYTHON_START

CONFIG = SamplingConfig(temperature=0, max_new_tokens=12)
ENDLESS = SamplingConfig(
    temperature=1, top_k=None, seed=1, max_new_tokens=100_000, logit_bias=((260, -100.0), (256, -100.0))
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("worker")
    for step in (3, 7):
        model = random_model("D", seed=step, sequence_len=8192, window_pattern="L")
        save_checkpoint(
            base / "models" / "tiny" / "sft",
            step,
            model_state=model.state_dict(),
            model_config=model.config,
            tokenizer=tiny_tokenizer(),
            state={},
        )
    return base


def order_of(base: Path, selector: str = "tiny") -> Order:
    return Order(paths=Paths(base=base, cache=base), selector=selector, device="cpu", rows=4, threads=1)


@pytest.fixture(scope="module")
def worker(base: Path) -> Iterator[Worker]:
    worker = Worker(order_of(base))
    began = time.perf_counter()
    worker.start()
    assert time.perf_counter() - began < 1, "loading is not waited for"
    yield worker
    worker.close()


def question(text: str, config: SamplingConfig = CONFIG, **more: Any) -> Question:
    return Question(messages=(Message.text("user", text),), config=config, **more)


def said(events: list[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_answers_are_those_of_a_session_here(worker: Worker, base: Path) -> None:
    engine: Engine = load_engine(order_of(base).paths, "tiny")[0]
    here, there = Session(engine, CONFIG, "Be brief."), RemoteSession(worker, CONFIG, "Be brief.")
    for text in ("Hi", "and more", "é🦊"):
        expected, got = list(here.ask(text)), list(there.ask(text))
        assert said(got) == said(expected)
        end, other = got[-1], expected[-1]
        assert isinstance(end, TurnFinished) and isinstance(other, TurnFinished)
        assert (end.text, end.tokens, end.stop_reason) == (other.text, other.tokens, other.stop_reason)
        assert there.messages == here.messages
    loaded = worker.wait()
    assert loaded and (loaded.place, loaded.device, loaded.dtype, loaded.context) == (
        "tiny:sft@7",
        "cpu",
        "float32",
        8192,
    )
    there.reset()
    assert len(there.messages) == 1


def test_conversations_at_once(worker: Worker) -> None:
    streams = [iter(RemoteSession(worker, CONFIG).ask(text)) for text in ("one", "two", "three")]
    firsts = [next(stream) for stream in streams]
    assert all(isinstance(event, TextDelta) for event in firsts)
    for text, stream, first in zip(("one", "two", "three"), streams, firsts, strict=True):
        assert said([first, *stream]) == said(list(RemoteSession(worker, CONFIG).ask(text)))


def test_stopping_is_felt_at_once_also_while_the_prompt_is_read(worker: Worker) -> None:
    session = RemoteSession(worker, ENDLESS)
    events = session.ask("go on for ever")
    text = said([next(iter(events)) for _ in range(3)])
    events.close()  # type: ignore[attr-defined]
    assert [message.content for message in session.messages] == ["go on for ever", text]

    reply = worker.ask(question("x" * 8000, ENDLESS))
    time.sleep(0.05)
    reply.stop()
    (end,) = reply
    assert isinstance(end, TurnFinished) and (end.stop_reason, end.tokens) == ("cancelled", 0)
    quick = list(RemoteSession(worker, CONFIG).ask("Hi"))
    assert isinstance(quick[-1], TurnFinished) and quick[-1].tokens_per_s > 20, "nothing else is being computed"


def test_forks_samples_tokens_counts_and_examinations_come_across(worker: Worker) -> None:
    asked = question("Hi", CONFIG, tokens=True)
    first = list(worker.ask(asked))
    end = first[-1]
    assert isinstance(end, TurnFinished) and said(first) == end.text
    tokens = [token for event in first if isinstance(event, Tokens) for token in event.tokens]
    assert [token.id for token in tokens][: len(end.ids)] == list(end.ids)
    fork = (*end.ids[:3], ord("!"))
    forked = list(worker.ask(question("Hi", CONFIG, prefix=fork)))[-1]
    assert isinstance(forked, TurnFinished) and forked.ids[:4] == fork
    drawn = question("Hi", SamplingConfig(temperature=1, top_k=None, seed=1, max_new_tokens=6), samples=3)
    ends = [event for event in worker.ask(drawn) if isinstance(event, TurnFinished)]
    assert sorted(event.sample for event in ends) == [0, 1, 2] and len({event.ids for event in ends}) == 3
    assert worker.count((Message.text("user", "Hi"),)).used == 6
    examined = worker.examine("some text", top=1)
    assert examined.bytes == 9 and examined.bits_per_byte > 0 and len(examined.tokens[0].top) == 1
    with pytest.raises(ConversationError):
        worker.count((Message.text("assistant", "?"),))


def test_another_checkpoint_in_the_same_process(worker: Worker) -> None:
    assert worker.models() == ("tiny:sft@3", "tiny:sft@7")
    assert worker.wait() and worker._link
    process = worker._link.process.pid
    before = list(worker.ask(question("Hi")))[-1]
    running = iter(worker.ask(question("go on", ENDLESS)))
    next(running)
    worker.switch("tiny:sft@3")
    after = list(worker.ask(question("Hi")))[-1]
    loaded = worker.wait()
    assert loaded and (loaded.place, worker.name, worker._link.process.pid) == ("tiny:sft@3", "tiny:sft@3", process)
    assert isinstance(before, TurnFinished) and isinstance(after, TurnFinished) and before.ids != after.ids
    assert next(running), "what was being answered goes on"
    running.close()  # type: ignore[attr-defined]
    with pytest.raises(MissingError, match="no step 4"):
        worker.switch("tiny:sft@4")
    worker.switch("tiny")
    again = list(worker.ask(question("Hi")))[-1]
    assert isinstance(again, TurnFinished) and again.ids == before.ids


def test_a_stop_while_it_loads_does_not_wait_for_that(base: Path, tmp_path: Path) -> None:
    worker = Worker(replace(order_of(base), log=tmp_path / "log"))
    reply = worker.ask(question("Hi", samples=2))
    reply.stop()
    ends = list(reply)
    assert [(end.sample, end.stop_reason) for end in ends if isinstance(end, TurnFinished)] == [
        (0, "cancelled"),
        (1, "cancelled"),
    ]
    assert worker.wait(0) is None and (tmp_path / "log").exists()
    waiting = worker.ask(question("Hi"))
    threading.Timer(0.1, worker.close).start()
    with pytest.raises(WorkerDied, match="the model was closed"):
        list(waiting)


def test_text_and_tokens_travel_in_lots() -> None:
    tool = ToolUsed("1+1", "2", 0.0, sample=1)
    end = nothing_said(0)
    said = [
        *(Said(1, TextDelta("a", 0)), Said(1, TextDelta("x", 1)), Said(2, TextDelta("other"))),
        *(Said(1, TextDelta("b", 0)), Said(1, Tokens((), 0)), Said(1, TextDelta("y", 1)), Said(1, tool)),
        *(Said(1, TextDelta("z", 1)), Said(1, TextDelta("c", 0)), Said(1, end), Said(1, ContextTrimmed(1)), Ended(1)),
    ]
    assert in_lots(said) == [
        *(Said(1, TextDelta("abc", 0)), Said(1, TextDelta("xy", 1)), Said(2, TextDelta("other"))),
        *(Said(1, Tokens((), 0)), Said(1, tool), Said(1, TextDelta("z", 1))),
        *(Said(1, end), Said(1, ContextTrimmed(1)), Ended(1)),
    ]


def test_errors_come_across(worker: Worker, base: Path) -> None:
    session = RemoteSession(worker, CONFIG)
    list(session.ask("Hi"))
    before = session.messages
    with pytest.raises(ContextError, match="too long") as caught:
        list(session.ask("x" * 9000))
    assert "shorten" in caught.value.hint and session.messages == before
    missing = Worker(order_of(base, "nobody"))
    missing.start()
    with pytest.raises(MissingError, match="nobody"):
        missing.wait(60)
    with pytest.raises(MissingError, match="nobody"):
        list(missing.ask(question("Hi")))
    missing.close()


def test_a_crash_is_said_and_the_next_question_starts_it_anew(base: Path) -> None:
    worker = Worker(order_of(base))
    session = RemoteSession(worker, ENDLESS)
    events = iter(session.ask("Hi"))
    next(events)
    assert worker._link
    os.kill(worker._link.process.pid or 0, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="signal 9") as caught:
        list(events)
    assert "ask again" in caught.value.hint and session.messages == ()
    session.config = CONFIG
    assert isinstance(list(session.ask("Hi"))[-1], TurnFinished)
    worker.close()
    worker.close()


def test_it_dies_with_its_parent_and_a_ctrl_c_is_not_for_it(base: Path) -> None:
    code = f"""
from pathlib import Path
from nanochat.config.chat import SamplingConfig
from nanochat.engine.backend import Question
from nanochat.engine.client import Worker
from nanochat.engine.messages import Order
from nanochat.runtime.paths import Paths
from nanochat.tokenizer.conversation import Message
import sys
if __name__ == "__main__":
    base = Path({str(base)!r})
    worker = Worker(Order(paths=Paths(base=base, cache=base), selector="tiny", device="cpu", threads=1))
    events = iter(worker.ask(Question(messages=(Message.text("user", "Hi"),), config={ENDLESS!r})))
    next(events)
    assert "torch" not in sys.modules, "the front-end stays light"
    print(worker._link.process.pid, flush=True)
    for _ in events:
        pass
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    child.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it outlives its parent"
        time.sleep(0.02)


def calling(text: str) -> Question:
    """A question whose answer has to begin with a call of the tool."""
    tokenizer = tiny_tokenizer()
    call = (tokenizer.special(PYTHON_START), *tokenizer.encode("6*7"), tokenizer.special(PYTHON_END))
    return question(text, CONFIG, prefix=call)


def results(events: Any) -> list[str | None]:
    return [event.result for event in events if isinstance(event, ToolUsed)]


def test_another_tool_for_the_answers_after_it(worker: Worker) -> None:
    assert results(worker.ask(calling("Hi"))) == ["42"]
    worker.use_tool("none")
    assert "42" not in results(worker.ask(calling("Hi")))
    worker.use_tool("calculator")
    assert results(worker.ask(calling("Hi"))) == ["42"]


def test_a_question_keeps_the_tool_of_when_it_was_asked(base: Path) -> None:
    said: queue.SimpleQueue[Any] = queue.SimpleQueue()
    server = _Server(said)
    server._model = model = _Model(order_of(base))
    server.begin(Ask(1, calling("Hi")))  # the model is still loading
    server.use_tool(UseTool("none"))
    server.begin(Ask(2, calling("Hi")))
    model.engine = load_engine(order_of(base).paths, "tiny")[0]
    model.ready.set()
    events: dict[int, list[Any]] = {1: [], 2: []}
    ended = 0
    while ended < 2:
        message = said.get(timeout=30)
        ended += isinstance(message, Ended)
        if isinstance(message, Said):
            events[message.number].append(message.event)
    assert results(events[1]) == ["42"] and "42" not in results(events[2])


def test_another_tool_is_also_that_of_a_process_that_is_not_there_yet(base: Path) -> None:
    worker = Worker(order_of(base))
    worker.use_tool("none")
    assert (worker.tool, worker.order.tool) == ("none", "none")


def test_another_tool_does_not_hold_up_who_listens() -> None:
    code = """
import queue, sys
from pathlib import Path
from nanochat.engine.messages import Order, UseTool
from nanochat.engine.worker import _Model, _Server
from nanochat.runtime.paths import Paths
server = _Server(queue.SimpleQueue())
server._model = _Model(Order(paths=Paths(base=Path(), cache=Path())))
server.use_tool(UseTool("python"))
print(server._model.order.tool, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "python False\n"
