"""Choices about this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from nanochat.errors import UsageError
from nanochat.runtime import devices
from nanochat.runtime.paths import Paths


@pytest.fixture
def only_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("only_cpu")
def test_device() -> None:
    assert devices.pick_device("auto") == devices.pick_device("cpu") == "cpu"
    for wanted in ("cuda", "mps", "tpu"):
        with pytest.raises(UsageError, match=wanted) as caught:
            devices.pick_device(wanted)
        assert "--device cpu" in caught.value.hint


def test_dtype_follows_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"bfloat16": 4.0, "float32": 2.0}
    monkeypatch.setattr(devices, "matmul_rates", lambda dtypes: {dtype: rates[dtype] for dtype in dtypes})
    assert devices.pick_dtype("auto", "cpu") == "bfloat16"
    rates["bfloat16"] = 2.2
    assert devices.pick_dtype("auto", "cpu") == "float32"
    assert devices.pick_dtype("bfloat16", "cpu") == "bfloat16"
    assert devices.pick_dtype("auto", "mps") == "float32"


@pytest.mark.parametrize(("has_it", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_without_bfloat16_takes_float16(has_it: bool, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it)
    assert devices.pick_dtype("auto", "cuda") == dtype
    assert devices.pick_dtype("float32", "cuda") == "float32"


def test_matmul_rates() -> None:
    rates = devices.matmul_rates(("float32", "bfloat16"), size=16, seconds=0.0)
    assert rates.keys() == {"float32", "bfloat16"}
    assert all(rate > 0 for rate in rates.values())


def test_threads() -> None:
    assert devices.pick_threads(3) == 3
    assert devices.pick_threads(0) >= 1


def test_compile_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    used, lacking = devices.pick_compile("auto", "cpu")
    assert not used
    assert "g++" in lacking
    assert devices.pick_compile("off", "cpu") == (False, "")
    with pytest.raises(UsageError, match="no C\\+\\+ compiler") as caught:
        devices.pick_compile("on", "cpu")
    assert "--compile" in caught.value.hint
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert devices.pick_compile("auto", "cpu") == (True, "")


@pytest.mark.usefixtures("only_cpu")
def test_context(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        context, notices = devices.open_context(
            Paths(base=tmp_path, cache=tmp_path), dtype="float32", compile="off", threads=1
        )
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert (context.device, context.dtype, context.compile, context.threads) == ("cpu", "float32", False, 1)
    assert notices == []


def test_description_is_plain_json() -> None:
    described = devices.describe_machine()
    assert json.loads(json.dumps(described)) == described
    assert torch.__version__.split("+")[0] in json.dumps(described)
