from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nanochat.checkpoints.evals import mean_score
from nanochat.checkpoints.layout import mark_finished
from nanochat.checkpoints.listing import describe, list_stages, read_shapes, selectors
from nanochat.errors import DamagedError
from nanochat.runtime.paths import Paths

Save = Callable[..., Path]
COUNTS = {"total": 7745, "wte": 2560, "value_embeds": 2560, "lm_head": 2560, "matrices": 64, "scalars": 1}


def evaluate(stage_dir: Path) -> None:
    (stage_dir / "eval").mkdir()
    (stage_dir / "eval" / "bpb.json").write_text('{"step": 2, "val_bpb": 1.25}')
    tasks = {
        "facts": {"accuracy": 0.9, "chance": 0.0, "n": 10},
        "choice": {"accuracy": 0.25, "chance": 0.25, "n": 8},
    }
    (stage_dir / "eval" / "pocket.json").write_text(json.dumps({"step": 2, "tasks": tasks}))
    (stage_dir / "eval" / "broken.json").write_text("{")


def test_list(paths: Paths, save: Save) -> None:
    assert list_stages(paths) == []
    stage_dir = paths.model_dir("d4", "base")
    save(stage_dir, 1)
    save(stage_dir, 2)
    evaluate(stage_dir)
    paths.model_dir("d4", "mid").mkdir(parents=True)
    mark_finished(stage_dir, {"step": 2, "val_bpb": 9.0})
    base, mid = list_stages(paths)
    assert (base.tag, base.stage, base.step, base.finished) == ("d4", "base", 2, True)
    assert (base.parameters, base.val_bpb, base.score) == (COUNTS["total"], 1.25, pytest.approx(0.45))
    assert base.size_bytes > 4 * COUNTS["total"]
    assert (mid.stage, mid.step, mid.finished, mid.parameters, mid.score) == ("mid", None, False, None, None)


def test_every_checkpoint_has_a_name(paths: Paths, save: Save) -> None:
    for stage, step in (("mid", 5), ("base", 20), ("base", 100), ("sft", 1)):
        save(paths.model_dir("d4", stage), step)
    save(paths.model_dir("d2", "base"), 3)
    assert selectors(paths, "d4") == ("d4:base@20", "d4:base@100", "d4:mid@5", "d4:sft@1")
    assert selectors(paths) == ("d2:base@3", *selectors(paths, "d4"))
    assert selectors(paths, "nobody") == ()


def test_describe(paths: Paths, save: Save) -> None:
    stage_dir = paths.model_dir("d4", "base")
    path = save(stage_dir, 2)
    evaluate(stage_dir)
    events = [
        {"event": "StepDone", "step": 1, "loss": 5.5},
        {"event": "StepDone", "step": 2, "loss": 4.5},
        {"event": "Evaluated", "step": 2, "name": "val_bpb", "value": 1.25},
    ]
    (stage_dir / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"ev')
    details = describe(path)
    assert (details.tag, details.stage, details.step, details.steps) == ("d4", "base", 2, [2])
    assert details.valid
    assert details.parameters == COUNTS
    assert details.model["n_embd"] == 8
    assert details.losses == {"train_first": 5.5, "train_last": 4.5, "val_bpb": 1.25}
    assert set(details.evals) == {"bpb", "pocket"}
    assert details.files["model.safetensors"]["state"] == "ok"
    (path / "model.safetensors").write_bytes(b"short")
    damaged = describe(path)
    assert not damaged.valid
    assert damaged.parameters == {}
    assert "5 bytes instead of" in damaged.files["model.safetensors"]["state"]


def test_odd_evaluations_are_passed_over() -> None:
    assert mean_score({"a": {"tasks": 3}, "b": {"tasks": {"x": {"accuracy": "much"}}}, "c": {}}) is None


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, (2).to_bytes(8, "little") + b"[]", b"\x05" + b"\0" * 7 + b"{"])
def test_header_of_something_else(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DamagedError, match="x"):
        read_shapes(tmp_path / "x")


def test_listing_needs_no_torch() -> None:
    modules = "nanochat.checkpoints.listing, nanochat.checkpoints.selector"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
