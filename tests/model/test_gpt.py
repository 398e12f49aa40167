"""The network: numbers of the reference system, and what must hold for any weights."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nanochat.config.model import ERAS, era_config
from nanochat.model import cross_entropy
from nanochat.model.gpt import GPT, norm, rotary_tables, rotate
from nanochat.model.init import init_weights
from nanochat.training.loop import compiled_loss

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


@pytest.mark.parametrize("era", ERAS)
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


@pytest.mark.parametrize("era", ["B", "C", "D"])
def test_golden_covers_windows_and_long_texts(era: str) -> None:
    """Windows bite in B, C and D; B and D read beyond the context and share key/value heads."""
    model, expected = golden_model(era)
    length = expected["ids"].size(1)
    assert model.config.short_window < length
    if era != "C":
        assert model.config.sequence_len < length
        assert model.config.n_kv_head < model.config.n_head


@pytest.mark.parametrize(
    "field", ["rope_base", "qk_scale", "short_window_rule", "ve_gate_scale", "value_embeds", "residual_lambdas"]
)
@torch.no_grad()
def test_golden_tells_the_eras_apart(field: str) -> None:
    """With any one of its fields as in another era, B no longer gives its numbers."""
    model, expected = golden_model("B")
    other = {**era_config("D").to_dict(), "value_embeds": False, "residual_lambdas": False}[field]
    changed = GPT(dataclasses.replace(model.config, **{field: other}))
    changed.load_state_dict(model.state_dict(), strict=False)
    assert (changed(expected["ids"]) - expected["logits"]).abs().max() > 1e-3


@pytest.mark.parametrize("era", ERAS)
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


@pytest.mark.parametrize("era", ERAS)
def test_every_parameter_has_a_finite_gradient(era: str) -> None:
    model = random_model(era)
    model(ids_of(2, 16), ids_of(2, 16, seed=1)).backward()
    assert [name for name, param in model.named_parameters() if param.grad is None or not param.grad.any()] == []
    assert all(param.grad is not None and param.grad.isfinite().all() for param in model.parameters())


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


class TestCompile:
    """torch.compile makes one graph of a training step and keeps it; the backend here only counts."""

    @pytest.mark.parametrize("era", ERAS)
    def test_one_graph_for_a_whole_run(self, era: str, graphs: list[object]) -> None:
        model = random_model(era, sequence_len=16)
        loss = compiled_loss(model, use_compile=True)
        with torch._dynamo.config.patch(error_on_recompile=True):
            for step in range(4):
                loss(ids_of(2, 16, seed=step), ids_of(2, 16, seed=step + 1)).backward()
                with torch.no_grad():  # an update, then what happens between steps
                    for param in model.parameters():
                        param.add_(torch.ones_like(param), alpha=-0.01)
                        param.grad = None
                    model.eval()(ids_of(3, 8))
                    model.train()
        assert len(graphs) == 2  # the model, and the pass over a block of logits, which its loss compiles for itself

    @pytest.fixture
    def graphs(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
        seen: list[object] = []

        def backend(graph: torch.fx.GraphModule, example_inputs: list[torch.Tensor]) -> object:
            seen.append(graph)
            return graph.forward

        torch._dynamo.reset()
        fresh = functools.cache(cross_entropy._compiled_absorb.__wrapped__)
        monkeypatch.setattr(cross_entropy, "_compiled_absorb", fresh)
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend, fullgraph=True))
        yield seen
        torch._dynamo.reset()


@torch.no_grad()
def test_transformers_holds_era_a() -> None:
    """The same weights in `NanoChatForCausalLM` of Hugging Face transformers give the same logits."""
    transformers = pytest.importorskip("transformers")
    ours = random_model("A", n_head=4, n_kv_head=2, n_layer=2)
    config = ours.config
    theirs = transformers.NanoChatForCausalLM(
        transformers.NanoChatConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.n_embd,
            intermediate_size=4 * config.n_embd,
            num_hidden_layers=config.n_layer,
            num_attention_heads=config.n_head,
            num_key_value_heads=config.n_kv_head,
            max_position_embeddings=config.sequence_len,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
            final_logit_softcapping=config.softcap,
        )
    )
    theirs.load_state_dict({huggingface_name(name): weight for name, weight in ours.state_dict().items()})
    ids = ids_of(2, 60)
    torch.testing.assert_close(theirs.eval()(ids).logits, ours(ids), rtol=0, atol=1e-4)


def huggingface_name(name: str) -> str:
    for ours, theirs in (
        ("transformer.wte", "model.embed_tokens"),
        ("transformer.h", "model.layers"),
        ("attn.c_proj", "self_attn.o_proj"),
        ("attn.c_", "self_attn."),
        ("mlp.c_fc", "mlp.fc1"),
        ("mlp.c_proj", "mlp.fc2"),
    ):
        name = name.replace(ours, theirs)
    return re.sub(r"self_attn\.([qkv])\.", r"self_attn.\1_proj.", name)
