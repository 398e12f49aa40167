"""Peaks by the names that drivers give, and the share of them that a run uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nanochat.runtime import peaks
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.runtime.peaks import Peak, known_peak, peak_of, utilization

CPU = RunContext(paths=Paths(base=Path(), cache=Path()))


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("Tesla V100-SXM2-16GB", 125),
        ("Tesla V100-PCIE-32GB", 112),
        ("Tesla T4", 65),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA L40", 181.05),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA H20", 148),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA B200", 2250),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA RTX A6000", 154.8),
        ("Quadro RTX 6000", 130.5),
        ("NVIDIA GeForce RTX 2080 Ti", 53.8),
        ("NVIDIA GeForce RTX 3090", 71.2),
        ("NVIDIA GeForce RTX 3060", 25.6),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 88.2),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 5090", 209.5),
        ("AMD Instinct MI210", 181),
        ("AMD Instinct MI250X/MI250", 191.5),
        ("AMD Instinct MI300X", 1307.4),
        ("AMD Instinct MI325X", 1307.4),
        ("AMD Instinct MI355X", 2516.6),
    ],
)
def test_stated(name: str, tera: float) -> None:
    assert known_peak(name) == Peak(flops=tera * 1e12, origin="stated", device=name)


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("Apple M1", 2.6),
        ("Apple M1 Max", 10.4),
        ("Apple M2 Pro", 6.8),
        ("Apple M3 Ultra", 28.3),
        ("Apple M4", 4.6),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", 59.5),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", 40.3),
    ],
)
def test_estimated(name: str, tera: float) -> None:
    assert known_peak(name) == Peak(flops=tera * 1e12, origin="estimated", device=name)
    assert "estimated" in known_peak(name).text


@pytest.mark.parametrize("name", ["", "Voodoo 2", "NVIDIA A1000 RTX", "NVIDIA H1000", "Apple M9", "NVIDIA L400"])
def test_unknown(name: str) -> None:
    peak = known_peak(name)
    assert (peak.flops, peak.origin) == (None, "unknown")
    assert peak.text.startswith("n/a")
    assert utilization(1e9, 1e3, peak) is None


def test_every_longer_name_comes_before_the_shorter_one_that_would_match_it() -> None:
    for table in (peaks._STATED, peaks._APPLE):
        keys = [set(key.split()) for key, _ in table]
        for at, key in enumerate(keys):
            assert not [later for later in keys[at + 1 :] if key <= later]


def test_utilization() -> None:
    peak = known_peak("NVIDIA A100-SXM4-40GB")
    assert utilization(6e8, 260_000, peak) == pytest.approx(0.5)
    assert utilization(6e8, 260_000, peak, world_size=2) == pytest.approx(0.25)


def test_a_cpu_is_measured_in_the_dtype_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"float32": 1e9, "bfloat16": 3e9}
    monkeypatch.setattr(peaks, "matmul_rates", lambda dtypes, **options: {dtype: rates[dtype] for dtype in dtypes})
    assert peak_of(CPU).flops == 1e9
    peak = peak_of(replace(CPU, dtype="bfloat16", threads=2))
    assert (peak.flops, peak.origin) == (3e9, "measured")
    assert "2 threads, bfloat16" in peak.device


def test_a_gpu_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 PCIe")
    assert peak_of(replace(CPU, device="cuda")).flops == 756.5e12
    monkeypatch.setattr(peaks, "cpu_name", lambda: "Apple M2")
    assert peak_of(replace(CPU, device="mps")).origin == "estimated"


def test_a_large_product_reaches_the_measured_peak_but_for_noise() -> None:
    """A share above one would mean that the peak is none: the same product cannot be far from it."""
    peak = peak_of(CPU)
    assert peak.flops is not None
    again = peak_of(CPU).flops
    assert again is not None
    assert 0.2 < again / peak.flops < 5
