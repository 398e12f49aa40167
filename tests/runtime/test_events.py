"""Events and their log."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nanochat.errors import StorageError
from nanochat.runtime.events import Event, EventLog, Notice, StageStarted, StepDone, fan_out, read_events, record_of


def step(number: int) -> StepDone:
    return StepDone(
        stage="base", step=number, total_steps=9, loss=1.5, lr_multiplier=1.0, tokens_per_s=2.0, tokens=3, elapsed_s=4.0
    )


def test_everyone_is_told_in_order() -> None:
    told: list[tuple[str, Event]] = []
    tell = fan_out(lambda event: told.append(("a", event)), lambda event: told.append(("b", event)))
    tell(step(1))
    tell(step(2))
    assert told == [("a", step(1)), ("b", step(1)), ("a", step(2)), ("b", step(2))]


def test_log_is_readable_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "models" / "x" / "events.jsonl"
    log = EventLog(path)
    assert not path.exists()
    log(StageStarted(stage="base", tag="ä", total_steps=9, machine={"cpu": "x"}))
    log(step(1))
    found = read_events(path)
    assert [record["event"] for record in found] == ["StageStarted", "StepDone"]
    assert (found[0]["tag"], found[0]["machine"], found[1]["loss"]) == ("ä", {"cpu": "x"}, 1.5)
    assert found[0]["time"] <= found[1]["time"]
    log.close()
    log(step(2))
    log.close()
    log.close()
    assert len(read_events(path)) == 3


def test_a_record_is_json_without_nan_however_deep() -> None:
    event = StageStarted(
        stage="base", tag="t", total_steps=1, machine={"a": [math.nan, {"b": math.inf}], "c": (1, 2.5)}
    )
    record = record_of(event, at=12.34567)
    assert (record["event"], record["time"]) == ("StageStarted", 12.346)
    assert record["machine"] == {"a": [None, {"b": None}], "c": [1, 2.5]}
    json.dumps(record, allow_nan=False)


def test_a_line_cut_short_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log(step(1))
    log.close()
    with path.open("a") as file:
        file.write('{"event": "StepDone", "st')
    log = EventLog(path)
    log(step(2))
    log.close()
    assert [record["step"] for record in read_events(path)] == [1, 2]
    assert len(path.read_text().splitlines()) == 3


def test_reading_passes_over_what_is_no_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_events(path) == []
    path.write_bytes(b'\xff\xfe\n[1]\n\n{"event": "Notice"}\n')
    assert read_events(path) == [{"event": "Notice"}]


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(StorageError):
        EventLog(tmp_path / "models" / "events.jsonl")(Notice(stage="base", level="info", message="x"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_says_so_also_when_it_is_closed() -> None:
    log = EventLog(Path("/dev/full"))
    for _ in range(2):
        with pytest.raises(StorageError, match="No space left"):
            log(Notice(stage="base", level="info", message="x"))
    with pytest.raises(StorageError, match="No space left"):
        log.close()
    log.close()


def test_every_event_is_plain_json(tmp_path: Path) -> None:
    for event in Event.__subclasses__():
        assert event.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert event.__doc__
    log = EventLog(tmp_path / "events.jsonl")
    log(Notice(stage="base", level="info", message="two\nlines"))
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["message"] == "two\nlines"
    log.close()
