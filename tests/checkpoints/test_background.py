"""Checkpoints written on a thread: what was at the moment of the call, one at a time, and no failure in silence."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles import tiny_config, tiny_tokenizer

from nanochat.checkpoints import background
from nanochat.checkpoints.background import NICENESS, BackgroundSaver
from nanochat.checkpoints.layout import step_dirs, step_of
from nanochat.checkpoints.store import load_checkpoint, save_checkpoint
from nanochat.errors import StorageError


class Saves:
    """A saver, what it told, and tensors that go on changing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[tuple[int, Path]] = []
        self.saver = BackgroundSaver(lambda step, path: self.told.append((step, path)))
        self.weight = torch.zeros(1000)
        self.momentum = torch.zeros(1000)

    def save(self, step: int) -> None:
        self.weight.fill_(step)
        self.momentum.fill_(-step)
        self.saver.save(
            self.folder,
            step,
            model_state={"w": self.weight},
            optimizer_state={"m": self.momentum},
            model_config=tiny_config(),
            tokenizer=tiny_tokenizer(),
            state={"step": step},
            keep=2,
        )
        self.weight.fill_(99)  # the next step
        self.momentum.fill_(99)


class Gate:
    """`save_checkpoint` that waits until it may."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.begun = 0
        self.at_work = 0
        self.most_at_work = 0
        self.error: Exception | None = None

    def __call__(self, *args: Any, **arguments: Any) -> Path:
        self.begun += 1
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        assert self.opened.wait(20)
        self.at_work -= 1
        if self.error:
            raise self.error
        return save_checkpoint(*args, **arguments)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(background, "save_checkpoint", gate)
    return gate


def test_what_was_at_the_moment_of_the_call_is_saved(tmp_path: Path) -> None:
    saves = Saves(tmp_path)
    with saves.saver:
        for step in (1, 2, 3):
            saves.save(step)
    assert saves.told == [(step, tmp_path / f"step_{step:06d}") for step in (1, 2, 3)]
    assert [step_of(path) for path in step_dirs(tmp_path)] == [3, 2]
    for path in step_dirs(tmp_path):
        checkpoint = load_checkpoint(path, with_optimizer=True)
        assert checkpoint.optimizer_state is not None
        assert checkpoint.model_state["w"].unique().tolist() == [checkpoint.step]
        assert checkpoint.optimizer_state["m"].unique().tolist() == [-checkpoint.step]


def test_training_goes_on_meanwhile(tmp_path: Path, gate: Gate) -> None:
    saves = Saves(tmp_path)
    with saves.saver:
        saves.save(1)  # returns while nothing can be written
        saves.saver.poll()
        assert saves.told == []
        gate.opened.set()
    assert [step for step, _ in saves.told] == [1]


def test_two_are_never_written_at_a_time(tmp_path: Path, gate: Gate) -> None:
    saves = Saves(tmp_path)
    with saves.saver:
        saves.save(1)
        threading.Timer(0.2, gate.opened.set).start()
        saves.save(2)
        assert [step for step, _ in saves.told] == [1]
    assert (gate.begun, gate.most_at_work) == (2, 1)


def test_a_failure_is_raised_by_the_next_call(tmp_path: Path, gate: Gate) -> None:
    gate.error = StorageError("disk full", "free some")
    gate.opened.set()
    saves = Saves(tmp_path)
    with pytest.raises(StorageError, match="disk full"), saves.saver:
        saves.save(1)
    assert saves.told == []
    saves = Saves(tmp_path)
    with saves.saver:
        saves.save(1)
        with pytest.raises(StorageError, match="disk full"):
            saves.save(2)


def test_what_ended_the_block_is_not_hidden(tmp_path: Path, gate: Gate) -> None:
    gate.error = StorageError("disk full", "free some")
    saves = Saves(tmp_path)
    with pytest.raises(ZeroDivisionError), saves.saver:
        saves.save(1)
        gate.opened.set()
        raise ZeroDivisionError


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
def test_the_thread_that_writes_gives_way_to_those_that_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def save(*args: Any, **options: Any) -> Path:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return Path()

    monkeypatch.setattr(background, "save_checkpoint", save)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with BackgroundSaver(lambda step, path: None) as saver:
        saver.save(Path(), 1, model_state={}, optimizer_state={})
    assert seen == [min(19, before + NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
