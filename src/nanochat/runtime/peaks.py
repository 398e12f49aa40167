"""What a device can do at most, and which share of it a run uses (MFU).

Peaks are dense (no sparsity) bfloat16 FLOP/s with float32 sums as the vendors state them; float16 on devices without
bfloat16 (V100, T4, RTX 20, which have the same rate for both where they have both). They are matched on the name that
the driver gives the device. A CPU has no such figure worth having: it is measured.

Sources: NVIDIA's data sheets of V100, T4, A100, A10, A30, A40, L4, L40, L40S, RTX A/Ada, H100, H200, B200 and B300
(half of the "with sparsity" figure where only that is given); H20, H800 and A800 as announced for their market;
NVIDIA's architecture white papers of Turing, Ampere, Ada and Blackwell for GeForce cards ("FP16 tensor with FP32
accumulate", dense); AMD's data sheets of Instinct MI210 to MI355X and Radeon. Apple states no such figure:
GPU cores * 128 FMA lanes * clock * 2, at the rate of float32 (M1 to M4 gain nothing from half precision), for the
largest variant of each chip; they are marked as estimates. Laptop cards share their names with faster desktop
cards: those are marked as estimates too.

Not covered: a power limit or a clock below the stated boost, both of which lower what can be reached.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nanochat.runtime.context import RunContext
from nanochat.runtime.devices import cpu_name, matmul_rates

PEAK_SIZE = 1024  # rates of a CPU no longer grow from here on, and one product still takes milliseconds
Origin = Literal["stated", "estimated", "measured", "unknown"]

# (words that must all occur in the name, TFLOP/s); the first match counts, so longer names come first
_STATED: tuple[tuple[str, float], ...] = (
    # data centre
    ("gb300", 2500.0),
    ("gb200", 2500.0),
    ("b300", 2250.0),
    ("b200", 2250.0),
    ("b100", 1800.0),
    ("gh200", 989.4),
    ("h200 nvl", 835.5),
    ("h200", 989.4),
    ("h100 nvl", 835.5),
    ("h100 pcie", 756.5),
    ("h100", 989.4),
    ("h800 pcie", 756.5),
    ("h800", 989.4),
    ("h20", 148.0),
    ("a100", 312.0),
    ("a800", 312.0),
    ("a40", 149.7),
    ("a30", 165.0),
    ("a10g", 70.0),
    ("a10", 125.0),
    ("a16", 17.9),
    ("a2", 18.0),
    ("l40s", 362.05),
    ("l40", 181.05),
    ("l20", 119.5),
    ("l4", 121.0),
    ("v100 pcie", 112.0),
    ("v100", 125.0),
    ("t4", 65.0),
    # workstation
    ("rtx pro 6000", 503.8),
    ("rtx 6000 ada", 364.2),
    ("rtx 5000 ada", 261.1),
    ("rtx 4500 ada", 158.5),
    ("rtx 4000 ada", 106.9),
    ("rtx a6000", 154.8),
    ("rtx a5000", 111.1),
    ("rtx a4000", 76.7),
    ("quadro rtx 8000", 130.5),
    ("quadro rtx 6000", 130.5),
    # GeForce: half rate when sums are float32, which is how torch multiplies
    ("rtx 5090", 209.5),
    ("rtx 5080", 112.6),
    ("rtx 5070 ti", 87.9),
    ("rtx 5070", 61.7),
    ("rtx 5060 ti", 47.4),
    ("rtx 5060", 38.4),
    ("rtx 4090", 165.2),
    ("rtx 4080 super", 104.4),
    ("rtx 4080", 97.5),
    ("rtx 4070 ti super", 88.2),
    ("rtx 4070 ti", 80.2),
    ("rtx 4070 super", 70.9),
    ("rtx 4070", 58.3),
    ("rtx 4060 ti", 44.1),
    ("rtx 4060", 30.2),
    ("rtx 3090 ti", 80.0),
    ("rtx 3090", 71.2),
    ("rtx 3080 ti", 68.2),
    ("rtx 3080", 59.5),
    ("rtx 3070 ti", 43.5),
    ("rtx 3070", 40.6),
    ("rtx 3060 ti", 32.4),
    ("rtx 3060", 25.6),
    ("titan rtx", 130.5),
    ("rtx 2080 ti", 53.8),
    ("rtx 2080 super", 44.6),
    ("rtx 2080", 40.3),
    ("rtx 2070 super", 36.3),
    ("rtx 2070", 29.9),
    ("rtx 2060 super", 28.7),
    ("rtx 2060", 25.8),
    # AMD
    ("mi355x", 2516.6),
    ("mi350x", 2309.6),
    ("mi325x", 1307.4),
    ("mi300x", 1307.4),
    ("mi300a", 980.6),
    ("mi250x", 191.5),  # a card is two devices: half of its figure
    ("mi250", 181.05),
    ("mi210", 181.0),
    ("mi100", 92.3),
    ("rx 9070 xt", 194.6),
    ("rx 7900 xtx", 122.8),
    ("rx 7900 xt", 103.0),
)
_APPLE: tuple[tuple[str, float], ...] = (
    ("m1 ultra", 20.8),
    ("m1 max", 10.4),
    ("m1 pro", 5.2),
    ("m1", 2.6),
    ("m2 ultra", 27.2),
    ("m2 max", 13.6),
    ("m2 pro", 6.8),
    ("m2", 3.6),
    ("m3 ultra", 28.3),
    ("m3 max", 14.1),
    ("m3 pro", 6.4),
    ("m3", 3.5),
    ("m4 max", 18.4),
    ("m4 pro", 9.2),
    ("m4", 4.6),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """What one device can do.

    Attributes:
        flops: floating-point operations a second; None when unknown.
        origin: where the figure is from.
        device: the name that was looked up.
    """

    flops: float | None
    origin: Origin
    device: str

    @property
    def text(self) -> str:
        """`989 TFLOP/s (stated for NVIDIA H200)`, or n/a."""
        if self.flops is None:
            return f"n/a (no figure for {self.device})"
        return f"{self.flops / 1e12:.3g} TFLOP/s ({self.origin} for {self.device})"


def known_peak(name: str) -> Peak:
    """The peak of a device by its name, e.g. "NVIDIA A100-SXM4-80GB", "AMD Instinct MI300X" or "Apple M2 Pro"."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    table, origin = _STATED, "stated"
    if "apple" in words:
        table, origin = _APPLE, "estimated"
    elif "laptop" in words or "mobile" in words or "max" in words:
        origin = "estimated"
    for key, tera in table:
        if all(part in words for part in key.split()):
            return Peak(flops=tera * 1e12, origin=_origin(origin), device=name)
    return Peak(flops=None, origin="unknown", device=name)


def _origin(text: str) -> Origin:
    return "stated" if text == "stated" else "estimated"


def peak_of(context: RunContext) -> Peak:
    """The peak of the device that `context` computes on; on a CPU measured, in the run's dtype (0.25 s)."""
    import torch

    if context.device == "cuda":
        return known_peak(torch.cuda.get_device_name())
    if context.device == "mps":
        return known_peak(cpu_name())
    rate = matmul_rates((context.dtype,), size=PEAK_SIZE, seconds=0.2)[context.dtype]
    return Peak(flops=rate, origin="measured", device=f"{cpu_name()}, {context.threads_text}, {context.dtype}")


def utilization(flops_per_token: float, tokens_per_s: float, peak: Peak, world_size: int = 1) -> float | None:
    """MFU: the share of the peak of all devices that the model's own arithmetic takes; None when unknown.

    Source: PaLM, arXiv 2204.02311, appendix B. `tokens_per_s` is that of all devices together.
    """
    if not peak.flops:
        return None
    return flops_per_token * tokens_per_s / (peak.flops * world_size)
