"""The sections of a configuration: one line for each, and the class that holds its settings.

A section is a table of `nanochat.toml` (`[train.base]`), a prefix of environment variables
(`NANOCHAT_TRAIN_BASE_`) and an argument of `nanochat config show`. Its class is imported when it is read.
"""

from __future__ import annotations

from importlib import import_module

GLOBAL = "global"
"""Name of the section whose keys stand at the top of the file, outside of any table."""

SECTIONS: dict[str, str] = {
    GLOBAL: "nanochat.config.base:GlobalConfig",
    "speedrun": "nanochat.config.speedrun:SpeedrunConfig",
    "data.download": "nanochat.config.download:DownloadConfig",
    "data.pocket": "nanochat.config.data:PocketDataConfig",
    "data.import": "nanochat.config.importing:ImportConfig",
    "data.identity": "nanochat.config.identity:IdentityConfig",
    "tokenizer.train": "nanochat.config.data:TokenizerConfig",
    "tokenizer.eval": "nanochat.config.evaluate:TokenizerEvalConfig",
    "train.base": "nanochat.config.train:BaseTrainConfig",
    "train.mid": "nanochat.config.train:MidTrainConfig",
    "train.sft": "nanochat.config.train:SftConfig",
    "train.rl": "nanochat.config.rl:RlConfig",
    "eval.base": "nanochat.config.evaluate_base:BaseEvalConfig",
    "eval.chat": "nanochat.config.evaluate:ChatEvalConfig",
    "slurm": "nanochat.config.slurm:SlurmConfig",
    "bench.train": "nanochat.config.bench:BenchTrainConfig",
    "bench.infer": "nanochat.config.bench:BenchInferConfig",
    "bench.matmul": "nanochat.config.bench:BenchMatmulConfig",
    "chat": "nanochat.config.chat:ChatConfig",
    "chat.screen": "nanochat.config.chat_screen:ChatScreenConfig",
    "chat.keys": "nanochat.config.chat_screen:ChatKeysConfig",
}


def section_class(section: str) -> type:
    """The dataclass of a section.

    Raises:
        KeyError: there is no such section.
    """
    module, name = SECTIONS[section].split(":")
    cls: type = getattr(import_module(module), name)
    return cls
