"""The dials of the training stages: what they share, then base, mid and sft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanochat.config.adapters import AdapterDials
from nanochat.config.checks import above_zero, at_least, not_negative
from nanochat.config.conversations import AUTO, parse_ingredients
from nanochat.config.fields import option
from nanochat.config.mixture import parse_mixture
from nanochat.config.model import MIN_WIDTH, ModelConfig, era_config, model_shape
from nanochat.errors import UsageError

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
AttentionName = Literal["any", "fa3", "flex", "sdpa"]
Choice = Literal["auto", "on", "off"]

MIN_ROW = 16  # tokens: bos, the signs of a question and its answer, and something in between


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What every training stage can be told.

    Raises:
        UsageError: sizes that cannot work together.
    """

    tag: str = option("my-model", "name of the model")
    run: str = option("", "name of this run in its records; empty is the tag")
    device_batch_size: int = option(
        32, "rows per micro-step; auto takes as many as fit, on a CPU as many as pay", unit="rows", parse="auto"
    )
    total_batch_size: int = option(
        0, "tokens per step; 0 chooses, in mid and sft as the stage before", unit="tokens", parse="count"
    )
    num_steps: int = option(0, "steps to train; 0 chooses", unit="steps", parse="count")
    warmdown: float = option(0.65, "share of the run in which the learning rate falls")
    final_lr: float = option(0.05, "learning rate at the end, as a share of the peak")
    eval_every: int = option(250, "steps between validations; 0 only at the end", unit="steps")
    eval_tokens: int = option(80 * 2**19, "validation tokens", unit="tokens", parse="count")
    save_every: int = option(250, "steps between checkpoints; 0 only at the end", unit="steps")
    sample_every: int | None = option(2000, "steps between samples of text; 0 only at the end", unit="steps")
    resume: Literal["auto", "never", "require"] = option(
        "auto", "a run there is of this model and stage: auto goes on with it, never refuses to, require to begin anew"
    )
    keep: int = option(2, "newest checkpoints kept in a stage's folder; the best by validation stays too")
    skip_spikes: bool = option(
        False, "leave out an update whose loss is 6 standard deviations above the mean of the last 128"
    )
    seed: int = option(42, "seed of weights and order")
    device: Device = option("auto", "where to compute")
    dtype: Dtype = option("auto", "number format of the computation; auto measures")
    compile: Choice = option("auto", "torch.compile; auto when a compiler is there and it is faster")
    threads: int = option(0, "CPU threads; 0 chooses")
    require_attn: AttentionName = option(
        "any", "attention kernel without which the run is refused; any takes the fastest"
    )
    fp8: bool = option(False, "multiply the matrices of the blocks in 8 bits; NVIDIA GPUs from Ada on")
    activation_checkpointing: bool = option(
        False, "compute activations twice instead of keeping them: far less memory, about a third more time"
    )

    def __post_init__(self) -> None:
        at_least(self, "keep", 1, "1")
        for name in (
            *(
                "device_batch_size",
                "total_batch_size",
                "num_steps",
                "eval_every",
                "eval_tokens",
                "save_every",
                "sample_every",
            ),
            *("seed", "threads"),
        ):
            if (getattr(self, name) or 0) < 0:
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must not be negative",
                    f"try --{name.replace('_', '-')} 0",
                )
        for name in ("warmdown", "final_lr"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must lie between 0 and 1",
                    f"try --{name.replace('_', '-')} 0.5",
                )

    @property
    def samples_every(self) -> int:
        """Steps between samples: as between validations where nothing else was said."""
        return self.eval_every if self.sample_every is None else self.sample_every

    def micro_steps(self, sequence_len: int, total_batch_size: int, processes: int = 1) -> int:
        """Micro-steps in a step; the most there can be, of one row each, where rows per micro-step are to be chosen.

        Raises:
            UsageError: the total batch is not a multiple of the tokens of one micro-step of all processes.
        """
        rows = self.device_batch_size or 1
        tokens = rows * sequence_len * processes
        if total_batch_size % tokens:
            nearest = max(1, round(total_batch_size / tokens)) * tokens
            words, factors = "device_batch_size * sequence_len", f"{rows} * {sequence_len}"
            ways = [f"try --total-batch-size {nearest}"]
            if rows > 1 and total_batch_size % (sequence_len * processes) == 0:
                ways.append("lower --device-batch-size")
            if processes > 1:
                words, factors = f"{words} * processes", f"{factors} * {processes}"
                fitting = [n for n in range(1, processes) if total_batch_size % (rows * sequence_len * n) == 0]
                ways += [f"take {number} processes (--nproc {number} on one machine)" for number in fitting[-1:]]
            raise UsageError(
                f"total_batch_size ({total_batch_size}) must be divisible by {words} ({factors} = {tokens})",
                ", or ".join(ways),
            )
        return total_batch_size // tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseTrainConfig(TrainConfig):
    """Pretraining on plain text.

    With `source` the shape is that of the model it names, except for `sequence_len`.
    """

    source: str = option(
        "", "model to go on with, as a selector: its weights, shape and tokenizer; empty begins anew", flag="--from"
    )
    depth: int = option(20, "number of layers; sets every other size")
    aspect_ratio: int = option(64, "channels per layer of depth")
    head_dim: int = option(128, "channels per attention head")
    sequence_len: int = option(2048, "context", unit="tokens", parse="count")
    window_pattern: str = option("SSSL", "attention windows by layer, tiled: S short, L long")
    recipe: Literal["modern", "classic"] = option("modern", "modern is today's architecture, classic that of 2025")
    data: str = option("pocket", "data set to train on, or several by their shares of the tokens: a:0.9,b:0.1")
    damage_limit: int = option(16, "places in the data that may be unreadable before the run stops")
    tokenizer: str = option("pocket", "tokenizer to start from")
    tails: Literal["keep", "drop"] = option(
        "keep", "the rest of a document that was cut to fill a row: kept for a later row, or dropped"
    )
    ratio: float | None = option(
        None, "training tokens per parameter; 12 of matrices and lm_head, in the classic recipe 20 of all"
    )
    target_flops: float | None = option(
        None, "what the run may cost, instead of the ratio; num-steps wins over both", unit="FLOPs"
    )
    matrix_lr: float = option(0.02, "learning rate of the matrices (Muon)")
    embedding_lr: float = option(0.3, "learning rate of the token embedding")
    unembedding_lr: float = option(0.008, "learning rate of the output layer")
    scalar_lr: float = option(0.5, "learning rate of x0_lambdas; that of resid_lambdas is a hundredth")
    weight_decay: float = option(0.28, "weight decay of the matrices at the reference point")
    warmup: int = option(40, "warm-up", unit="steps")
    core_every: int = option(
        0, "steps between measurements of CORE, which is measured at the end too then; 0 never", unit="steps"
    )
    core_max_per_task: int = option(500, "items of each CORE task at most; 0 takes all", unit="items")
    core_bundle: str | None = option(None, "folder of the CORE bundle, instead of downloading it", parse="path")

    def __post_init__(self) -> None:
        # super() without arguments does not work in slotted dataclasses before Python 3.14
        TrainConfig.__post_init__(self)
        parse_mixture(self.data)
        if self.damage_limit < 0:
            raise UsageError(f"damage_limit ({self.damage_limit}) must not be negative", "try --damage-limit 0")
        above_zero(self, "ratio", "12")
        above_zero(self, "target_flops", "1e18")
        not_negative(self, "matrix_lr", "embedding_lr", "unembedding_lr", "scalar_lr", "weight_decay", "warmup")
        not_negative(self, "core_every", "core_max_per_task")

    def model(self, vocab_size: int) -> ModelConfig:
        """The model these dials describe."""
        shape = model_shape(self.depth, head_dim=self.head_dim, aspect_ratio=self.aspect_ratio)
        era = "A" if self.recipe == "classic" else "D"
        windows = {} if era == "A" else {"window_pattern": self.window_pattern}
        if era != "A" and shape["n_embd"] < MIN_WIDTH:
            raise UsageError(
                f"n_embd ({shape['n_embd']}) must be at least {MIN_WIDTH}: smear reads that many channels",
                "raise --depth or --head-dim, or take --recipe classic",
            )
        return era_config(era, vocab_size=vocab_size, sequence_len=self.sequence_len, **shape, **windows)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatTrainConfig(TrainConfig):
    """What mid and sft have in common. Without `num_steps` everything is seen `epochs` times.

    A learning rate of None is that of the model to start from.
    """

    device_batch_size: int = option(
        0, "rows per micro-step; auto takes as many as fit, on a CPU as many as pay", unit="rows", parse="auto"
    )

    source: str = option("", "model to start from, as a selector; empty is the tag's previous stage", flag="--from")
    data: str = option(
        AUTO,
        "what to learn from: pocket (the built-in tasks), reference (that system's mixture), tasks and files, as in "
        "gsm8k:4,mine.jsonl:3 (three times); auto is pocket for a model of the pocket world, else reference",
    )
    mixture: str = option("", "TOML file with a mixture by epochs or weights, instead of data", parse="path")
    task_data: str = option("", "folder with task data, looked at before the downloads", parse="path")
    val_data: str = option("", "files to validate on; by default part of the data is held out")
    conversations: int = option(20_000, "conversations of the pocket tasks in the mixture", parse="count")
    epochs: float = option(1.0, "how often everything is seen; num-steps wins over it")
    sequence_len: int = option(
        0, "tokens of a row; 0 is the model's context, a longer row becomes its context", unit="tokens", parse="count"
    )
    sample_every: int | None = option(
        None, "steps between samples of text; 0 only at the end, by default as eval-every", unit="steps"
    )
    eval_tasks: str = option(
        "",
        "tasks and files to score at every validation, separated by commas; all is the pocket tasks, chatcore those of "
        "ChatCORE",
    )
    eval_problems: int = option(50, "problems of each of these tasks at most")
    eval_new_tokens: int = option(128, "longest answer to one of these problems", unit="tokens")
    unsafe_exec: bool = option(False, "run a model's programs also where the sandbox of this machine is weak")
    matrix_lr: float | None = option(None, "learning rate of the matrices (Muon); by default that of the model")
    embedding_lr: float | None = option(None, "learning rate of the token embedding; by default that of the model")
    unembedding_lr: float | None = option(None, "learning rate of the output layer; by default that of the model")
    scalar_lr: float = option(0.5, "learning rate of x0_lambdas; that of resid_lambdas is a hundredth")
    lr_scale: float = option(1.0, "factor on every learning rate")

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)
        for name, example in (("conversations", "20K"), ("eval_problems", "50"), ("eval_new_tokens", "128")):
            at_least(self, name, 1, example)
        above_zero(self, "epochs", "1")
        if self.sequence_len and self.sequence_len < MIN_ROW:
            raise UsageError(f"sequence_len ({self.sequence_len}) must be at least {MIN_ROW}", "try --sequence-len 256")
        not_negative(self, "matrix_lr", "embedding_lr", "unembedding_lr", "scalar_lr", "lr_scale")
        if self.mixture and self.data != AUTO:
            raise UsageError("data and mixture both say what to learn from", "leave out --data, or --mixture")
        parse_ingredients(self.data)
        if self.val_data:
            parse_ingredients(self.val_data, "val_data")


@dataclass(frozen=True, kw_only=True, slots=True)
class MidTrainConfig(ChatTrainConfig):
    """Mid-training: the form of a conversation, all tokens trained."""

    matrix_lr: float | None = option(0.02, "learning rate of the matrices (Muon); none is that of the model")
    embedding_lr: float | None = option(0.2, "learning rate of the token embedding; none is that of the model")
    unembedding_lr: float | None = option(0.004, "learning rate of the output layer; none is that of the model")
    warmdown: float = option(0.2, "share of the run in which the learning rate falls")
    final_lr: float = option(0.0, "learning rate at the end, as a share of the peak")


@dataclass(frozen=True, kw_only=True, slots=True)
class SftConfig(AdapterDials, ChatTrainConfig):
    """Supervised fine-tuning: only the assistant's tokens are trained. With `preferences` pairs of answers are."""

    lr_scale: float = option(0.8, "factor on every learning rate")
    warmdown: float = option(0.5, "share of the run in which the learning rate falls")
    final_lr: float = option(0.0, "learning rate at the end, as a share of the peak")
    preferences: str = option(
        "", "file of pairs of a better and a worse answer to learn from (DPO) instead of conversations", parse="path"
    )
    beta: float = option(0.1, "with preferences: how closely to stay with the starting model")
    chosen_weight: float = option(
        1.0, "with preferences: weight of the better answer's own loss beside that of the preference"
    )
    preference_lr_scale: float = option(
        0.05, "with preferences: a further factor on learning rates, not on that of adapters"
    )

    def __post_init__(self) -> None:
        ChatTrainConfig.__post_init__(self)
        self.check_adapters()
        above_zero(self, "beta", "0.1")
        above_zero(self, "preference_lr_scale", "0.05")
        not_negative(self, "chosen_weight")
        for flag, value in (("--data", self.data if self.data != AUTO else ""), ("--mixture", self.mixture)):
            if self.preferences and value:
                raise UsageError(
                    f"{flag} {value} and --preferences exclude each other", "train on one, then on the other"
                )
