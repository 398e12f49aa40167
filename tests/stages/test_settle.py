"""What stages decide about their machine: any device batch gives the same losses, auto fits, the probe is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from nanochat.checkpoints.store import latest_valid
from nanochat.errors import DivergedError, OutOfMemoryError
from nanochat.model import cross_entropy
from nanochat.runtime.events import BetweenSteps, Event, Notice, StageFinished, StageStarted, StepDone
from nanochat.stages import pretrain as pretrain_module
from nanochat.stages import run as run_module
from nanochat.stages import settle, validate
from nanochat.training import probe as probe_module
from nanochat.training.probe import Probe, Variant

from .conftest import Toy


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def notices(events: list[Event]) -> list[str]:
    """What was told, but for the attention kernel, which every run tells."""
    return [event.message for event in events if isinstance(event, Notice) and "attention" not in event.message]


def machine_of(events: list[Event]) -> dict[str, Any]:
    (started,) = [event for event in events if isinstance(event, StageStarted)]
    return dict(started.machine)


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """`memory_for(rows)`: more than so many rows at a time do not fit; the list says what was tried."""

    def make(limit: int) -> list[int]:
        real, tried = run_module.compiled_loss, []

        def compiled_loss(*args: Any, **options: Any) -> Callable[..., torch.Tensor]:
            loss = real(*args, **options)

            def limited(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
                tried.append(len(ids))
                if len(ids) > limit:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
                return loss(ids, targets)

            return limited

        monkeypatch.setattr(run_module, "compiled_loss", compiled_loss)
        return tried

    return make


class TestDeviceBatch:
    def test_any_of_them_gives_the_same_losses(self, toy: Toy) -> None:
        found = {}
        for rows in (1, 2, 4, 8):
            _, events = toy.train("base", tag=f"toy-{rows}", device_batch_size=rows)
            found[rows] = losses(events)
            assert machine_of(events)["device_batch_size"] == rows
        assert len(found[8]) == 6
        for rows in (1, 2, 4):
            assert found[rows] == pytest.approx(found[8], rel=1e-4)
            assert found[rows][0] == pytest.approx(found[8][0], rel=1e-6)  # before rounding could add up

    @pytest.mark.parametrize("stage", ["base", "sft"])
    def test_auto_is_one_of_them(self, trained: dict[str, Any], toy_before: Callable[[str], Toy], stage: str) -> None:
        toy = toy_before(stage)
        _, events = toy.train(stage, device_batch_size=0)
        assert losses(events) == pytest.approx(losses(trained[stage][1]), rel=2e-3)
        assert machine_of(events)["device_batch_size"] == 8  # all rows of a step: 1,024 tokens are no burden
        assert "device batch: 8 rows at a time, 1 times a step" in notices(events)

    def test_auto_goes_down_until_it_fits(self, trained: dict[str, Any], toy: Toy, memory_for: Any) -> None:
        tried = memory_for(2)
        result, events = toy.train("base", device_batch_size=0)
        assert result.summary["step"] == 6
        assert tried == [8, 4] + [2] * 4 * 6
        assert losses(events) == pytest.approx(losses(trained["base"][1]), rel=2e-3)
        assert "out of memory: going on with 2 rows at a time, 4 times a step" in notices(events)

    def test_auto_survives_an_evaluation_that_does_not_fit(self, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
        real = validate.tallies

        def tallies(model: Any, batches: Any, token_bytes: Any) -> Any:
            batches = list(batches)
            if len(batches[0][0]) > 2:
                raise MemoryError
            return real(model, batches, token_bytes)

        plain, _ = toy.train("base", tag="plain")
        monkeypatch.setattr(validate, "tallies", tallies)
        result, _ = toy.train("base", device_batch_size=0)
        assert result.summary["val_bpb"] == pytest.approx(plain.summary["val_bpb"], rel=2e-3)

    def test_not_even_one_row(self, toy: Toy, memory_for: Any) -> None:
        memory_for(0)
        with pytest.raises(OutOfMemoryError, match="a single row"):
            toy.train("base", device_batch_size=0)

    def test_what_was_asked_for_is_not_changed(self, toy: Toy, memory_for: Any) -> None:
        memory_for(2)
        with pytest.raises(OutOfMemoryError) as caught:
            toy.train("base", device_batch_size=4)
        assert caught.value.exit_code == 4
        assert "--device-batch-size 2" in caught.value.hint


def grid(best: Variant) -> Probe:
    return Probe(
        variants=(Variant(dtype="float32", compile=False, threads=1, tokens_per_s=5.0), best), best=best, seconds=1
    )


class TestProbe:
    BEST = Variant(dtype="bfloat16", compile=False, threads=1, tokens_per_s=9.0)

    @pytest.fixture
    def asked(self, toy_before: Callable[[str], Toy], monkeypatch: pytest.MonkeyPatch) -> tuple[Toy, list[int]]:
        """An installation whose machine is open, and the micro-steps of each probe that was made."""
        toy, asked = toy_before("base"), []
        toy.context = replace(toy.context, open=frozenset({"dtype", "threads"}))

        def probe(model: Any, context: Any, rows: int, micro_steps: int, **options: Any) -> Probe:
            asked.append(micro_steps)
            return grid(self.BEST)

        monkeypatch.setattr(settle, "probe", probe)
        monkeypatch.setattr(settle, "is_worthwhile", lambda context, micro_steps: bool(context.open))
        return toy, asked

    def test_its_choice_is_used_and_kept(self, asked: tuple[Toy, list[int]]) -> None:
        toy, probes = asked
        result, events = toy.train("base")
        assert probes == [6 * 2]
        machine = machine_of(events)
        assert (machine["dtype"], machine["compile"], machine["threads"]) == ("bfloat16", False, 1)
        kept = json.loads((result.folder / "config.json").read_text())["machine"]["probe"]
        assert [row["tokens_per_s"] for row in kept["table"]] == [5.0, 9.0]
        assert kept["best"]["dtype"] == "bfloat16"
        assert notices(events)[1:] == [
            "fastest is bfloat16 eager, threads: 1 at 9 tok/s, then float32 eager, threads: 1 at 5 tok/s"
        ]

    def test_later_stages_and_resumed_runs_take_it_over(self, asked: tuple[Toy, list[int]]) -> None:
        toy, probes = asked
        toy.train("base", num_steps=4)
        for stage in ("mid", "sft"):
            _, events = toy.train(stage, num_steps=2)
            assert machine_of(events)["dtype"] == "bfloat16"
        assert len(probes) == 1
        (toy.folder("sft") / "finished.json").unlink()
        toy.train("sft", num_steps=2)
        assert len(probes) == 1

    def test_another_batch_or_machine_is_measured_again(
        self, asked: tuple[Toy, list[int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy, probes = asked
        toy.train("base")
        toy.train("mid", device_batch_size=2)
        assert probes == [12, 24]
        monkeypatch.setattr(settle, "cpu_name", lambda: "another one")
        toy.train("sft")
        assert len(probes) == 3

    def test_a_short_run_is_not_probed(self, toy: Toy) -> None:
        toy.context = replace(toy.context, open=frozenset({"dtype", "compile", "threads"}))
        _, events = toy.train("base")
        assert "probe" not in machine_of(events)
        assert not notices(events)

    def test_the_real_one(self, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probe_module, "PAYS_FROM", 1)
        toy.context = replace(toy.context, open=frozenset({"dtype"}))
        _, events = toy.train("base")
        table = machine_of(events)["probe"]["table"]
        assert [row["dtype"] for row in table] == ["float32", "bfloat16"]
        fastest = max(table, key=lambda row: row["tokens_per_s"])
        assert machine_of(events)["dtype"] == fastest["dtype"]
        assert len(losses(events)) == 6

    def test_what_it_compiled_is_taken_over(self, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
        """The run that follows compiles nothing again."""
        import functools

        graphs: list[torch.fx.GraphModule] = []

        def count(graph: torch.fx.GraphModule, example_inputs: list[torch.Tensor]) -> object:
            graphs.append(graph)
            return graph.forward

        fresh = functools.cache(cross_entropy._compiled_absorb.__wrapped__)
        monkeypatch.setattr(cross_entropy, "_compiled_absorb", fresh)
        monkeypatch.setattr(probe_module, "PAYS_FROM", 1)
        monkeypatch.setattr(Variant, "speed", property(lambda self: 2.0 if self.compile else 1.0))
        torch._dynamo.reset()
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=count, fullgraph=True))
        toy.context = replace(toy.context, open=frozenset({"compile"}), compile=True)
        _, events = toy.train("base")
        torch._dynamo.reset()
        assert machine_of(events)["compile"] is True
        assert len([graph for graph in graphs if "linear_cross_entropy" in graph.code]) == 1


class TestWhatIsTold:
    def test_work_between_steps(self, trained: dict[str, Any]) -> None:
        events = trained["base"][1]
        done = [(event.work, event.step) for event in events if isinstance(event, BetweenSteps)]
        expected = [("checkpoint", 2), ("evaluation", 3), ("checkpoint", 4), ("checkpoint", 6), ("evaluation", 6)]
        assert done == [*expected, ("samples", 6)]
        assert all(event.seconds > 0 for event in events if isinstance(event, BetweenSteps))
        assert events[0].schedule == {"evaluation": 3, "checkpoint": 2, "samples": 2000}

    def test_share_of_the_peak_and_its_origin(self, trained: dict[str, Any]) -> None:
        from nanochat.model.sizes import flops_per_token

        events = trained["base"][1]
        machine = machine_of(events)
        assert "measured for" in machine["peak"]
        model = trained["toy"].config("base").model(512)
        for event in events:
            if isinstance(event, StepDone):
                expected = flops_per_token(model) * event.tokens_per_s / machine["peak_flops"]
                assert event.mfu == pytest.approx(expected)

    def test_peak_memory(self, trained: dict[str, Any]) -> None:
        (finished,) = [event for event in trained["base"][1] if isinstance(event, StageFinished)]
        assert finished.summary["peak_memory_bytes"] > 100e6  # torch alone

    def test_text_that_is_shorter_than_the_run(self, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
        there = []
        monkeypatch.setattr(pretrain_module, "estimate_tokens", lambda *args: there[-1])
        levels = {}
        for amount in (6 * 1024, 6 * 1024 // 3, 6 * 1024 // 6):
            there.append(amount)
            _, events = toy.train("base", tag=f"toy-{amount}")
            told = notices(events)
            levels[amount] = [
                (event.level, event.message) for event in events if isinstance(event, Notice) and event.message in told
            ]
        (few,), (many,) = levels[6 * 1024 // 3], levels[6 * 1024 // 6]
        assert levels[6 * 1024] == []
        assert few[0] == "info"
        assert "it will see everything 3.0 times" in few[1]
        assert many[0] == "warning"
        assert "6.0 times" in many[1]


def test_diverged_names_the_last_good_checkpoint(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled_loss(model: Any, *, use_compile: bool) -> Callable[..., torch.Tensor]:
        calls = iter(range(100))
        return lambda ids, targets: model(ids, targets, reduction="sum") * (1.0 if next(calls) < 5 else torch.nan)

    monkeypatch.setattr(run_module, "compiled_loss", compiled_loss)
    with pytest.raises(DivergedError) as caught:
        toy.train("base")
    good = latest_valid(toy.folder("base"))
    assert good is not None
    assert f"toy:base@2 in {good}; lower the learning rates" in caught.value.hint
    monkeypatch.setattr(
        run_module, "compiled_loss", lambda model, use_compile: lambda *batch: model(*batch) * torch.nan
    )
    with pytest.raises(DivergedError, match="not finite") as caught:
        toy.train("base", tag="at-once")
    assert "no checkpoint had been saved yet" in caught.value.hint
