"""A model in a process of its own: quick to ask, quick to stop, gone with its parent, back after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from doubles import random_model, tiny_tokenizer

from nanochat.checkpoints.store import save_checkpoint
from nanochat.config.chat import SamplingConfig
from nanochat.engine.client import RemoteSession, Worker, WorkerDied
from nanochat.engine.engine import Engine
from nanochat.engine.events import TextDelta, TurnFinished
from nanochat.engine.load import load_engine
from nanochat.engine.messages import Ask, Order, Stop
from nanochat.engine.session import Session
from nanochat.errors import ContextError, MissingError
from nanochat.runtime.paths import Paths

CONFIG = SamplingConfig(temperature=0, max_new_tokens=12)
ENDLESS = SamplingConfig(
    temperature=1, top_k=None, seed=1, max_new_tokens=100_000, logit_bias=((260, -100.0), (256, -100.0))
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("worker")
    model = random_model("D", sequence_len=8192, window_pattern="L")
    save_checkpoint(
        base / "models" / "tiny" / "sft",
        7,
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

    link = worker._link
    assert link
    inbox = link.open(-1)
    link.send(Ask(-1, (), "x" * 8000, ENDLESS))
    time.sleep(0.05)
    link.send(Stop(-1))
    end = inbox.get(timeout=60)
    assert isinstance(end, TurnFinished) and (end.stop_reason, end.tokens) == ("cancelled", 0)
    assert inbox.get(timeout=60).messages == (), "nothing was said"
    quick = list(RemoteSession(worker, CONFIG).ask("Hi"))
    assert isinstance(quick[-1], TurnFinished) and quick[-1].tokens_per_s > 20, "nothing else is being computed"


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
        list(missing.ask((), "Hi", CONFIG))
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
from nanochat.engine.client import Worker
from nanochat.engine.messages import Order
from nanochat.runtime.paths import Paths
import sys
if __name__ == "__main__":
    base = Path({str(base)!r})
    worker = Worker(Order(paths=Paths(base=base, cache=base), selector="tiny", device="cpu", threads=1))
    events = worker.ask((), "Hi", {ENDLESS!r})
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
