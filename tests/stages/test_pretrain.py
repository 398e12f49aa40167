"""The base stage: recipes, going on with a model, the best checkpoint, one compiled graph."""

from __future__ import annotations

import functools
import json
import math
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from shards import damage_group

from nanochat.checkpoints.layout import step_dirs
from nanochat.checkpoints.selector import resolve
from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.config.train import BaseTrainConfig
from nanochat.data.dataset import DataSet, count_documents
from nanochat.data.loader import RowLoader
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.model import cross_entropy
from nanochat.runtime.events import Notice, Sampled, StageStarted, StepDone
from nanochat.stages import pretrain
from nanochat.stages.validate import Validation
from nanochat.training.horizon import base_horizon

from .conftest import Toy


def test_classic_recipe_is_era_a_for_twenty_tokens_a_parameter() -> None:
    config = BaseTrainConfig(recipe="classic", depth=20)
    model = config.model(65_536)
    assert (model.n_layer, model.n_embd, model.n_head, model.sequence_len) == (20, 1280, 10, 2048)
    horizon = base_horizon(config, model)
    assert (horizon.steps, horizon.batch_tokens) == (21_400, 524_288)
    assert base_horizon(replace(config, ratio=10.0), model).steps == 10_700


def test_flops_and_steps_set_the_length() -> None:
    config = BaseTrainConfig(depth=4)
    model = config.model(32_768)
    by_ratio = base_horizon(config, model)
    assert base_horizon(replace(config, target_flops=1e15), model).steps != by_ratio.steps
    assert base_horizon(replace(config, target_flops=1e15, num_steps=9), model).steps == 9


def test_the_loader_gets_the_seed_and_what_becomes_of_tails(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, str]] = []

    def watched(*args: Any, seed: int, tails: Any, **options: Any) -> RowLoader:
        told.append((seed, tails))
        return RowLoader(*args, seed=seed, tails=tails, **options)

    monkeypatch.setattr(pretrain, "RowLoader", watched)
    toy.train("base", num_steps=1)
    toy.train("base", num_steps=1, tag="other", seed=7, tails="drop")
    assert told == [(42, "keep"), (7, "drop")]


def test_an_unreadable_row_group_costs_its_documents_not_the_run(toy: Toy) -> None:
    damage_group(toy.base / "data" / "pocket" / "shard_00001.parquet", 0)
    with pytest.raises(DamagedError, match="shard_00001"):
        toy.train("base", damage_limit=0)
    result, events = toy.train("base", tag="other", seed=2)
    assert result.summary["step"] == 6
    (told,) = [event.message for event in events if isinstance(event, Notice) and "row group 0" in event.message]
    assert told.endswith("left out (1 of at most 16)")


def test_data_sets_by_weight(toy: Toy) -> None:
    shutil.copytree(toy.base / "data" / "pocket", toy.base / "data" / "more")
    result, _ = toy.train("base", data="pocket:3,more:1")
    data = json.loads((toy.folder("base") / "config.json").read_text())["data"]
    alone = DataSet.open(toy.base / "data" / "pocket")
    assert data == {
        "name": "pocket:3,more:1",
        "shards": 2 * len(alone.train),
        "documents": 2 * count_documents(alone),
    }
    assert math.isfinite(result.summary["val_bpb"])
    with pytest.raises(UsageError, match="begun with data 'pocket:3,more:1'"):
        toy.train("base", data="pocket:1,more:1")


class TestFrom:
    def test_weights_shape_tokenizer_and_momenta_go_on(self, trained: dict[str, Any], toy: Toy) -> None:
        before = trained["toy"].folder("base")
        source = latest_valid(before)
        assert source is not None
        shutil.copytree(before.parent, toy.base / "models" / "old")
        result, events = toy.train("base", source="old:base", num_steps=2, depth=7, tokenizer="none", warmup=0)
        first = next(event.loss for event in events if isinstance(event, StepDone))
        assert first < math.log(512) - 0.05  # not a fresh model
        old, new = load_checkpoint(source, with_optimizer=True), _newest(toy)
        assert new.model_config == old.model_config
        assert new.tokenizer.fingerprint == old.tokenizer.fingerprint
        assert old.optimizer_state is not None
        assert new.optimizer_state is not None
        assert int(new.optimizer_state["steps"]) == int(old.optimizer_state["steps"]) + 2
        assert result.summary["step"] == 2

    def test_a_longer_context(self, trained: dict[str, Any], toy: Toy) -> None:
        shutil.copytree(trained["toy"].folder("base").parent, toy.base / "models" / "old")
        _, events = toy.train("base", source="old:base", sequence_len=512, num_steps=1, total_batch_size=2048)
        checkpoint = _newest(toy)
        assert checkpoint.model_config.sequence_len == 512
        assert checkpoint.model_config.window_sizes() == (128, 512)
        assert all(math.isfinite(event.loss) for event in events if isinstance(event, StepDone))

    def test_a_model_that_is_not_there(self, toy: Toy) -> None:
        with pytest.raises(MissingError):
            toy.train("base", source="old:base")

    def test_not_over_itself(self, toy: Toy) -> None:
        toy.train("base")
        with pytest.raises(UsageError, match="begun with source ''"):
            toy.train("base", source="toy:base")

    def test_not_over_an_imported_model(self, toy: Toy) -> None:
        toy.folder("base").mkdir(parents=True)
        (toy.folder("base") / "config.json").write_text('{"imported": {"era": "A"}}')
        with pytest.raises(UsageError, match="toy:base was imported") as caught:
            toy.train("base")
        assert "--from toy:base" in caught.value.hint


def test_the_best_by_validation_stays_beside_the_newest(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([3.0, 1.0, 2.0, 1.5, 2.5, 2.0])
    monkeypatch.setattr(Validation, "bits_per_byte", lambda self: next(values))
    result, _ = toy.train("base", eval_every=1, save_every=1, keep=2)
    steps = [path.name for path in step_dirs(result.folder)]
    assert steps == ["step_000006", "step_000005", "step_000002"]
    assert (result.summary["best_step"], result.summary["best_bpb"]) == (2, 1.0)
    assert resolve(toy.context.paths, "toy:base@best") == result.folder / "step_000002"
    assert resolve(toy.context.paths, "toy:base") == result.folder / "step_000006"


def test_samples_and_the_name_of_the_run(toy: Toy) -> None:
    result, events = toy.train("base", sample_every=4, run="first try")
    assert [event.step for event in events if isinstance(event, Sampled)] == [4] * 4 + [6] * 4
    assert json.loads((result.folder / "config.json").read_text())["run"] == "first try"
    assert [event.run for event in events if isinstance(event, StageStarted)] == ["first try"]


def test_one_graph_for_a_whole_run(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Micro-steps, validations, samples and checkpoints between steps: nothing is compiled after the first step.

    Compiled are the model, as one graph, the pass over the logits of its loss, and Muon's step for each shape.
    """
    graphs: list[torch.fx.GraphModule] = []
    after_step: dict[int, int] = {}

    def count(graph: torch.fx.GraphModule, example_inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    def on_event(event: object) -> None:
        if isinstance(event, StepDone):
            after_step[event.step] = len(graphs)

    torch._dynamo.reset()
    monkeypatch.setattr(cross_entropy, "_compiled_absorb", functools.cache(cross_entropy._compiled_absorb.__wrapped__))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=count, fullgraph=True))
    toy.context = replace(toy.context, compile=True)
    toy.train("base", on_event, sample_every=2)
    torch._dynamo.reset()
    with_loss = [graph for graph in graphs if "linear_cross_entropy" in graph.code]
    assert len(with_loss) == 1
    assert len(after_step) >= 4
    assert after_step[1] == len(graphs)


def _newest(toy: Toy) -> Any:
    path = latest_valid(toy.folder("base"))
    assert path is not None
    return load_checkpoint(path, with_optimizer=True)
