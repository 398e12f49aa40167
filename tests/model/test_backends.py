"""The kernels of a training run: how one is chosen, and that each computes the same.

FlashAttention 3 comes from a hub at run time: without it a stand-in of its `kernels` package shows how it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from references import reference, tensors, with_gradients
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from nanochat.config.model import ModelConfig, era_config
from nanochat.errors import UsageError
from nanochat.model import flash3, flex
from nanochat.model.attention import attend
from nanochat.model.backends import AttentionChoice, Machine, choose_attention, this_machine
from nanochat.model.flash3 import REPOSITORY, REVISION, Flash3, Flash3Error, load_flash3
from nanochat.model.flex import FlexWindows, block_mask
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights

HOPPER = Machine(device="cuda", dtype="bfloat16", compile=True, capability=(9, 0))
AMPERE = replace(HOPPER, capability=(8, 6))
TURING = replace(HOPPER, capability=(7, 5), dtype="float16")
CPU = Machine(device="cpu", dtype="float32", compile=True)
MODEL = era_config("D", n_layer=4, n_head=4, n_kv_head=2, n_embd=512, sequence_len=2048)
PLAIN = replace(MODEL, window_pattern="L")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def loaded(device: str, dtype: torch.dtype, head_dim: int) -> Flash3:
    return Flash3(lambda *args, **kwargs: None, "hub@1")


def unavailable(device: str, dtype: torch.dtype, head_dim: int) -> Flash3:
    raise Flash3Error("no network")


@pytest.fixture(autouse=True)
def _masks_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice can be asked about any machine; block masks can be made on those that are there."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(flex, "block_mask", lambda length, window, device: (length, window, device))


class TestChoice:
    @pytest.mark.parametrize(
        ("machine", "config", "load", "name", "reasons"),
        [
            (HOPPER, MODEL, loaded, "fa3", {}),
            (HOPPER, PLAIN, loaded, "fa3", {}),
            (HOPPER, MODEL, unavailable, "flex", {"fa3": "no network"}),
            (HOPPER, PLAIN, unavailable, "sdpa", {"fa3": "no network", "flex": "no windows"}),
            (replace(HOPPER, dtype="float32"), MODEL, loaded, "flex", {"fa3": "not float32"}),
            (AMPERE, MODEL, loaded, "flex", {"fa3": "Hopper"}),
            (replace(HOPPER, capability=(10, 0)), MODEL, loaded, "flex", {"fa3": "Hopper"}),
            (replace(AMPERE, compile=False), MODEL, loaded, "sdpa", {"fa3": "Hopper", "flex": "torch.compile"}),
            (TURING, MODEL, loaded, "sdpa", {"fa3": "Hopper", "flex": "Ampere"}),
            (replace(HOPPER, capability=None), MODEL, loaded, "sdpa", {"fa3": "Hopper", "flex": "NVIDIA"}),
            (CPU, MODEL, loaded, "sdpa", {"fa3": "Hopper", "flex": "NVIDIA"}),
        ],
    )
    def test_the_fastest_there_is(
        self, machine: Machine, config: ModelConfig, load: Any, name: str, reasons: dict[str, str]
    ) -> None:
        choice = choose_attention(machine, config, load=load)
        assert choice.name == name
        passed_over = dict(choice.passed_over)
        assert passed_over.keys() == reasons.keys()
        for other, words in reasons.items():
            assert words in passed_over[other]
            assert f"not {other}: {passed_over[other]}" in choice.line
        assert choice.record() == {"name": name, "version": choice.version, "passed_over": passed_over}
        assert choice.version == ("hub@1" if name == "fa3" else f"torch {torch.__version__}")

    def test_heads_it_cannot_have(self) -> None:
        wide = replace(MODEL, n_head=1, n_kv_head=1)  # 512 channels
        assert "not 512" in dict(choose_attention(HOPPER, wide, load=loaded).passed_over)["fa3"]

    @pytest.mark.parametrize("name", ["fa3", "flex", "sdpa"])
    def test_required_and_there(self, name: str) -> None:
        choice = choose_attention(HOPPER, MODEL, require=name, load=loaded)
        assert (choice.name, choice.passed_over) == (name, ())

    @pytest.mark.parametrize(
        ("name", "machine", "load", "words"),
        [
            ("fa3", CPU, loaded, "Hopper"),
            ("fa3", AMPERE, loaded, "Hopper"),
            ("fa3", HOPPER, unavailable, "no network"),
            ("flex", CPU, loaded, "NVIDIA"),
        ],
    )
    def test_required_and_not_there(self, name: str, machine: Machine, load: Any, words: str) -> None:
        with pytest.raises(UsageError, match=words) as caught:
            choose_attention(machine, MODEL, require=name, load=load)
        assert f"attention by {name} was required" in caught.value.message
        assert "--require-attn" in caught.value.hint

    def test_this_machine(self) -> None:
        assert this_machine("cpu", "float32", compile=False) == replace(CPU, compile=False)


def flash_attn_func(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window_size: tuple[int, int]) -> Tensor:
    """The hub's function, by its definition."""
    assert causal
    left, right = window_size
    assert (left == -1) == (right == -1)
    return reference(q, k, v, None if left == -1 else left)


class TestFlash3:
    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[tuple[str, str]]]:
        """`hub(function)`: a `kernels` package that has this one."""
        asked: list[tuple[str, str]] = []

        def install(function: Any) -> list[tuple[str, str]]:
            def get_kernel(repository: str, *, revision: str) -> SimpleNamespace:
                asked.append((repository, revision))
                return SimpleNamespace(flash_attn_func=function)

            monkeypatch.setitem(sys.modules, "kernels", SimpleNamespace(get_kernel=get_kernel))
            return asked

        return install

    def test_is_fetched_at_a_commit(self, hub: Any) -> None:
        asked = hub(flash_attn_func)
        kernel = load_flash3("cpu", torch.bfloat16, 64)
        assert asked == [(REPOSITORY, REVISION)]
        assert len(REVISION) == 40
        assert kernel.version == f"{REPOSITORY}@{REVISION[:12]}"

    @pytest.mark.parametrize("window", [0, 3, 8, 50, None])
    @pytest.mark.parametrize("pair", [False, True])
    def test_agrees(self, window: int | None, pair: bool) -> None:
        def function(*args: Any, **kwargs: Any) -> Any:
            y = flash_attn_func(*args, **kwargs)
            return (y, None) if pair else y

        kernel = Flash3(function, "test")
        q, k, v = (x.bfloat16() for x in tensors(11))
        for fast, slow in zip(
            with_gradients(lambda q, k, v, w: kernel(q, k, v, window=w), q, k, v, window),
            with_gradients(reference, q, k, v, window),
            strict=True,
        ):
            torch.testing.assert_close(fast, slow)

    def test_a_window_as_long_as_the_text_is_none(self) -> None:
        sizes: list[tuple[int, int]] = []

        def function(q: Tensor, *args: Any, window_size: tuple[int, int], **kwargs: Any) -> Tensor:
            sizes.append(window_size)
            return q

        q, k, v = (x.bfloat16() for x in tensors(11))
        for window in (None, 11, 10, 9):
            Flash3(function, "test")(q, k, v, window=window)
        assert sizes == [(-1, -1), (-1, -1), (-1, -1), (9, 0)]

    def test_float32_goes_another_way(self) -> None:
        q, k, v = tensors(11)
        torch.testing.assert_close(loaded("", q.dtype, 8)(q, k, v, window=3), attend(q, k, v, window=3))

    def test_no_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "kernels", None)
        with pytest.raises(Flash3Error, match="pip install"):
            load_flash3("cpu", torch.bfloat16, 64)

    def test_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def get_kernel(*args: Any, **kwargs: Any) -> None:
            raise OSError("no route\nto host")

        monkeypatch.setitem(sys.modules, "kernels", SimpleNamespace(get_kernel=get_kernel))
        with pytest.raises(Flash3Error, match="cannot be loaded: no route to host"):
            load_flash3("cpu", torch.bfloat16, 64)

    def test_does_not_run(self, hub: Any) -> None:
        def function(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("no kernel image is available")

        hub(function)
        with pytest.raises(Flash3Error, match="does not run here: no kernel image"):
            load_flash3("cpu", torch.bfloat16, 64)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda q, k, v, **kwargs: flash_attn_func(q, k, v, causal=True, window_size=(-1, -1)),  # ignores windows
            lambda q, k, v, **kwargs: flash_attn_func(q, k, v, **kwargs).detach() + 0 * (q.sum() + k.sum() + v.sum()),
            lambda q, k, v, **kwargs: flash_attn_func(q, k, v, **kwargs) * float("nan"),
        ],
    )
    def test_wrong_results_are_found_out(self, hub: Any, wrong: Any) -> None:
        hub(wrong)
        with pytest.raises(Flash3Error, match="off by"):
            load_flash3("cpu", torch.bfloat16, 64)

    def test_a_model_trains_on_it(self, hub: Any) -> None:
        """From the choice to the gradients, on this machine's processor."""
        hub(flash_attn_func)
        model, plain = small_model(), small_model()
        choice = choose_attention(
            HOPPER, model.config, load=lambda device, dtype, head_dim: load_flash3("cpu", dtype, head_dim)
        )
        assert choice.name == "fa3"
        model.use_attention(choice.attend)
        assert_same_training(model, plain)


def small_model(sequence_len: int = 512) -> GPT:
    """Windows of 128 in three of four layers."""
    config = era_config("D", n_layer=4, n_head=2, n_kv_head=1, n_embd=64, sequence_len=sequence_len, vocab_size=300)
    return init_weights(GPT(config), 0).compute_in(torch.bfloat16)


def assert_same_training(model: GPT, other: GPT) -> None:
    """Both give the same loss and gradients, to bfloat16's precision."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(300, (2, model.config.sequence_len + 1), generator=generator).to(model.device)
    for one in (model, other):
        one(ids[:, :-1], ids[:, 1:]).backward()
    grads = [{name: p.grad for name, p in one.named_parameters() if p.grad is not None} for one in (model, other)]
    for name in ("transformer.wte.weight", "transformer.h.0.attn.c_proj.weight", "lm_head.weight"):
        difference = (grads[0][name] - grads[1][name]).norm()
        assert difference < 0.02 * grads[1][name].norm(), name


class TestFlex:
    @pytest.mark.filterwarnings("ignore::UserWarning")  # of flex_attention, that it is not compiled here
    @pytest.mark.parametrize(("time", "window"), [(256, 64), (300, 128), (200, 5), (130, 128)])
    def test_agrees_uncompiled(self, time: int, window: int) -> None:
        """Forward only on a CPU, where it has no backward pass."""
        q, k, v = tensors(time, dim=16)
        y = flex.flex(q, k, v, block_mask(time, window, torch.device("cpu")))
        torch.testing.assert_close(y, reference(q, k, v, window), rtol=1e-4, atol=1e-5)
        assert flex.flex_attention is flex_attention

    def test_one_mask_a_window(self) -> None:
        product = FlexWindows(2048, (512, 512, None, 2048, 512), "cpu")
        assert list(product._masks) == [(2048, 512)]

    def test_outside_of_a_compiled_graph_it_is_attend(self) -> None:
        product = FlexWindows(32, (8, 32), "cpu")
        for time in (32, 20):
            q, k, v = tensors(time)
            assert torch.equal(product(q, k, v, window=8), attend(q, k, v, window=8))


@needs_cuda
class TestOnGpu:
    """Every kernel the GPU has, in the dtype it trains in, against the definition."""

    @pytest.fixture(params=["sdpa", "flex", "fa3"])
    def choice(self, request: pytest.FixtureRequest) -> AttentionChoice:
        dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        machine = this_machine("cuda", dtype, compile=True)
        try:
            return choose_attention(machine, MODEL, require=request.param)
        except UsageError as error:
            pytest.skip(error.message)

    @pytest.mark.parametrize("kv_heads", [1, 4])
    @pytest.mark.parametrize("window", [128, 512, None])
    def test_agrees(self, choice: AttentionChoice, window: int | None, kv_heads: int) -> None:
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        q, k, v = (x.to("cuda", dtype) for x in tensors(2048, kv_heads=kv_heads, dim=64))
        product: Any = choice.attend
        if choice.name == "flex":
            product = FlexWindows(2048, (window,), "cuda")
        compiled = torch.compile(lambda q, k, v, w: product(q, k, v, window=w), dynamic=False)
        exact = with_gradients(reference, *(x.float() for x in (q, k, v)), window=window)
        for near, far in zip(with_gradients(compiled, q, k, v, window), exact, strict=True):
            assert (near.float() - far).abs().max() < 0.02 * far.abs().max() + 0.01

    def test_training_is_the_same(self, choice: AttentionChoice) -> None:
        model, plain = small_model().to("cuda"), small_model().to("cuda")
        product: Any = choice.attend
        if choice.name == "flex":
            product = FlexWindows(512, model.config.window_sizes(), "cuda")
        assert_same_training(model.use_attention(product), plain)

    def test_a_window_is_faster_than_none(self, choice: AttentionChoice) -> None:
        if choice.name == "sdpa":
            pytest.skip("blocks beat a mask, not always the causal kernel")
        length, window = 8192, 1024
        q, k, v = (x.to("cuda", torch.bfloat16) for x in tensors(length, heads=8, kv_heads=8, dim=128, batch=1))
        product: Any = choice.attend
        if choice.name == "flex":
            product = FlexWindows(length, (window,), "cuda")
        compiled = torch.compile(lambda q, k, v, w: product(q, k, v, window=w), dynamic=False)
        times = {w: min(self._seconds(compiled, q, k, v, w) for _ in range(5)) for w in (None, window, None, window)}
        assert times[window] < times[None]

    @staticmethod
    def _seconds(function: Any, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        with_gradients(function, q, k, v, window)
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)


def test_the_loader_is_what_the_choice_uses() -> None:
    assert choose_attention.__kwdefaults__["load"] is flash3.load_flash3
