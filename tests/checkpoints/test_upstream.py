"""Checkpoints of the reference system: every era, and everything that is none of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nanochat.checkpoints.layout import is_finished
from nanochat.checkpoints.store import load_checkpoint
from nanochat.checkpoints.upstream import find_tokenizer, read_upstream, save_imported, stage_of
from nanochat.config.model import ERAS, era_config
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer

SHAPE = {"sequence_len": 64, "vocab_size": 300, "n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 64}

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """`written(era)`: the folder of a small checkpoint as the reference system writes it, with changes."""

    def write(
        era: str,
        *,
        add: dict[str, Any] | None = None,
        drop: str = "",
        meta: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Path:
        folder = tmp_path / "base_checkpoints" / "d2"
        folder.mkdir(parents=True, exist_ok=True)
        state = dict(GPT(era_config(era, **{**SHAPE, **fields})).state_dict())
        state = {name: tensor for name, tensor in state.items() if not drop or drop not in name}
        torch.save({**state, **(add or {})}, folder / "model_000650.pt")
        shape = SHAPE if era == "A" else {**SHAPE, "window_pattern": "SL"}
        described = {"step": 650, "val_bpb": 0.9, "model_config": shape, **(meta or {})}
        (folder / "meta_000650.json").write_text(json.dumps(described))
        return folder

    return write


@pytest.mark.parametrize("era", ERAS)
def test_parity_checkpoints_give_the_reference_logits(
    era: str, test_data: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    folder = test_data / "parity" / era
    read = read_upstream(folder / "checkpoint")
    assert (read.era, read.step, read.val_bpb) == (era, 7, 1.5)
    loaded = load_checkpoint(save_imported(read, tokenizer, tmp_path / "models" / "d2" / "base"))
    model = GPT(loaded.model_config)
    model.load_state_dict(loaded.model_state)
    expected = load_file(folder / "expected.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(model(expected["ids"]), expected["logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("era", ERAS)
def test_the_era_is_told_by_names_and_shapes(era: str, written: Written) -> None:
    config = read_upstream(written(era)).model_config
    windows = {} if era == "A" else {"window_pattern": "SL"}
    assert config == era_config(era, **SHAPE, **windows)


def test_variants(written: Written) -> None:
    assert read_upstream(written("A", vocab_multiple=64)).model_config.padded_vocab == 320
    january = read_upstream(written("B", value_embeds=False))
    assert (january.era, january.model_config.value_embeds) == ("B", False)
    unwindowed = read_upstream(written("D", meta={"model_config": SHAPE}))
    assert unwindowed.model_config.window_pattern == "L"
    assert read_upstream(written("C"), softcap=20.0).model_config.softcap == 20.0
    assert read_upstream(written("C")).model_config.softcap == 15.0


def test_compiled_names_and_bfloat16_tables(written: Written) -> None:
    folder = written("D")
    state = torch.load(folder / "model_000650.pt", weights_only=True)
    state["transformer.wte.weight"] = state["transformer.wte.weight"].bfloat16()
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, folder / "model_000650.pt")
    read = read_upstream(folder)
    assert set(read.model_state) == set(state)
    GPT(read.model_config).load_state_dict(read.model_state)


def test_the_newest_step_is_taken(written: Written) -> None:
    folder = written("A")
    for name in ("model_{}.pt", "meta_{}.json"):
        shutil.copy(folder / name.format("000650"), folder / name.format("001000"))
    assert read_upstream(folder).step == 1000


def test_rl_meta_holds_the_shape_only(written: Written) -> None:
    folder = written("A")
    (folder / "meta_000650.json").write_text(json.dumps({"model_config": SHAPE}))
    read = read_upstream(folder)
    assert (read.step, read.val_bpb) == (650, None)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"add": {"bigram_lambda": torch.ones(2)}}, "unknown keys: bigram_lambda"),
        ({"drop": "x0_lambdas"}, "lacks the keys x0_lambdas"),
        ({"drop": "h.1.attn.c_k"}, r"lacks the keys transformer\.h\.1\.attn\.c_k\.weight"),
        ({"n_kv_head": 2}, r"c_k\.weight is 64 x 64, by the meta it must be 32 x 64"),
        ({"ve_gate_channels": 16, "smear": False, "backout": False}, "ve_gate reads 16 channels"),
        ({"meta": {"model_config": {**SHAPE, "n_expert": 8}}}, "unknown keys: n_expert"),
        ({"meta": {"model_config": {**SHAPE, "n_head": 3}}}, r"n_head \(3\)"),
    ],
)
def test_other_designs_are_refused_by_name(changes: dict[str, Any], named: str, written: Written) -> None:
    with pytest.raises(UsageError, match=named):
        read_upstream(written("D", **changes))


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("harmed",)


def test_code_in_the_weights_is_not_run(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written("A", add={"harm": Harmful()})
    torch.load(folder / "model_000650.pt", weights_only=False)
    assert "harmed" in capsys.readouterr().out, "the file is harmless: this test proves nothing"
    with pytest.raises(DamagedError, match="holds more than tensors"):
        read_upstream(folder)
    assert "harmed" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "keep"), [("model_000650.pt", 5000), ("model_000650.pt", 0), ("meta_000650.json", 9)])
def test_a_file_cut_short_is_named(name: str, keep: int, written: Written) -> None:
    folder = written("A")
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(DamagedError, match=name):
        read_upstream(folder)


def test_what_is_missing_is_named(written: Written, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere"):
        read_upstream(tmp_path / "nowhere")
    folder = written("A")
    (folder / "meta_000650.json").unlink()
    with pytest.raises(MissingError, match=r"meta_000650\.json"):
        read_upstream(folder)
    (folder / "model_000650.pt").unlink()
    with pytest.raises(MissingError, match=r"model_\*\.pt"):
        read_upstream(folder)


def test_saved_as_a_finished_stage(written: Written, tmp_path: Path, tokenizer: Tokenizer) -> None:
    stage_dir = tmp_path / "models" / "d2" / "base"
    read = read_upstream(written("D", meta={"user_config": {"total_batch_size": 4096}}))
    path = save_imported(read, tokenizer, stage_dir)
    assert path == stage_dir / "step_000650"
    assert is_finished(stage_dir)
    assert load_checkpoint(path).state == {"train": {"step": 650, "val_bpb": 0.9}, "total_batch_size": 4096}
    config = json.loads((stage_dir / "config.json").read_text())
    assert (config["imported"]["era"], config["model"]["n_layer"]) == ("D", 2)
    assert config["parameters"]["total"] == sum(tensor.numel() for tensor in read.model_state.values())
    with pytest.raises(UsageError, match=r"d2:base exists already \(step 650\)"):
        save_imported(read, tokenizer, stage_dir)


def test_where_the_tokenizer_is_looked_for(written: Written, tmp_path: Path) -> None:
    folder = written("A")
    with pytest.raises(MissingError, match=r"no tokenizer\.pkl") as caught:
        find_tokenizer(folder)
    assert "--tokenizer" in caught.value.hint
    for place in (tmp_path / "tokenizer", folder):
        place.mkdir(exist_ok=True)
        (place / "tokenizer.pkl").write_bytes(b"")
        assert find_tokenizer(folder) == place / "tokenizer.pkl"


@pytest.mark.parametrize(
    ("name", "stage"),
    [("base_checkpoints", "base"), ("mid_checkpoints", "mid"), ("chatsft_checkpoints", "sft"), ("other", "base")],
)
def test_the_stage_is_that_of_the_folder(name: str, stage: str) -> None:
    assert stage_of(Path("/x") / name / "d20") == stage
