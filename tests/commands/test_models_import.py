"""`nanochat models import`: from the files of the reference system to an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from nanochat.checkpoints.selector import load_for_inference
from nanochat.commands.models import show
from nanochat.commands.models_import import import_
from nanochat.config.chat import GREEDY
from nanochat.config.model import ERAS
from nanochat.engine.engine import Engine
from nanochat.engine.load import build_network, load_engine
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.paths import Paths


def run(folder: Path, base_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(import_, [str(folder), "--base-dir", str(base_dir), *words])


@pytest.mark.parametrize("era", ERAS)
def test_every_era_from_files_to_engine(era: str, test_data: Path, tmp_path: Path) -> None:
    result = run(test_data / "parity" / era / "checkpoint", tmp_path, "--tag", f"old-{era}", "--stage", "sft")
    assert result.exit_code == 0, result.exception
    assert result.stdout.splitlines() == [
        f"old-{era}:sft@7  era {era} ({ERAS[era]})",
        str(tmp_path / "models" / f"old-{era}" / "sft" / "step_000007"),
    ]
    assert "warning: the tokenizer has 1,024 tokens, the model 160" in result.stderr
    paths = Paths(base=tmp_path, cache=tmp_path)
    with pytest.raises(DamagedError, match="its tokenizer has 1,024 tokens, its model 160"):
        load_engine(paths, f"old-{era}")
    checkpoint = load_for_inference(paths, f"old-{era}")
    engine = Engine(build_network(checkpoint, "cpu", torch.float32), checkpoint.tokenizer)
    expected = load_file(test_data / "parity" / era / "expected.safetensors")
    prompt = expected["ids"][0, :100].tolist()
    (logits,) = engine.next_logits([prompt])
    torch.testing.assert_close(logits, expected["logits"][0, 99], rtol=0, atol=1e-4)
    # decoding token by token, with windows and smear in the cache, agrees with reading the whole text
    tokens = [step.token for _, step in zip(range(8), engine.generate(prompt, GREEDY), strict=False)]
    for at, token in enumerate(tokens):
        assert int(engine.next_logits([[*prompt, *tokens[:at]]])[0].argmax()) == token
    with pytest.raises(UsageError, match="token id 900, the model knows 0 to 159"):
        engine.next_logits([[900]])


def test_json_and_show(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "parity" / "D" / "checkpoint"
    pickled = test_data / "parity" / "tokenizer" / "tokenizer.pkl"
    told = json.loads(run(folder, tmp_path, "--tag", "x", "--tokenizer", str(pickled), "--json").stdout)
    assert (told["model"], told["era"], told["val_bpb"]) == ("x:base@7", "D", 1.5)
    assert (told["vocab_size"], told["tokenizer_vocab_size"]) == (160, 1024)
    shown = json.loads(CliRunner().invoke(show, ["x", "--base-dir", str(tmp_path), "--json"]).stdout)
    assert (shown["valid"], shown["finished"], shown["parameters"]["total"]) == (True, True, told["parameters"])
    again = run(folder, tmp_path, "--tag", "x").exception
    assert isinstance(again, UsageError)
    assert again.message == "x:base exists already (step 7)"


def test_the_tokenizer_may_be_ours(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "parity" / "A" / "checkpoint"
    run(folder, tmp_path, "--tag", "x")
    ours = tmp_path / "models" / "x" / "base" / "step_000007" / "tokenizer"
    assert run(folder, tmp_path, "--tag", "y", "--tokenizer", str(ours)).exit_code == 0


def test_errors_leave_nothing_behind(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "parity" / "A" / "checkpoint"
    harmful = tmp_path / "harmful.pkl"
    harmful.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    error = run(folder, tmp_path / "base", "--tag", "x", "--tokenizer", str(harmful)).exception
    assert isinstance(error, UsageError)
    assert "asks for os.system" in error.message
    assert isinstance(run(tmp_path / "nowhere", tmp_path / "base").exception, MissingError)
    assert isinstance(run(folder, tmp_path / "base", "--softcap", "0").exception, UsageError)
    assert isinstance(run(folder, tmp_path / "base", "--tag", "../x").exception, UsageError)
    assert not (tmp_path / "base").exists()
