"""Compiled code is found again by the next process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nanochat.runtime.caches import FOLDER, SWITCHES, keep_compiled
from nanochat.runtime.devices import cxx_compiler
from nanochat.runtime.paths import Paths, resolve_paths


def test_the_folder_is_in_the_cache(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    folder = keep_compiled(resolve_paths(str(tmp_path), {}), environ)
    assert folder.is_relative_to(tmp_path / "cache" / "compiled")
    assert environ == {FOLDER: str(folder), **dict.fromkeys(SWITCHES, "1")}
    assert keep_compiled(Paths(base=tmp_path, cache=tmp_path / "other"), {}).is_relative_to(tmp_path / "other")


def test_what_a_person_has_set_stays(tmp_path: Path) -> None:
    environ = {FOLDER: "/mine", SWITCHES[0]: "0"}
    assert keep_compiled(Paths(base=tmp_path, cache=tmp_path), environ) == Path("/mine")
    assert environ == {FOLDER: "/mine", SWITCHES[0]: "0", SWITCHES[1]: "1"}


def test_a_compiler_that_was_imported_before_has_chosen_nothing(tmp_path: Path) -> None:
    """It writes its own choice into the environment, where it must not pass for a person's."""
    code = (
        "import os, sys; from torch._inductor.runtime.cache_dir_utils import cache_dir; cache_dir();"
        "from nanochat.runtime.devices import open_context; from nanochat.runtime.paths import resolve_paths;"
        "open_context(resolve_paths(sys.argv[1], {}), device='cpu', dtype='float32', compile='off', threads=1);"
        "print(cache_dir())"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR_")}
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=300)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "cache" / "compiled")


COMPILED_STEP = """
import sys
from pathlib import Path
from nanochat.runtime.devices import open_context
from nanochat.runtime.paths import resolve_paths
context, _ = open_context(resolve_paths(sys.argv[1], {}), device="cpu", dtype="float32", compile="on", threads=1)
import torch
from torch._dynamo.utils import counters
from nanochat.config.model import era_config
from nanochat.model.gpt import GPT
from nanochat.training.loop import compiled_loss
model = GPT(era_config("D", sequence_len=16, vocab_size=300, n_layer=1, n_head=1, n_kv_head=1, n_embd=32))
ids = torch.zeros(2, 16, dtype=torch.int64)
compiled_loss(model, use_compile=True)(ids, ids).backward()
print("hits", counters["inductor"]["fxgraph_cache_hit"], counters["aot_autograd"]["autograd_cache_hit"])
print("misses", counters["inductor"]["fxgraph_cache_miss"])
"""


@pytest.mark.slow
@pytest.mark.skipif(cxx_compiler() is None, reason="needs a C++ compiler")
def test_the_second_process_compiles_nothing(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR_")}
    command = [sys.executable, "-W", "ignore", "-c", COMPILED_STEP, str(tmp_path)]
    found = []
    for _ in range(2):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=500)
        found.append([int(number) for number in re.findall(r"\d+", done.stdout)])
    (cold_hits, cold_autograd, cold_misses), (warm_hits, warm_autograd, warm_misses) = found
    assert cold_hits == cold_autograd == 0
    assert cold_misses > 0
    # two are differentiated or compiled of themselves: the model, and the loop over blocks in its loss
    assert (warm_hits, warm_autograd, warm_misses) == (cold_misses, 2, 0)
    assert list((tmp_path / "cache" / "compiled").rglob("*.so"))
