"""What a person gets wrong, through the command line: two lines on stderr, the right exit code, nothing lost."""

from __future__ import annotations

import errno
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.cli import COMMANDS, main

resource = pytest.importorskip("resource", reason="file-size limits are a matter of POSIX")

MACHINE = ("--device", "cpu", "--dtype", "float32", "--compile", "off", "--threads", "1")
BATCH = ("--device-batch-size", "4", "--total-batch-size", "512", "--num-steps", "4", "--save-every", "2")
SMALL = (*MACHINE, *BATCH, "--tag", "toy", "--eval-tokens", "128")
SHAPE = ("--depth", "1", "--head-dim", "32", "--aspect-ratio", "32", "--sequence-len", "128")
BASE = ("train", "base", *SMALL, *SHAPE)


class Answer(NamedTuple):
    code: int
    error: str
    hint: str


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("NANOCHAT_") and name != "NANOCHAT_TEST_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, tokenizer and a base model; not to be changed."""
    base = tmp_path_factory.mktemp("made")
    where = ("--base-dir", str(base))
    assert main(["data", "pocket", "--size", "100K", "--shard-size", "50K", *where]) == 0
    assert main(["tokenizer", "train", "--vocab-size", "300", *where]) == 0
    assert main([*BASE, *where]) == 0
    return base


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "own"))


@pytest.fixture
def no_model(own: Path) -> Path:
    shutil.rmtree(own / "models")
    return own


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command that must fail: stderr holds the two lines and nothing else, but for a run's progress before."""

    def run(base: Path | None, *words: str, progress: bool = False) -> Answer:
        capsys.readouterr()
        code = main([*words, *(("--base-dir", str(base)) if base else ())])
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) >= 2, captured.err
        assert progress or len(lines) == 2, captured.err
        *before, error, hint = lines
        assert not [line for line in before if line.startswith(("error:", "hint:", "Traceback"))]
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
        assert captured.out == ""
        return Answer(code, error.removeprefix("error: "), hint.removeprefix("hint: "))

    return run


def is_command(hint: str) -> bool:
    """Whether a hint is a command of ours that one can type."""
    words = hint.split()
    return words[0] == "nanochat" and any(" ".join(words[1:]).startswith(name) for name in COMMANDS)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# requests that cannot work


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "base", "--dept", "4"), "no such option --dept; did you mean --depth?"),
        (("train", "bse"), "no such command 'bse'; did you mean base?"),
        (("trian",), "no such command 'trian'; did you mean train?"),
        (("tokenizer", "train", "--vocab-size", "264"), "vocab_size (264) must be at least 265"),
        (("train", "base", "--depth", "0"), "depth (0)"),
        (("train", "base", "--depth", "four"), "--depth"),
        (("train", "base", "--device", "tpu"), "--device"),
        (("train", "base", "--head-dim", "63"), "head_dim (63)"),
        (("train", "base", "--window-pattern", "XL"), "window_pattern"),
        (("train", "base", "--device-batch-size", "-1"), "device_batch_size (-1)"),
        (("train", "base", "--device-batch-size", "all"), "expected a whole number or auto, found 'all'"),
        (("bench", "train", "--steps", "0"), "steps (0)"),
        (("bench", "matmul", "--sizes", "64,big"), "sizes ('64,big')"),
        (("train", "base", "--warmdown", "1.5"), "warmdown (1.5)"),
        (("train", "base", "--ratio", "0"), "ratio (0.0)"),
        (("train", "base", "--sequence-len", "0"), "sequence_len (0)"),
        (("train", "base", "--tag", "../x", "--device", "cpu", "--compile", "off", "--dtype", "float32"), "'../x'"),
        (("train", "mid", "--conversations", "0"), "conversations (0)"),
        (("data", "pocket", "--size", "0"), "(0)"),
        (("data", "pocket", "--name", "a/b"), "'a/b'"),
        (("eval", "chat", "--max-problems", "0"), "max_problems (0)"),
        (("chat", "-p", " "), "the prompt is empty"),
        (("chat", "a:b:c", "-p", "hello"), "'a:b:c' does not name a checkpoint"),
        (("chat", "--temperature", "-1", "-p", "hello"), "temperature"),
    ],
)
def test_usage(ask: Callable[..., Answer], tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    base = tmp_path / "base"
    answer = ask(base, *words)
    assert answer.code == 2
    assert says in answer.error
    assert not base.exists()


def test_a_batch_that_does_not_divide(ask: Callable[..., Answer], no_model: Path) -> None:
    answer = ask(no_model, *BASE, "--total-batch-size", "1000")
    assert answer.code == 2
    assert "total_batch_size (1000) must be divisible by" in answer.error
    assert "--total-batch-size 1024" in answer.hint
    assert not list((no_model).rglob("step_*"))


def test_other_settings_under_the_same_tag(ask: Callable[..., Answer], own: Path) -> None:
    before = snapshot(own)
    answer = ask(own, *BASE, "--depth", "2")
    assert answer.code == 2
    assert "toy:base was begun with depth 1, not 2" in answer.error
    assert "--tag" in answer.hint
    assert snapshot(own) == before


def test_a_task_that_does_not_exist(ask: Callable[..., Answer], own: Path) -> None:
    answer = ask(own, "eval", "chat", "--tasks", "facts,fun")
    assert answer.code == 2
    assert "no task 'fun'" in answer.error
    assert "facts" in answer.hint


# what must be made first


def test_missing_data(ask: Callable[..., Answer], tmp_path: Path) -> None:
    answer = ask(tmp_path / "base", "tokenizer", "train")
    assert answer.code == 3
    assert "data set 'pocket'" in answer.error
    assert answer.hint == "nanochat data pocket"


def test_missing_data_for_training(ask: Callable[..., Answer], no_model: Path) -> None:
    shutil.rmtree(no_model / "data")
    answer = ask(no_model, *BASE)
    assert (answer.code, answer.hint) == (3, "nanochat data pocket")


def test_missing_tokenizer(ask: Callable[..., Answer], no_model: Path) -> None:
    shutil.rmtree(no_model / "tokenizers")
    answer = ask(no_model, *BASE)
    assert answer.code == 3
    assert is_command(answer.hint)
    assert "tokenizer train" in answer.hint
    assert not (no_model / "models").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("train", "mid", *SMALL),
        ("train", "sft", *SMALL),
        ("chat", "-p", "hello"),
        ("chat", "toy", "-p", "hello"),
        ("eval", "chat", "--device", "cpu"),
        ("eval", "chat", "toy:sft", "--device", "cpu"),
        ("report",),
        ("models", "show", "toy"),
    ],
)
def test_missing_model(ask: Callable[..., Answer], no_model: Path, words: tuple[str, ...]) -> None:
    answer = ask(no_model, *words)
    assert answer.code == 3
    assert is_command(answer.hint)
    assert not list(no_model.rglob("step_*"))


@pytest.mark.parametrize(
    "words", [("chat", "toy:sft", "-p", "hello"), ("eval", "chat", "toy:sft"), ("train", "sft", *SMALL)]
)
def test_missing_stage(ask: Callable[..., Answer], own: Path, words: tuple[str, ...]) -> None:
    answer = ask(own, *words)
    assert answer.code == 3
    assert "it has base" in answer.error
    assert is_command(answer.hint)
    assert "--tag toy" in answer.hint


# places that cannot be used


@pytest.mark.parametrize(
    "words",
    [
        ("data", "pocket", "--size", "50K"),
        ("tokenizer", "train"),
        BASE,
        ("train", "mid", *SMALL),
        ("models", "list"),
        ("eval", "chat"),
        ("report",),
        ("speedrun", *MACHINE, "--dry-run"),
        ("chat", "-p", "hello"),
    ],
)
def test_base_dir_is_a_file(ask: Callable[..., Answer], tmp_path: Path, words: tuple[str, ...]) -> None:
    base = tmp_path / "file"
    base.write_text("precious")
    for place in (base, base / "below"):
        answer = ask(place, *words)
        assert answer.code == 1
        assert answer.error == f"{place}: Not a directory"
        assert "a file stands where a folder should be" in answer.hint
    assert base.read_text() == "precious"


def test_a_folder_that_may_not_be_read(ask: Callable[..., Answer], own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:
        if self.name in ("models", "toy", "base"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    for words in (("chat", "toy", "-p", "hello"), ("models", "list"), ("train", "mid", *SMALL)):
        answer = ask(own, *words)
        assert answer.code == 1
        assert "Permission denied" in answer.error
        assert "--base-dir" in answer.hint


def test_a_damaged_shard(ask: Callable[..., Answer], no_model: Path) -> None:
    shard = no_model / "data" / "pocket" / "shard_00000.parquet"
    shard.write_bytes(shard.read_bytes()[:1000])
    answer = ask(no_model, *BASE)
    assert answer.code == 1
    assert str(shard) in answer.error
    assert answer.hint == "nanochat data verify pocket --repair"


def test_a_damaged_model(ask: Callable[..., Answer], own: Path) -> None:
    for path in own.rglob("model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    answer = ask(own, "chat", "toy", "-p", "hello")
    assert answer.code == 1
    assert "model.safetensors" in answer.error


# a full disk


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond `size` bytes of a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_the_data(ask: Callable[..., Answer], tmp_path: Path) -> None:
    base = tmp_path / "base"
    words = ("data", "pocket", "--size", "400K", "--shard-size", "200K")
    with files_of_at_most(20_000):
        answer = ask(base, *words)
    assert answer.code == 1
    assert str(base) in answer.error
    assert "--base-dir" in answer.hint
    assert main(["data", "verify", "pocket", "--base-dir", str(base)]) == 1  # begun, and not whole
    assert main([*words, "--base-dir", str(base)]) == 0


def test_no_room_for_a_checkpoint(ask: Callable[..., Answer], own: Path) -> None:
    before = snapshot(own / "models" / "toy" / "base")
    with files_of_at_most(30_000):
        answer = ask(own, "train", "mid", *SMALL, "--conversations", "50", progress=True)
    assert answer.code == 1
    assert "File too large" in answer.error
    assert "--base-dir" in answer.hint
    assert snapshot(own / "models" / "toy" / "base") == before
    assert not list((own / "models" / "toy" / "mid").rglob("*step_*"))
    assert main(["train", "mid", *SMALL, "--conversations", "50", "--base-dir", str(own)]) == 0


def test_the_disk_fills_up_between_two_checkpoints(
    ask: Callable[..., Answer], no_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nanochat.checkpoints.store as store

    real = store.write_manifest

    def write_manifest(step_dir: Path, step: int) -> Any:
        if step > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(step_dir))
        return real(step_dir, step)

    monkeypatch.setattr(store, "write_manifest", write_manifest)
    answer = ask(no_model, *BASE, progress=True)
    assert answer.code == 1
    assert "No space left on device" in answer.error
    folder = no_model / "models" / "toy" / "base"
    path = latest_valid(folder)
    assert path is not None
    assert path.name == "step_000002"
    assert not list(folder.glob(".step_*"))
    monkeypatch.undo()
    assert main([*BASE, "--base-dir", str(no_model)]) == 0
    assert (folder / "step_000004").is_dir()


# runs that go wrong


def test_divergence(ask: Callable[..., Answer], no_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nanochat.stages.run as module

    monkeypatch.setattr(
        module,
        "compiled_loss",
        lambda model, use_compile: lambda ids, targets: model(ids, targets, reduction="sum") * math.nan,
    )
    answer = ask(no_model, *BASE, progress=True)
    assert answer.code == 5
    assert "not finite" in answer.error
    assert "no checkpoint had been saved yet" in answer.hint
    assert "--matrix-lr" in answer.hint


def test_divergence_names_the_last_good_checkpoint(
    ask: Callable[..., Answer], no_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nanochat.stages.run as module

    def compiled_loss(model: Any, *, use_compile: bool) -> Any:
        calls = iter(range(100))
        return lambda ids, targets: model(ids, targets, reduction="sum") * (1.0 if next(calls) < 2 else math.nan)

    monkeypatch.setattr(module, "compiled_loss", compiled_loss)
    answer = ask(no_model, *BASE, "--save-every", "1", "--num-steps", "9", progress=True)
    assert answer.code == 5
    good = latest_valid(no_model / "models" / "toy" / "base")
    assert good is not None
    assert f"the last good checkpoint is toy:base@{int(good.name[5:])} in {good}" in answer.hint
    assert all(torch.isfinite(value).all() for value in load_checkpoint(good).model_state.values())


def test_a_tokenizer_of_another_model(ask: Callable[..., Answer], own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nanochat.stages import start as module

    real = module.load_checkpoint

    def load_checkpoint(*args: Any, **options: Any) -> Any:
        start = real(*args, **options)
        return replace(start, model_config=replace(start.model_config, vocab_size=290))

    monkeypatch.setattr(module, "load_checkpoint", load_checkpoint)
    answer = ask(own, "train", "mid", *SMALL)
    assert answer.code == 2
    assert answer.error == "the tokenizer has 300 tokens, the model 290"
    assert "--from" in answer.hint
    assert not list((own / "models" / "toy" / "mid").glob("step_*"))


def test_too_little_text_for_the_run(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Repeating the text is allowed; how often is said."""
    own = Path(shutil.copytree(made, tmp_path / "own"))
    words = ["--total-batch-size", "131072", "--device-batch-size", "auto", "--num-steps", "1", "--eval-every", "0"]
    assert main([*BASE, *words, "--tag", "long", "--base-dir", str(own)]) == 0
    assert "it will see everything" in capsys.readouterr().err


def test_out_of_memory(ask: Callable[..., Answer], no_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nanochat.stages.run as module

    def compiled_loss(*args: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(module, "compiled_loss", compiled_loss)
    answer = ask(no_model, *BASE, progress=True)
    assert answer.code == 4
    assert "--device-batch-size" in answer.hint


def no_memory_for(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """So many rows at a time do not fit."""
    import nanochat.stages.run as module

    real = module.compiled_loss

    def compiled_loss(*args: Any, **options: Any) -> Any:
        loss = real(*args, **options)

        def limited(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            if len(ids) >= rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return loss(ids, targets)

        return limited

    monkeypatch.setattr(module, "compiled_loss", compiled_loss)


def test_out_of_memory_in_a_step(
    ask: Callable[..., Answer], no_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_memory_for(monkeypatch, 3)
    answer = ask(no_model, *BASE, progress=True)
    assert answer.code == 4
    assert answer.error.startswith("out of memory with 4 rows at a time: CUDA out of memory")
    assert "--device-batch-size 2, or auto" in answer.hint
    assert main([*BASE, "--device-batch-size", "auto", "--base-dir", str(no_model)]) == 0
    assert "going on with 2 rows at a time" in capsys.readouterr().err


MEMORY_LIMITED = """
import resource, sys
import torch
from nanochat.cli import main
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_a_cpu_without_memory(no_model: Path) -> None:
    """Nothing is stood in for: the process may take 1.5 GB, 4,096 rows would take far more."""
    command = [sys.executable, "-c", MEMORY_LIMITED, str(1_500_000_000), *BASE, "--base-dir", str(no_model)]
    large = ["--total-batch-size", str(4096 * 128), "--device-batch-size", "4096", "--num-steps", "1"]
    done = subprocess.run([*command, *large], capture_output=True, text=True, timeout=300)
    assert done.returncode == 4, done.stderr
    assert "out of memory with 4096 rows at a time" in done.stderr
    assert "try --device-batch-size 2048, or auto" in done.stderr


def test_the_model_that_was_made_is_whole(made: Path) -> None:
    path = latest_valid(made / "models" / "toy" / "base")
    assert path is not None
    assert load_checkpoint(path, with_optimizer=True).step == 4
