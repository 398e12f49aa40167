"""The first signal asks, Ctrl-C after it insists."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from nanochat.runtime.stop import CutShort, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_the_first_asks(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupt_after_it_insists(first: signal.Signals) -> None:
    script = f"""
import signal
from nanochat.runtime.stop import StopRequest
with StopRequest():
    signal.raise_signal({int(first)})
    signal.raise_signal(signal.SIGINT)
print("alive")
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert run.returncode == -signal.SIGINT
    assert run.stdout == ""


def test_insisting_does_not_wait_for_a_long_call() -> None:
    """Python runs handlers between two calls only: the system has to act itself, and so it does."""
    script = """
import hashlib, signal
from nanochat.runtime.stop import StopRequest
with StopRequest():
    signal.raise_signal(signal.SIGINT)
    print("asked", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"x", 100_000_000)  # a minute or so in C
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_batch_system_may_ask_twice(number: signal.Signals) -> None:
    """`timeout` sends SIGTERM to the process and to its group."""
    with StopRequest() as stop:
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert stop.requested


def test_work_may_be_cut_short() -> None:
    done = []
    with StopRequest() as stop, pytest.raises(CutShort):
        for number in stop.until(range(5)):
            done.append(number)
            if number == 2:
                signal.raise_signal(signal.SIGTERM)
    assert done == [0, 1, 2]
    assert list(StopRequest().until("abc")) == ["a", "b", "c"]


def test_handlers_are_given_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), StopRequest():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_changes() -> None:
    found: list[bool] = []

    def work() -> None:
        with StopRequest() as stop:
            found.append(stop.requested)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGINT) is before
