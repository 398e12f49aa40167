"""Bits per byte, CORE and samples of a toy, kept beside it; and CORE while it is trained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fleet import measure_base, run_fleet
from small_bundle import write_bundle
from toys import context_of

from nanochat.checkpoints.evals import read_eval
from nanochat.checkpoints.listing import list_stages
from nanochat.commands.models_diff import as_lines
from nanochat.config.evaluate_base import BaseEvalConfig
from nanochat.errors import MissingError, UsageError
from nanochat.evaluation.core.result import read_result
from nanochat.report.collect import collect
from nanochat.report.markdown import to_markdown
from nanochat.runtime.events import Evaluated, Event, Sampled, StageProgress, read_events
from nanochat.runtime.hub import Hub
from nanochat.stages.compare import compare_models
from nanochat.stages.evaluate_base import evaluate_base

OFFLINE = Hub(offline=True)


@pytest.fixture
def own(trained: dict[str, Any], toy: Any) -> Any:
    shutil.copytree(trained["toy"].base / "models", toy.base / "models")
    return toy


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def config(bundle: Path) -> BaseEvalConfig:
    return BaseEvalConfig(bundle=str(bundle), eval_tokens=600, max_per_task=6, device="cpu")


def measure(own: Any, config: BaseEvalConfig, selector: str | None = "toy:base") -> tuple[Any, list[Event]]:
    events: list[Event] = []
    return evaluate_base(selector, config, own.context, OFFLINE, events.append), events


def test_all_of_it(own: Any, config: BaseEvalConfig) -> None:
    before = len(read_events(own.folder("base") / "events.jsonl"))
    done, events = measure(own, config)
    assert done.name == "toy:base@6"
    assert done.folder == own.folder("base") / "eval"
    assert [len(score.parts) for score in done.bpb.values()] == [5, 5]  # rows of 128 tokens
    assert all(low < score.total.bits_per_byte < high for score in done.bpb.values() for low, high in [score.interval])
    assert [(task.name, task.n) for task in done.core.tasks] == [
        *(("colours", 6), ("colours_zeroshot", 6), ("cups", 6), ("sums", 6))
    ]
    assert len(done.samples) == 4
    told = {event.name: event for event in events if isinstance(event, Evaluated)}
    assert told["val_bpb"].value == done.bpb["val"].total.bits_per_byte
    assert (told["core"].value, told["core"].n) == (done.core.value, 24)
    assert any(isinstance(event, StageProgress) for event in events)
    assert len([event for event in events if isinstance(event, Sampled)]) == 4
    # a validation of another size is no point of the run's curve
    logged = read_events(own.folder("base") / "events.jsonl")[before:]
    assert {(record["event"], record.get("name")) for record in logged} == {("Evaluated", "core"), ("Sampled", None)}


def test_what_is_kept(own: Any, config: BaseEvalConfig, bundle: Path) -> None:
    done, _ = measure(own, config)
    bpb, core = (json.loads((done.folder / f"{name}.json").read_text()) for name in ("bpb", "core"))
    assert (bpb["step"], bpb["data"], core["step"], core["max_per_task"]) == (6, "pocket", 6, 6)
    assert bpb["val_bpb"] == done.bpb["val"].total.bits_per_byte
    assert read_result(core["core"]) == done.core
    assert core["bundle"] == {"sha256": done.bundle.sha256, "download": {}}
    text = to_markdown(collect(own.base / "models" / "toy"))
    low, high = done.bpb["val"].interval
    assert "| stage | step | text | train | val |" in text
    assert f" | {bpb['val_bpb']:.4f} ({low:.4f} to {high:.4f}) |" in text
    assert "## CORE" in text
    assert f"{done.core.value:.4f}" in text
    assert "| colours_zeroshot |" in text
    assert "GPT-2 124M" in text


def test_only_some_of_it(own: Any, config: BaseEvalConfig) -> None:
    done, _ = measure(own, replace(config, only="bpb", bundle=None))  # no bundle is looked for
    assert (done.core, done.bundle, done.samples) == (None, None, ())
    with pytest.raises(MissingError, match="HF_HUB_OFFLINE") as caught:
        measure(own, replace(config, only="core", bundle=None))
    assert "--bundle DIR" in caught.value.hint
    with pytest.raises(MissingError, match=r"core\.yaml"):
        measure(own, replace(config, only="core", bundle=str(own.base)))
    with pytest.raises(MissingError, match="other"):
        measure(own, replace(config, only="bpb", data="other"))


def test_text_that_nobody_names(own: Any, config: BaseEvalConfig) -> None:
    (own.folder("base") / "config.json").unlink()
    with pytest.raises(MissingError, match="what text toy:base@6") as caught:
        measure(own, replace(config, only="bpb"))
    assert "--data" in caught.value.hint
    done, _ = measure(own, replace(config, only="bpb", data="pocket"))
    assert done.bpb["val"].total.bytes > 0


def test_other_text_is_kept_apart(own: Any, config: BaseEvalConfig) -> None:
    shutil.copytree(own.base / "data" / "pocket", own.base / "data" / "other")
    done, _ = measure(own, replace(config, only="bpb"))
    other, _ = measure(own, replace(config, only="bpb", data="other:0.5,pocket:0.5"))
    kept = json.loads((done.folder / "bpb-other-0.5-pocket-0.5.json").read_text())
    assert (kept["data"], kept["splits"]["val"]["n"]) == ("other:0.5,pocket:0.5", len(other.bpb["val"].parts))
    assert "val_bpb" not in kept
    (entry,) = [entry for entry in list_stages(own.context.paths) if entry.stage == "base"]
    assert entry.val_bpb == done.bpb["val"].total.bits_per_byte


def test_passes_and_processes_change_nothing(own: Any, config: BaseEvalConfig) -> None:
    done, _ = measure(own, config)
    kept = (done.folder / "core.json").read_text()
    small, _ = measure(own, replace(config, pass_tokens=150, only="bpb,core"))
    assert small.core == done.core
    assert small.bpb["val"].total.bits_per_byte == pytest.approx(done.bpb["val"].total.bits_per_byte, rel=1e-6)
    both = run_fleet(2, measure_base, own.base, replace(config, only="bpb,core"))
    assert [core for core, _ in both] == [done.core] * 2
    assert [bpb for _, bpb in both] == pytest.approx([done.bpb["val"].total.bits_per_byte] * 2, rel=1e-6)
    again = json.loads((done.folder / "core.json").read_text())
    assert {**again, "elapsed_s": 0} == {**json.loads(kept), "elapsed_s": 0}


def test_two_models_are_compared(own: Any, config: BaseEvalConfig) -> None:
    measure(own, replace(config, only="bpb,core"))
    with pytest.raises(MissingError, match="toy:mid has not been measured") as caught:
        compare_models(own.context.paths, "toy:base", "toy:mid")
    assert caught.value.hint == "nanochat eval base toy:mid"
    measure(own, replace(config, only="core"), "toy:mid")
    found = compare_models(own.context.paths, "toy:base", "toy:mid@6")
    assert (found.first.name, found.second.name) == ("toy:base@6", "toy:mid@6")
    assert found.core is not None
    assert [task.name for task in found.core.tasks] == ["colours", "colours_zeroshot", "cups", "sums"]
    with pytest.raises(UsageError, match="are of step 6, not 4"):
        compare_models(own.context.paths, "toy:base@4", "toy:mid")
    measure(own, replace(config, only="bpb"), "toy:sft")
    with pytest.raises(MissingError, match="no score in common") as caught:
        compare_models(own.context.paths, "toy:mid", "toy:sft")
    assert caught.value.hint == "nanochat eval base toy:sft@6"


def test_two_bundles_are_told(own: Any, config: BaseEvalConfig, tmp_path: Path) -> None:
    """Of the same data, but asked in other words: the person is told, and the mean is not called CORE."""
    other = write_bundle(tmp_path / "other")
    text = (other / "core.yaml").read_text()
    (other / "core.yaml").write_text(text.replace('" = "', '" is "'))
    measure(own, replace(config, only="core"))
    measure(own, replace(config, only="core"), "toy:mid")
    same = compare_models(own.context.paths, "toy:base", "toy:mid")
    assert same.one_bundle
    assert list(as_lines(same))[-1].splitlines()[-1].startswith("CORE, centred")
    measure(own, replace(config, only="core", bundle=str(other)), "toy:mid")
    found = compare_models(own.context.paths, "toy:base", "toy:mid")
    assert not found.one_bundle
    lines = list(as_lines(found))
    assert f"two bundles, {found.first.bundle[:12]} and {found.second.bundle[:12]}" in lines[2]
    assert lines[-1].splitlines()[-1].startswith("mean of these, centred")


def test_core_while_a_model_is_trained(toy: Any, bundle: Path) -> None:
    settings = {"core_every": 4, "core_max_per_task": 4, "core_bundle": str(bundle)}
    _, events = toy.train("base", **settings)
    told = [event for event in events if isinstance(event, Evaluated) and event.name == "core"]
    assert [(event.step, event.n) for event in told] == [(4, 16), (6, 16)]
    assert all(event.low < event.value < event.high for event in told)
    kept = json.loads((toy.folder("base") / "eval" / "core.json").read_text())
    assert (kept["step"], kept["core"]["value"]) == (6, told[-1].value)
    done, _ = measure(toy, BaseEvalConfig(bundle=str(bundle), max_per_task=4, only="core", device="cpu"))
    assert done.core.value == told[-1].value
    report = collect(toy.base / "models" / "toy")
    assert "core" not in report.stages[0].tasks
    assert f"base, by step: {told[0].value:.4f} at 4, {told[1].value:.4f} at 6." in to_markdown(report)
    assert read_eval(toy.folder("base") / "eval", "core", 4)["core"]["value"] == told[0].value


def test_core_changes_nothing_of_the_training(toy: Any, trained: dict[str, Any], bundle: Path) -> None:
    result, _ = toy.train("base", core_every=2, core_max_per_task=2, core_bundle=str(bundle))
    other, _ = trained["base"]
    assert result.summary["train_loss"] == other.summary["train_loss"]
    assert result.summary["val_bpb"] == other.summary["val_bpb"]


def test_training_does_not_begin_without_the_bundle(toy: Any) -> None:
    with pytest.raises(MissingError, match=r"core\.yaml"):
        toy.train("base", core_every=4, core_bundle=str(toy.base))
    assert context_of(toy.base).paths.models.exists()
