"""What the probe tries, what it chooses, and that it leaves the model as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nanochat.config.model import era_config
from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.training import probe as module
from nanochat.training.probe import PAYS_FROM, Variant, is_worthwhile, probe, same_setting, settled

ALL = frozenset({"dtype", "compile", "threads"})


def context(open: frozenset[str] = ALL, **changes: object) -> RunContext:
    settings = {"dtype": "bfloat16", "compile": True, "threads": 4, "open": open, **changes}
    return RunContext(paths=Paths(base=Path(), cache=Path()), **settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _threads_are_given_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(era_config("D", sequence_len=8, vocab_size=300, n_layer=1, n_head=1, n_kv_head=1, n_embd=32))


Speeds = Mapping[tuple[str, bool, int], float]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Speeds], list[Variant]]:
    """A machine whose speeds (tokens per second by dtype, compile, threads) are given; lists what was timed."""

    def make(speeds: Speeds) -> list[Variant]:
        steps: list[Variant] = []

        def step(self: object, variant: Variant, loss: object) -> float:
            steps.append(variant)
            return 16 / speeds[variant.dtype, variant.compile, variant.threads]

        monkeypatch.setattr(module._Contest, "_step", step)
        monkeypatch.setattr(module, "thread_counts", lambda threads: [threads, 2])
        return steps

    return make


GRID = {
    ("float32", False, 4): 100.0,
    ("bfloat16", False, 4): 150.0,
    ("bfloat16", False, 2): 200.0,
    ("bfloat16", True, 2): 400.0,
    ("float32", True, 2): 300.0,
}


def test_the_fastest_of_all_wins(model: GPT, machine: Callable[[Speeds], list[Variant]]) -> None:
    steps = machine(GRID)
    found = probe(model, context(), rows=2, micro_steps=PAYS_FROM)
    assert (found.best.dtype, found.best.compile, found.best.threads) == ("bfloat16", True, 2)
    assert found.best.tokens_per_s == pytest.approx(400)
    assert [(v.dtype, v.compile, v.threads) for v in found.variants] == [
        key for key in GRID if key != ("float32", True, 2)
    ]
    turns = [(variant.dtype, variant.compile, variant.threads) for variant in steps]
    keys = list(GRID)
    assert turns == keys[:2] * 6 + keys[1:3] * 6 + keys[2:4] * 6  # one step to warm up and five, in turn
    assert model.compute_dtype == torch.bfloat16
    assert torch.get_num_threads() == 2
    assert found.text.startswith(
        "fastest is bfloat16 compiled, threads: 2 at 400 tok/s, then bfloat16 eager, threads: 2 at 200 tok/s, then "
    )


def test_a_program_that_comes_meanwhile_decides_nothing(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is ten times slower by the time the compiled step is timed; it is still the faster one."""
    taken = []

    def step(self: object, variant: Variant, loss: object) -> float:
        taken.append(variant)
        speed = 200.0 if variant.compile else 100.0
        return 16 / (speed if len(taken) <= 6 else speed / 10)

    monkeypatch.setattr(module._Contest, "_step", step)
    found = probe(model, context(frozenset({"compile"})), rows=2, micro_steps=PAYS_FROM)
    assert (found.best.compile, found.best.tokens_per_s) == (True, pytest.approx(20))


def test_a_long_run_compiles_the_other_format_too(model: GPT, machine: Callable[[Speeds], list[Variant]]) -> None:
    machine({**GRID, ("float32", True, 2): 500.0})
    found = probe(model, context(), rows=2, micro_steps=100_000)
    assert (found.best.dtype, found.best.compile) == ("float32", True)
    assert model.compute_dtype == torch.float32


@pytest.mark.parametrize("bad", [10.0, 1e-9])
def test_never_slower_than_float32_eager(model: GPT, machine: Callable[[Speeds], list[Variant]], bad: float) -> None:
    machine(
        {
            key: 100.0 if key == ("float32", False, 4) else bad
            for key in [*GRID, ("float32", False, 2), ("float32", True, 4)]
        }
    )
    found = probe(model, context(), rows=2, micro_steps=PAYS_FROM)
    assert (found.best.dtype, found.best.compile, found.best.threads) == ("float32", False, 4)
    assert settled(context(), found.best) == context(frozenset(), dtype="float32", compile=False)


def test_what_was_asked_for_is_not_varied(model: GPT, machine: Callable[[Speeds], list[Variant]]) -> None:
    machine(GRID)
    found = probe(model, context(frozenset({"dtype"}), compile=False), rows=2, micro_steps=PAYS_FROM)
    assert {(v.dtype, v.compile, v.threads) for v in found.variants} == {("float32", False, 4), ("bfloat16", False, 4)}
    machine({("bfloat16", False, 4): 1.0, ("bfloat16", True, 4): 2.0})
    found = probe(model, context(frozenset({"compile"})), rows=2, micro_steps=PAYS_FROM)
    assert [(v.dtype, v.compile) for v in found.variants] == [("bfloat16", False), ("bfloat16", True)]


def test_short_runs_and_settled_ones_are_not_worth_it() -> None:
    assert is_worthwhile(context(), PAYS_FROM)
    assert not is_worthwhile(context(), PAYS_FROM - 1)
    assert not is_worthwhile(context(frozenset()), 10**6)
    assert not is_worthwhile(context(device="cuda"), 10**6)


def test_the_model_is_left_as_it_was(model: GPT) -> None:
    """Here nothing is stood in for: real steps in both formats."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    found = probe(model, context(frozenset({"dtype"}), compile=False, threads=1), rows=2, micro_steps=PAYS_FROM)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())
    assert model.compute_dtype == getattr(torch, found.best.dtype)
    assert all(variant.speed > 0 for variant in found.variants)


def test_what_does_not_fit_or_compile_is_no_choice(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed(module.TorchDynamoException):  # type: ignore[misc,name-defined]
        pass

    def compiled_loss(model: GPT, *, use_compile: bool) -> Callable[[Tensor, Tensor], Tensor]:
        def loss(ids: Tensor, targets: Tensor) -> Tensor:
            if use_compile:
                raise Failed
            if model.compute_dtype == torch.bfloat16:
                raise MemoryError
            result: Tensor = model(ids, targets)
            return result

        return loss

    monkeypatch.setattr(module, "compiled_loss", compiled_loss)
    found = probe(model, context(frozenset({"dtype", "compile"}), threads=1), rows=2, micro_steps=PAYS_FROM)
    assert (found.best.dtype, found.best.compile) == ("float32", False)
    assert [variant.speed > 0 for variant in found.variants] == [True, False, False]
    assert not math.isnan(found.seconds)


def test_an_earlier_probe_counts_for_the_same_setting_only() -> None:
    best = {"dtype": "bfloat16", "compile": True, "threads": 2, "tokens_per_s": 5.0}
    record = {"key": {"rows": 2}, "best": best}
    assert same_setting(record, {"rows": 2}) == Variant(**best)
    assert same_setting(record, {"rows": 4}) is None
    assert same_setting({}, {"rows": 4}) is None
    assert same_setting({"key": {}, "best": {"speed": 4}}, {}) is None
