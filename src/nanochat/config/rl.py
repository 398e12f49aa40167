"""The dials of reinforcement learning."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.config.adapters import AdapterDials
from nanochat.config.chat import SamplingConfig
from nanochat.config.checks import at_least, not_negative
from nanochat.config.fields import option
from nanochat.config.rewards import parse_rewards
from nanochat.config.train import TrainConfig
from nanochat.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class RlConfig(AdapterDials, TrainConfig):
    """Reinforcement learning: the model answers, and what is paid well becomes likelier.

    Every example is seen once when `num_steps` is 0.
    """

    source: str = option("", "model to start from, as a selector; empty is the tag's sft stage", flag="--from")
    task: str = option("problems", "what is practised: tasks and files separated by commas")
    task_data: str = option("", "folder with task data, looked at before the downloads", parse="path")
    unsafe_exec: bool = option(False, "run a model's programs also where the sandbox of this machine is weak")
    conversations: int = option(20_000, "examples of each pocket task to practise on", parse="count")
    reward: str = option(
        "exact", "what is paid for: exact, format, length or a Python file, each with a weight: exact,length:0.2"
    )
    examples: int = option(16, "examples a step")
    samples: int = option(16, "answers to each of them")
    temperature: float = option(1.0, "randomness of the answers")
    top_k: int | None = option(50, "answers are sampled from this many likeliest tokens only; none for all")
    max_new_tokens: int = option(256, "longest answer", unit="tokens", flag="--max-tokens")
    updates: int = option(1, "updates from the answers of one step")
    clip: float = option(
        0.0, "with several updates, how far the probability of a token may move: 0.2 is 0.8 to 1.2 times; 0 any"
    )
    kl: float = option(0.0, "what it costs to move away from the starting model, times the divergence from it")
    lr_scale: float = option(0.05, "factor on every learning rate")
    warmup: int = option(0, "warm-up", unit="steps")
    warmdown: float = option(1.0, "share of the run in which the learning rate falls")
    final_lr: float = option(0.0, "learning rate at the end, as a share of the peak")
    eval_every: int = option(60, "steps between evaluations; 0 only before and after", unit="steps")
    eval_problems: int = option(400, "held-out problems of an evaluation")
    eval_samples: int = option(8, "answers to each of them, sampled as in training: pass@k up to this k")
    save_every: int = option(60, "steps between checkpoints; 0 only at the end", unit="steps")
    # of the other stages: steps count examples here, validation is by problems, and a policy's loss has no spikes
    total_batch_size: int = 0
    eval_tokens: int = 0
    skip_spikes: bool = False

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)
        parse_rewards(self.reward)
        self.check_adapters()
        self.sampling(0)
        if not any(name.strip() for name in self.task.split(",")):
            raise UsageError("task names nothing", "try --task problems")
        for name, least in (
            ("conversations", 1),
            ("examples", 1),
            ("samples", 2),
            ("updates", 1),
            ("eval_problems", 1),
            ("eval_samples", 1),
            ("warmup", 0),
        ):
            at_least(self, name, least, str(max(least, 4)))
        if self.temperature == 0:
            raise UsageError("temperature (0) gives the same answer every time", "try --temperature 1")
        not_negative(self, "clip", "kl", "lr_scale")
        if self.clip >= 1:
            raise UsageError(f"clip ({self.clip}) must be below 1", "try --clip 0.2")
        if self.clip and self.updates == 1:
            raise UsageError(
                "clip does nothing to a single update: no probability has moved yet", "try --updates 4, or leave it out"
            )

    def sampling(self, seed: int) -> SamplingConfig:
        """How answers are sampled."""
        return SamplingConfig(
            temperature=self.temperature, top_k=self.top_k, max_new_tokens=self.max_new_tokens, seed=seed
        )
