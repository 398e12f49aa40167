"""The three libraries themselves, without a network: a run that is killed and goes on, read back."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanochat.loggers.attach import attach_loggers
from nanochat.runtime.events import (
    Evaluated,
    Event,
    EventLog,
    Notice,
    Sampled,
    StageFinished,
    StageStarted,
    StepDone,
    fan_out,
)
from nanochat.runtime.paths import Paths


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "TRACKIO_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "models" / "d2" / "base"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"run": "d2", "train": {"depth": 2, "warmdown": 0.65}}))
    return Paths(base=tmp_path, cache=tmp_path / "cache")


def train(paths: Paths, logger: str, first: int, last: int) -> list[str]:
    """Steps of a run, resumed where the first is not 1; what the logger said."""
    notices: list[str] = []

    def on_notice(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(f"{event.level}: {event.message}")

    log = EventLog(paths.model_dir("d2", "base") / "events.jsonl")
    with attach_loggers((logger,), paths, on_notice) as hear:
        tell = fan_out(log, hear)
        resumed = first - 1 if first > 1 else None
        tell(StageStarted(stage="base", tag="d2", run="d2", total_steps=9, tokens=900, resumed_from=resumed))
        for number in range(first, last + 1):
            tell(
                StepDone(
                    stage="base",
                    step=number,
                    total_steps=9,
                    loss=8.0 / number,
                    lr_multiplier=1.0,
                    tokens_per_s=50.0,
                    tokens=100 * number,
                    elapsed_s=float(number),
                    mfu=0.25,
                    memory_bytes=1000,
                )
            )
        if last == 9:
            tell(Evaluated(stage="base", step=9, name="val_bpb", value=0.5))
            tell(Sampled(stage="base", step=9, prompt="The capital of Japan is", answer="Tökyo."))
            tell(StageFinished(stage="base", step=9, elapsed_s=9.0))
    log.close()
    return notices


def test_tensorboard(paths: Paths) -> None:
    folder = paths.base / "logs" / "tensorboard"
    assert train(paths, "tensorboard", 1, 5) == [f"info: tensorboard --logdir {folder}"]
    train(paths, "tensorboard", 4, 9)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (folder / "d2" / "base").iterdir()
    read = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    losses = [(event.step, event.value) for event in read.Scalars("train/loss")]
    assert losses == [(step, pytest.approx(8 / step)) for step in range(1, 10)]
    assert {"train/lr_multiplier", "speed/tokens_per_s", "speed/mfu", "speed/memory_bytes", "val/bpb"} <= set(
        read.Tags()["scalars"]
    )
    assert [(event.step, event.value) for event in read.Scalars("val/bpb")] == [(9, 0.5)]
    (samples,) = read.Tensors("samples")
    assert samples.tensor_proto.string_val[0].decode() == "    > The capital of Japan is\n    Tökyo.\n    "
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    about = HParamsPluginData.FromString(read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    assert about.session_start_info.hparams["train.depth"].number_value == 2


def test_trackio(paths: Paths) -> None:
    assert train(paths, "trackio", 1, 5) == ["info: trackio show --project nanochat"]
    train(paths, "trackio", 4, 9)

    import sqlite3

    (database,) = (paths.base / "TRACKIO_DIR").glob("nanochat*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select run_name, step, metrics from metrics order by id").fetchall()
        (config,) = connection.execute("select config from configs").fetchone()
    connection.close()
    rows = [(name, step, json.loads(metrics)) for name, step, metrics in rows]
    assert {name for name, _, _ in rows} == {"d2:base"}
    assert [(step, m["train/loss"]) for _, step, m in rows if "train/loss" in m] == [(n, 8 / n) for n in range(1, 10)]
    assert [(step, m["val/bpb"]) for _, step, m in rows if "val/bpb" in m] == [(9, 0.5)]
    (samples,) = [m["samples"] for _, _, m in rows if "samples" in m]
    assert "Tökyo." in samples["_value"]
    assert json.loads(config)["train.depth"] == 2


def records(file: Path) -> Iterator[Any]:
    """What an offline run of wandb holds: a log of LevelDB's form, its records in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def test_wandb_offline(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (said,) = train(paths, "wandb", 1, 5)
    train(paths, "wandb", 4, 9)
    id = json.loads((paths.model_dir("d2", "base") / "loggers" / "wandb.json").read_text())["id"]
    folder = paths.base / "logs" / "wandb"
    assert said == f"info: wandb records offline, send it later: wandb sync {folder}/offline-run-*-{id}"
    starts = [list(records(file)) for file in sorted(folder.glob(f"offline-run-*-{id}/run-*.wandb"))]
    assert len(starts) == 2
    rows = []
    for start in starts:
        (run,) = [record.run for record in start if record.WhichOneof("record_type") == "run"]
        assert (run.run_id, run.display_name, run.run_group, run.job_type) == (id, "d2:base", "d2", "base")
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        assert config["train.depth"] == 2
        for record in start:
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == [
        (step, 8 / step) for step in range(1, 10)
    ]
    assert [(row["step"], row["val/bpb"]) for row in rows if "val/bpb" in row] == [(9, 0.5)]
    (table,) = folder.glob("offline-run-*/files/media/table/samples*.json")
    assert json.loads(table.read_text())["data"] == [[9, "The capital of Japan is", "Tökyo."]]
    ends = [record.exit.exit_code for start in starts for record in start if record.WhichOneof("record_type") == "exit"]
    assert ends == [1, 0]  # the first start did not come to the end


def test_wandb_without_a_login_records_offline_and_asks_nothing(paths: Paths) -> None:
    (said,) = train(paths, "wandb", 1, 2)
    assert said.startswith("info: wandb: ")
    assert "recording offline, send it later: wandb sync " in said
    assert list((paths.base / "logs" / "wandb").glob("offline-run-*/run-*.wandb"))


NO_NETWORK = """
import sys
from pathlib import Path
from nanochat.loggers import to_wandb
from nanochat.loggers.mirror import RunIdentity
to_wandb.INIT_LIMIT_S = 1.0
tracker = to_wandb.Wandb(Path(sys.argv[1]))
print(tracker.open(RunIdentity(id="x1", name="d2:base", group="d2", stage="base", known=False), {}))
tracker.figures(1, 0.0, {"train/loss": 2.0})
tracker.close(True)
"""


def test_wandb_without_a_network_records_offline(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    command = [sys.executable, "-c", NO_NETWORK, str(paths.base)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"; recording offline, send it later: wandb sync {paths.base}/wandb/offline-run-*-x1" in done.stdout
    (file,) = (paths.base / "wandb").glob("offline-run-*-x1/run-x1.wandb")
    assert [record for record in records(file) if record.WhichOneof("record_type") == "history"]
