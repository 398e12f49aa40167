"""The linear layer, and how far its product in eight bits is from the exact one.

torch multiplies float8 on CPUs too, so these run everywhere; speed is a GPU's business.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nanochat.config.model import era_config
from nanochat.errors import UsageError
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.model.linear import Linear, check_fp8, fp8_product, quantise, use_fp8


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def relative(near: Tensor, exact: Tensor) -> float:
    return float((near.float() - exact).norm() / exact.norm())


def pair(size_in: int = 128, size_out: int = 256) -> tuple[Linear, Linear]:
    """The same layer in eight bits and exact."""
    layers = Linear(size_in, size_out), Linear(size_in, size_out)
    for layer in layers:
        layer.weight.data = 0.05 * random(size_out, size_in, seed=1)
    layers[0].fp8 = True
    return layers


class TestQuantise:
    @pytest.mark.parametrize(
        ("dtype", "step", "largest"), [(torch.float8_e4m3fn, 2**-4, 448.0), (torch.float8_e5m2, 2**-3, 57344.0)]
    )
    def test_fills_the_range(self, dtype: torch.dtype, step: float, largest: float) -> None:
        """Numbers come back within half a step of their format, however large they are."""
        for size in (1e-6, 1.0, 1e6):
            x = size * random(64, 32)
            small, scale = quantise(x, dtype)
            assert (small.dtype, scale.dtype, scale.shape) == (dtype, torch.float32, ())
            assert float(small.float().abs().max()) == largest
            back = small.float() * scale
            near = x.abs() > x.abs().max() / 256  # below it the format runs out of exponents
            assert ((back - x).abs() / x.abs())[near].max() <= step

    def test_zeros(self) -> None:
        small, scale = quantise(torch.zeros(4, 4), torch.float8_e4m3fn)
        assert not (small.float() * scale).any()

    def test_bfloat16_peaks_do_not_become_nan(self) -> None:
        for seed in range(50):
            small, _ = quantise(random(16, 16, seed=seed, dtype=torch.bfloat16), torch.float8_e4m3fn)
            assert small.float().isfinite().all()


def test_product() -> None:
    """Exact but for the rounding of its inputs."""
    a8, a_scale = quantise(random(32, 64), torch.float8_e4m3fn)
    b8, b_scale = quantise(random(64, 48, seed=1), torch.float8_e4m3fn)
    exact = (a8.float() * a_scale) @ (b8.float() * b_scale)
    for fast in (True, False):
        y = fp8_product(a8, b8, a_scale, b_scale, torch.bfloat16, fast=fast)
        assert y.dtype == torch.bfloat16
        assert relative(y, exact) < 0.01


class TestLinear:
    def test_forward_and_backward(self) -> None:
        """e4m3 rounds by up to 1/16, e5m2 by 1/8; over many products the errors average out."""
        near, exact = pair()
        x = random(4, 16, 128, dtype=torch.bfloat16)
        weights = random(4, 16, 256, seed=2)
        results = []
        for layer in (near, exact):
            given = x.clone().requires_grad_()
            y = layer(given)
            assert y.dtype == torch.bfloat16
            (y.float() * weights).sum().backward()
            assert given.grad is not None and layer.weight.grad is not None
            assert layer.weight.grad.dtype == torch.float32
            results.append((y.detach(), given.grad, layer.weight.grad))
        errors = [relative(a, b.float()) for a, b in zip(*results, strict=True)]
        assert max(errors) < 0.08
        assert min(errors) > 0.005  # it was in eight bits

    def test_without_gradients_it_is_exact(self) -> None:
        near, exact = pair()
        x = random(4, 16, 128, dtype=torch.bfloat16)
        with torch.no_grad():
            assert torch.equal(near(x), exact(x))
        assert not torch.equal(near(x), exact(x))

    def test_rows_that_do_not_fit_are_exact(self) -> None:
        near, exact = pair()
        x = random(1, 15, 128, dtype=torch.bfloat16)
        assert torch.equal(near(x), exact(x))

    def test_one_graph(self) -> None:
        near, _ = pair()
        x = random(2, 16, 128, dtype=torch.bfloat16)
        torch._dynamo.reset()
        compiled = torch.compile(near, backend="aot_eager", fullgraph=True)
        compiled(x).sum().backward()
        got = near.weight.grad
        near.weight.grad = None
        near(x).sum().backward()
        assert got is not None and near.weight.grad is not None
        torch.testing.assert_close(got, near.weight.grad)
        torch._dynamo.reset()


class TestModel:
    def model(self) -> GPT:
        config = era_config("D", n_layer=2, n_head=2, n_kv_head=2, n_embd=128, sequence_len=128, vocab_size=300)
        return init_weights(GPT(config), 0).compute_in(torch.bfloat16)

    def test_which_matrices(self) -> None:
        model = self.model()
        assert use_fp8(model.blocks) == 2 * 6
        eight = {name for name, layer in model.named_modules() if isinstance(layer, Linear) and layer.fp8}
        every = {name for name, layer in model.named_modules() if isinstance(layer, Linear)}
        assert every - eight == {"lm_head", "smear_gate", "transformer.h.1.attn.ve_gate"}

    def test_too_small_or_no_multiple(self) -> None:
        layers = torch.nn.Sequential(Linear(128, 64), Linear(136, 136), Linear(144, 128))
        assert use_fp8(layers) == 1

    def test_it_learns_as_well(self) -> None:
        """Twelve plain gradient steps on one batch: the loss falls as far, to within a tenth."""
        ids = torch.randint(300, (2, 129), generator=torch.Generator().manual_seed(0))
        falls = []
        for fp8 in (False, True):
            model = self.model()
            if fp8:
                use_fp8(model.blocks)
            losses = []
            for _ in range(12):
                loss = model(ids[:, :-1], ids[:, 1:])
                loss.backward()
                losses.append(float(loss.detach()))
                with torch.no_grad():
                    for param in model.parameters():
                        assert param.grad is not None
                        param -= 0.5 * param.grad
                        param.grad = None
            falls.append(losses[0] - losses[-1])
        assert falls[0] > 0.3
        assert falls[1] == pytest.approx(falls[0], rel=0.1)


@pytest.mark.parametrize("capability", [None, (8, 6), (7, 5)])
def test_refused_where_it_is_not(capability: tuple[int, int] | None) -> None:
    with pytest.raises(UsageError, match=r"8\.9") as caught:
        check_fp8("cpu" if capability is None else "cuda", capability)
    assert "--fp8" in caught.value.hint


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0), (12, 0)])
def test_allowed_where_it_is(capability: tuple[int, int]) -> None:
    check_fp8("cuda", capability)


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9), reason="needs a GPU with fp8"
)
def test_on_a_gpu() -> None:
    near, exact = (layer.to("cuda") for layer in pair())
    x = random(64, 128, dtype=torch.bfloat16).to("cuda")
    for layer in (near, exact):
        torch.compile(layer)(x).square().mean().backward()
    assert near.weight.grad is not None and exact.weight.grad is not None
    assert relative(near.weight.grad, exact.weight.grad) < 0.08
