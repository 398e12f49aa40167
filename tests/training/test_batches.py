"""Text in steps: packed ahead, shared out to processes, and a resume goes on exactly."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from doubles import tiny_tokenizer

from nanochat.data.loader import RowLoader
from nanochat.errors import DamagedError
from nanochat.training.batches import Prepared, Share, TextPacker, text_batches

TOKENIZER = tiny_tokenizer()


def test_text_batches() -> None:
    rows = list(torch.arange(30).view(5, 1, 6).numpy())
    batches = text_batches(rows, 2)
    assert [batch.ids.shape for batch in batches] == [(2, 5), (2, 5), (1, 5)]
    assert batches[1].ids[0].tolist() == [12, 13, 14, 15, 16]
    assert batches[1].targets[0].tolist() == [13, 14, 15, 16, 17]
    assert batches[0].supervised == 10


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, ...]:
    paths = []
    for number in range(3):
        texts = [f"shard {number} document {n}: " + "word " * (n * 37 % 60) for n in range(200)]
        paths.append(tmp_path / f"shard_{number:05d}.parquet")
        pq.write_table(pa.table({"text": texts}), paths[-1], row_group_size=50)
    return tuple(paths)


def text_of(shards: tuple[Path, ...], state: Any = None, share: Share = Share()) -> Prepared:  # noqa: B008
    return Prepared(TextPacker(RowLoader(shards, TOKENIZER, 64, seed=1, state=state, buffer=80), share))


def test_text_steps_are_the_loaders_rows(shards: tuple[Path, ...]) -> None:
    rows = torch.from_numpy(RowLoader(shards, TOKENIZER, 64, seed=1, buffer=80).rows(60))
    source = text_of(shards)
    for step in range(3):
        batch = source.step(20)
        whole = rows[step * 20 : step * 20 + 20]
        assert torch.equal(batch.ids, whole[:, :-1])
        assert torch.equal(batch.targets, whole[:, 1:])
        assert batch.supervised == 20 * 64


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 4), (8, 1), (3, 6)])
def test_text_goes_on_exactly_with_any_number_of_processes(
    shards: tuple[Path, ...], steps: int, before: int, after: int
) -> None:
    whole = text_of(shards)
    first = text_of(shards, share=Share(before - 1, before))
    for _ in range(steps):
        whole.step(24)
        first.step(24)
    state = json.loads(json.dumps(first.state()))  # the next step is packed already, and not part of it
    assert state == whole.state()
    ranks = [text_of(shards, state, Share(rank, after)) for rank in range(after)]
    assert all(rank.state() == state for rank in ranks)
    for _ in range(3):
        expected, parts = whole.step(24), [rank.step(24) for rank in ranks]
        assert torch.equal(torch.cat([part.ids for part in parts]), expected.ids)
        assert torch.equal(torch.cat([part.targets for part in parts]), expected.targets)
        assert {part.supervised for part in parts} == {24 * 64}
        assert {part.places for part in parts} == {expected.places}
        assert all(rank.state() == whole.state() for rank in ranks)


def test_a_step_is_packed_while_the_one_before_is_computed(
    shards: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = threading.Semaphore(0)
    threads = set()
    rows = RowLoader.rows

    def watched(loader: RowLoader, count: int, keep: range) -> Any:
        threads.add(threading.current_thread().name)
        packed.release()
        return rows(loader, count, keep)

    monkeypatch.setattr(RowLoader, "rows", watched)
    source = text_of(shards)
    assert not packed.acquire(blocking=False)  # nothing is read before it is needed
    source.step(8)
    assert packed.acquire(timeout=10)
    assert packed.acquire(timeout=10)
    assert threading.current_thread().name not in threads


def test_damage_met_ahead_comes_with_its_step_and_the_state_stays_good(shards: tuple[Path, ...]) -> None:
    source = text_of(shards)
    whole = text_of(shards)
    source.step(8)
    good = shards[0].read_bytes(), shards[1].read_bytes(), shards[2].read_bytes()
    for path in shards:
        path.write_bytes(b"PAR1 no")
    with pytest.raises(DamagedError, match=r"shard_0000\d.parquet is not a readable shard"):
        for _ in range(200):
            source.step(8)
    state = source.state()
    for path, content in zip(shards, good, strict=True):
        path.write_bytes(content)
    again = text_of(shards, state)
    while whole.state() != state:
        whole.step(8)
    assert torch.equal(again.step(8).ids, whole.step(8).ids)


def test_steps_are_of_one_size(shards: tuple[Path, ...]) -> None:
    source = text_of(shards)
    source.step(8)
    with pytest.raises(ValueError, match="a step of 16 rows after one of 8"):
        source.step(16)
    with pytest.raises(ValueError, match="9 rows cannot be shared out to 2 processes"):
        text_of(shards, share=Share(0, 2)).step(9)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        Share(2, 2)
