from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.checkpoints.layout import (
    clear_finished,
    is_finished,
    mark_finished,
    read_finished,
    step_dirs,
    step_name,
    step_of,
)


def test_finished_mark(tmp_path: Path) -> None:
    stage_dir = tmp_path / "base"
    assert not is_finished(stage_dir)
    mark_finished(stage_dir, {"step": 5, "val_bpb": 1.5})
    assert is_finished(stage_dir)
    assert read_finished(stage_dir) == {"step": 5, "val_bpb": 1.5}
    clear_finished(stage_dir)
    clear_finished(stage_dir)
    assert not is_finished(stage_dir)


@pytest.mark.parametrize("text", ["", "{", "3", "\xff"])
def test_a_mark_that_is_not_ours_does_not_count(tmp_path: Path, text: str) -> None:
    (tmp_path / "finished.json").write_bytes(text.encode("latin-1"))
    assert not is_finished(tmp_path)


def test_step_names(tmp_path: Path) -> None:
    assert [step_name(step) for step in (0, 123, 12_345_678)] == [
        "step_000000",
        "step_000123",
        "step_12345678",
    ]
    for name in (
        "step_000002",
        "step_000010",
        "step_1",
        "steps",
        ".step_000004.tmp-1",
        ".step_000005.gone-1",
    ):
        (tmp_path / name).mkdir()
    assert [step_of(path) for path in step_dirs(tmp_path)] == [10, 2]
    with pytest.raises(ValueError, match="steps"):
        step_of(tmp_path / "steps")
