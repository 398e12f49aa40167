"""Presets of `nanochat speedrun`: the settings of every stage under one name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.config.fields import option
from nanochat.config.rl import RlConfig
from nanochat.config.train import BaseTrainConfig, Choice, Device, Dtype, MidTrainConfig, SftConfig
from nanochat.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedrunConfig:
    """What a person may change about a preset without making it another one."""

    tag: str = option("", "name of the model; empty is the preset's")
    device: Device = option("auto", "where to compute")
    dtype: Dtype = option("auto", "number format of the computation; auto measures")
    compile: Choice = option("auto", "torch.compile; auto when a compiler is there and it is faster")
    threads: int = option(0, "CPU threads; 0 chooses")
    scale: float = option(1.0, "factor on the length of every training stage")
    rl: bool = option(False, "end with reinforcement learning on word problems; about a minute more")
    seed: int = option(42, "seed of weights and order; the text stays the same")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Settings of the whole pipeline."""

    data: PocketDataConfig
    tokenizer: TokenizerConfig
    base: BaseTrainConfig
    mid: MidTrainConfig
    sft: SftConfig
    rl: RlConfig | None
    evaluation: ChatEvalConfig

    @property
    def trained(self) -> tuple[str, ...]:
        """Names of the stages that train, in their order."""
        return ("base", "mid", "sft", "rl") if self.rl else ("base", "mid", "sft")

    def for_processes(self, count: int) -> Recipe:
        """The same training by `count` processes, each with as many rows at a time as its share of a step allows.

        Raises:
            UsageError: the rows of a step cannot be shared out evenly.
        """
        stages = (self.base, self.mid, self.sft)
        rows = [stage.total_batch_size // self.base.sequence_len for stage in stages]
        evenly = math.gcd(*rows)
        if evenly % count:
            fitting = next(number for number in range(count, 0, -1) if evenly % number == 0)
            raise UsageError(
                f"{count} processes cannot share the {min(rows)} to {max(rows)} rows of a step of this recipe evenly",
                f"take {fitting} processes (--nproc {fitting} on one machine)",
            )
        each = [math.gcd(number // count, stage.device_batch_size) for number, stage in zip(rows, stages, strict=True)]
        return replace(
            self,
            base=replace(self.base, device_batch_size=each[0]),
            mid=replace(self.mid, device_batch_size=each[1]),
            sft=replace(self.sft, device_batch_size=each[2]),
        )


def pocket_recipe(config: SpeedrunConfig) -> Recipe:
    """A model of 3 million matrix parameters, from nothing to chat on two CPU cores in minutes.

    The shapes of the first three training stages are the same, so one compiled step serves them all. Batches are as
    small as the optimizer's own time allows: at this size many steps teach more than many tokens. Reinforcement
    learning practises what sft saw some hundred times among tens of thousands, word problems.
    """
    tag = config.tag or "pocket"
    machine: dict[str, Any] = {
        "tag": tag,
        "device": config.device,
        "dtype": config.dtype,
        "compile": config.compile,
        "threads": config.threads,
        "seed": config.seed,
        "device_batch_size": 8,
        "eval_tokens": 16_384,
        "eval_every": 100,
        "save_every": 100,
        "sample_every": 400,
    }

    def steps(count: int) -> int:
        return max(1, round(count * config.scale))

    practice = RlConfig(
        **{name: value for name, value in machine.items() if name != "eval_tokens"}
        | {"device_batch_size": 32, "eval_every": 0, "save_every": 20},
        num_steps=steps(50),
        task="problems,spelling,counting",  # what is not practised may be lost, counting above all
        conversations=1_000,
        examples=24,
        samples=8,
        max_new_tokens=48,
        lr_scale=0.4,
        eval_problems=50,
        eval_samples=4,
    )

    return Recipe(
        data=PocketDataConfig(name="pocket", size=12_000_000, shard_size=4_000_000),
        tokenizer=TokenizerConfig(name="pocket", data="pocket", vocab_size=4096, max_chars=8_000_000),
        base=BaseTrainConfig(
            **machine,
            total_batch_size=4096,
            depth=4,
            head_dim=64,
            sequence_len=256,
            window_pattern="L",
            data="pocket",
            tokenizer="pocket",
            num_steps=steps(300),
            warmup=15,
            warmdown=0.3,
            final_lr=0.3,
            weight_decay=0.0,
            matrix_lr=0.3,
            embedding_lr=2.4,
            unembedding_lr=0.06,
        ),
        mid=MidTrainConfig(
            **machine,
            total_batch_size=2048,
            num_steps=steps(700),
            embedding_lr=0.3,
            unembedding_lr=0.008,
            lr_scale=0.8,
            warmdown=0.5,
            final_lr=0.3,
        ),
        sft=SftConfig(
            **machine, total_batch_size=2048, num_steps=steps(720), conversations=30_000, lr_scale=0.6, warmdown=0.8
        ),
        rl=practice if config.rl else None,
        evaluation=ChatEvalConfig(device=config.device, threads=config.threads),
    )


PRESETS = {"pocket": pocket_recipe}
