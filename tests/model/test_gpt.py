"""The network: numbers of the reference system, and what must hold for any weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nanochat.config.model import era_config
from nanochat.model.gpt import GPT, norm, rotary_tables, rotate
from nanochat.model.init import init_weights

GOLDEN = Path(__file__).parent.parent / "golden" / "model"


def golden_model(era: str) -> tuple[GPT, dict[str, torch.Tensor]]:
    config = json.loads((GOLDEN / era / "config.json").read_text())
    model = GPT(era_config(config["era"], **config["model_config"]))
    model.load_state_dict(load_file(GOLDEN / era / "weights.safetensors"))
    return model.eval(), load_file(GOLDEN / era / "expected.safetensors")


def random_model(era: str, seed: int = 0, **shape: int | str) -> GPT:
    """Weights that, unlike starting ones, let everything take part."""
    small = {"sequence_len": 512, "vocab_size": 70, "n_layer": 3, "n_head": 2, "n_kv_head": 1, "n_embd": 32}
    model = init_weights(GPT(era_config(era, **{**small, **shape})), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.3 * torch.randn(param.shape, generator=generator))
    return model


def ids_of(*shape: int, vocab: int = 70, seed: int = 0) -> torch.Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("era", ["A", "D"])
class TestParity:
    @torch.no_grad()
    def test_logits(self, era: str) -> None:
        model, expected = golden_model(era)
        logits = model(expected["ids"])
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, expected["logits"], rtol=0, atol=1e-4)

    @torch.no_grad()
    def test_losses(self, era: str) -> None:
        model, expected = golden_model(era)
        ids, targets = expected["ids"], expected["targets"]
        each = model(ids, targets, reduction="none")
        torch.testing.assert_close(each, expected["loss_none"], rtol=0, atol=1e-4)
        assert float(model(ids, targets)) == pytest.approx(float(expected["loss"]), abs=1e-4)
        total = float(model(ids, targets, reduction="sum"))
        assert total == pytest.approx(float(expected["loss"]) * int((targets >= 0).sum()), rel=1e-4)

    def test_names_are_the_reference_ones(self, era: str) -> None:
        config = json.loads((GOLDEN / era / "config.json").read_text())
        model = GPT(era_config(config["era"], **config["model_config"]))
        reference = load_file(GOLDEN / era / "weights.safetensors")
        assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in reference.items()}


def test_golden_covers_a_window_and_a_text_longer_than_the_context() -> None:
    model, expected = golden_model("D")
    length = expected["ids"].size(1)
    assert model.config.short_window < length
    assert model.config.sequence_len < length
    assert model.config.n_kv_head < model.config.n_head


@pytest.mark.parametrize("era", ["A", "D"])
@torch.no_grad()
def test_causal(era: str) -> None:
    model = random_model(era)
    ids = ids_of(1, 20)
    changed = ids.clone()
    changed[0, 12:] = (changed[0, 12:] + 1) % 70
    torch.testing.assert_close(model(ids)[:, :12], model(changed)[:, :12])
    assert not torch.allclose(model(ids)[:, 12:], model(changed)[:, 12:])


@torch.no_grad()
def test_a_single_short_layer_sees_no_further_than_its_window() -> None:
    """Two layers, of which the first is short and the last long but silenced."""
    model = random_model("D", n_layer=2, window_pattern="SL", sequence_len=128)
    assert model.config.window_sizes() == (128, 128)
    model = random_model("D", n_layer=2, window_pattern="SL")
    assert model.config.window_sizes() == (128, 512)
    model.blocks[1].attn.c_proj.weight.zero_()
    ids = ids_of(1, 300)
    changed = ids.clone()
    changed[0, 100] = (changed[0, 100] + 1) % 70
    differs = (model(ids) != model(changed)).any(-1)[0].nonzero().flatten().tolist()
    # 129 and not 128: the token after it sees it through smear too
    assert differs[0] == 100
    assert differs[-1] == 100 + 128 + 1


@torch.no_grad()
def test_ignored_targets_do_not_count() -> None:
    model = random_model("D")
    ids, targets = ids_of(2, 10), ids_of(2, 10, seed=1)
    targets[:, ::2] = -1
    each = model(ids, targets, reduction="none")
    assert each.shape == (2, 10)
    assert not each[:, ::2].any()
    assert float(model(ids, targets)) == pytest.approx(float(each.sum()) / 10, rel=1e-5)


@torch.no_grad()
def test_padded_vocabulary_is_cut_off() -> None:
    model = random_model("D")
    assert model.lm_head.weight.shape == (128, 32)
    assert model(ids_of(1, 4)).shape == (1, 4, 70)


@torch.no_grad()
def test_logits_stay_within_the_cap() -> None:
    model = random_model("D")
    model.lm_head.weight.mul_(1000)
    assert model(ids_of(1, 8)).abs().max() <= 15


@torch.no_grad()
def test_bfloat16_stays_near() -> None:
    model = random_model("D")
    ids = ids_of(2, 24)
    exact = model(ids)
    near = model.compute_in(torch.bfloat16)(ids)
    assert near.dtype == torch.float32
    assert all(param.dtype == torch.float32 for param in model.parameters())
    assert (near - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.05


def test_every_parameter_has_a_gradient() -> None:
    model = random_model("D")
    model(ids_of(2, 16), ids_of(2, 16, seed=1)).backward()
    assert [name for name, param in model.named_parameters() if param.grad is None or not param.grad.any()] == []


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    cos, sin = (table[None, :, None] for table in rotary_tables(32, 8, 10_000.0))
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(8, generator=generator).expand(1, 32, 1, 8) for _ in range(2))
    rx, ry = rotate(x, cos, sin)[0, :, 0], rotate(y, cos, sin)[0, :, 0]
    torch.testing.assert_close(rx.norm(dim=-1), x[0, :, 0].norm(dim=-1))
    torch.testing.assert_close(rx[3] @ ry[10], rx[20] @ ry[27], rtol=1e-4, atol=1e-5)


def test_norm_has_unit_mean_square() -> None:
    x = norm(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)) * 7)
    torch.testing.assert_close(x.square().mean(-1), torch.ones(3), rtol=1e-4, atol=0)
