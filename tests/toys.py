"""The dials of a toy model of two layers, whose stages take a second each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanochat.config.rl import RlConfig
from nanochat.config.train import BaseTrainConfig, MidTrainConfig, SftConfig, TrainConfig
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.runtime.processes import ALONE, Processes
from nanochat.stages.finetune import midtrain, sft
from nanochat.stages.folder import StageResult
from nanochat.stages.pretrain import pretrain
from nanochat.stages.rl import rl

MACHINE: dict[str, Any] = {"device": "cpu", "dtype": "float32", "compile": "off", "threads": 1}
SHARED: dict[str, Any] = {
    **MACHINE,
    "tag": "toy",
    "device_batch_size": 4,
    "total_batch_size": 8 * 128,
    "num_steps": 6,
    "eval_every": 3,
    "eval_tokens": 1024,
    "save_every": 2,
}
CONFIGS: dict[str, TrainConfig] = {
    "base": BaseTrainConfig(**SHARED, depth=2, head_dim=32, aspect_ratio=32, sequence_len=128, warmup=2),
    "mid": MidTrainConfig(**SHARED, conversations=200),
    "sft": SftConfig(**SHARED, conversations=200),
    "rl": RlConfig(
        **{name: value for name, value in SHARED.items() if name not in ("total_batch_size", "eval_tokens")},
        task="spelling",
        conversations=40,
        reward=str(Path(__file__).parent / "paid.py"),
        examples=3,
        samples=5,
        max_new_tokens=10,
        lr_scale=0.5,
        eval_problems=5,
        eval_samples=2,
    ),
}
STAGES: dict[str, Callable[..., StageResult]] = {"base": pretrain, "mid": midtrain, "sft": sft, "rl": rl}


def context_of(base: Path, processes: Processes = ALONE) -> RunContext:
    """One thread on a CPU, in float32."""
    return RunContext(
        paths=Paths(base=base, cache=base / "cache"),
        device="cpu",
        dtype="float32",
        compile=False,
        threads=1,
        processes=processes,
    )
