"""Ranks that stop counting are noticed, by name and by all; ranks that leave in order are not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from nanochat.errors import UsageError
from nanochat.runtime.launch.ending import Ending
from nanochat.runtime.launch.pulse import LOOKS, Pulse, patience

PATIENCE_S = 0.36


@dataclass
class Rank:
    """One rank with its pulse and what that has ended it with."""

    pulse: Pulse
    ended: list[tuple[Ending, bool]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


@dataclass
class Gate:
    """A store whose calls wait while it is shut, as those of a stopped process do not come."""

    store: Any
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.store, name)

        def waiting(*args: Any) -> Any:
            self.open.wait()
            return call(*args)

        return waiting


@pytest.fixture
def store() -> Any:
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=10))


@pytest.fixture
def start(store: Any) -> Iterator[Callable[..., Rank]]:
    """Starts the pulse of one of three ranks; `gate` shuts its store."""
    ranks: list[Rank] = []

    def start(rank: int, gate: Gate | None = None, **options: Any) -> Rank:
        def end(ending: Ending, tell: bool) -> None:
            found.ended.append((ending, tell))
            found.done.set()

        client = gate or store.clone()
        pulse = Pulse(client, rank, 3, patience_s=PATIENCE_S, end=end, **options)
        found = Rank(pulse)
        ranks.append(found)
        pulse.start()
        return found

    yield start
    for rank in ranks:
        rank.pulse._stopping.set()


def wait(ranks: list[Rank]) -> None:
    until = time.monotonic() + 20
    for rank in ranks:
        assert rank.done.wait(until - time.monotonic())


def test_a_silent_rank_is_named_by_all_and_told_by_one(store: Any, start: Callable[..., Rank]) -> None:
    gate = Gate(store.clone())
    ranks = [start(0), start(1, gate), start(2)]
    time.sleep(PATIENCE_S)
    assert not any(rank.ended for rank in ranks)
    gate.open.clear()
    wait([ranks[0], ranks[2]])
    endings = [ranks[0].ended[0], ranks[2].ended[0]]
    assert {ending.message for ending, _ in endings} == {"rank 1 has not answered for 0.36 s"}
    assert [ending.rank for ending, _ in endings] == [0, 2]
    assert [tell for _, tell in endings] == [True, False]  # rank 0 watches rank 1


def test_a_rank_that_wakes_up_learns_that_the_others_are_gone(store: Any, start: Callable[..., Rank]) -> None:
    verdict = Ending(exit_code=5, message="the losses are not numbers", hint="lower them")
    first = start(0)
    assert first.pulse.accuse(verdict)
    late = start(1)
    wait([late])
    ending, tell = late.ended[0]
    assert (ending.exit_code, ending.message, ending.hint, ending.rank) == (5, verdict.message, verdict.hint, 1)
    assert not tell
    assert not first.ended


def test_only_the_first_accuser_is_told(start: Callable[..., Rank]) -> None:
    first, second = start(0), start(1)
    told = [first.pulse.accuse(Ending(exit_code=1, message="a")), second.pulse.accuse(Ending(exit_code=2, message="b"))]
    assert told == [True, False]


def test_a_broken_connection_is_explained_by_the_verdict(start: Callable[..., Rank]) -> None:
    culprit, other = start(0), start(1)
    assert culprit.pulse.accuse(Ending(exit_code=3, message="no data"))
    ending, tell = other.pulse.explain(Ending(exit_code=1, message="connection broke", bereft=True))
    assert (ending.message, ending.exit_code, tell) == ("no data", 3, False)


def test_ranks_that_leave_in_order_wait_for_each_other_and_accuse_nobody(start: Callable[..., Rank]) -> None:
    ranks = [start(rank) for rank in range(3)]
    leaving = [threading.Thread(target=rank.pulse.depart) for rank in ranks]
    leaving[1].start()
    leaving[2].start()
    time.sleep(2 * PATIENCE_S)
    assert leaving[1].is_alive()  # for rank 0 is still at work
    leaving[0].start()
    for thread in leaving:
        thread.join(10)
        assert not thread.is_alive()
    assert not any(rank.ended for rank in ranks)


def test_a_store_that_does_not_answer_is_named(store: Any, start: Callable[..., Rank]) -> None:
    gate = Gate(store.clone())
    rank = start(1, gate, host="torchrun on gpu01")
    gate.open.clear()
    wait([rank])
    assert rank.ended[0][0].message == "torchrun on gpu01 has not answered for 0.36 s"
    assert rank.ended[0][1]


def test_looks_count_not_time(store: Any, start: Callable[..., Rank], monkeypatch: pytest.MonkeyPatch) -> None:
    """All ranks of a suspended machine wake up late together: each has looked once more, not a hundred times."""
    gates = [Gate(store.clone()) for _ in range(3)]
    ranks = [start(rank, gate) for rank, gate in enumerate(gates)]
    time.sleep(PATIENCE_S)
    waits = [rank.pulse._stopping for rank in ranks]

    class Frozen:
        """An event whose wait lasts as long as the machine sleeps."""

        def __init__(self, event: threading.Event) -> None:
            self.event = event

        def wait(self, timeout: float) -> bool:
            asleep.wait()
            return self.event.wait(timeout)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.event, name)

    asleep = threading.Event()
    for rank, event in zip(ranks, waits, strict=True):
        rank.pulse._stopping = Frozen(event)  # type: ignore[assignment]
    time.sleep(3 * PATIENCE_S)
    asleep.set()
    time.sleep(2 * PATIENCE_S)
    assert not any(rank.ended for rank in ranks)


def test_orphans_stop_as_by_sigterm(start: Callable[..., Rank], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    told = threading.Event()

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        told.set()

    monkeypatch.setattr("os.kill", kill)
    monkeypatch.setattr("os.dup2", lambda source, target: target)
    import os
    import signal

    start(0, orphaned=lambda: True)
    assert told.wait(10)
    time.sleep(4 * PATIENCE_S / LOOKS)
    assert sent == [(os.getpid(), signal.SIGTERM)]  # once


def test_patience() -> None:
    assert patience({}) == 60.0
    assert patience({"NANOCHAT_RANK_TIMEOUT": "2.5"}) == 2.5
    for wrong in ("soon", "0", "-1", "nan", "inf"):
        with pytest.raises(UsageError, match="is no number of seconds"):
            patience({"NANOCHAT_RANK_TIMEOUT": wrong})
