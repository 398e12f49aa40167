"""Settings that commands share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nanochat.config.fields import option
from nanochat.errors import UsageError

LOGGERS = ("tensorboard", "wandb", "trackio")


def parse_loggers(text: str) -> str:
    """Reads a comma-separated list of loggers.

    Raises:
        ValueError: one of them is none.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in names if name not in LOGGERS]:
        raise ValueError(f"expected loggers among {', '.join(LOGGERS)}, found {unknown[0]!r}")
    return ",".join(names)


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalConfig:
    """Keys at the top of a configuration file, before its first table.

    Raises:
        UsageError: a price that is none.
    """

    base_dir: str | None = option(
        None, "Folder for models, data and downloads, instead of the user's own.", parse="path"
    )
    log_format: Literal["text", "json"] = option(
        "text", "Progress on stderr: lines for people, or each event as a line of JSON."
    )
    price_per_hour: float | None = option(None, "Price of the whole machine: shows what the run costs.", unit="USD")
    logger: str = option(
        "", "Record the run with tensorboard, wandb or trackio too; can be repeated.", parse=parse_loggers
    )

    def __post_init__(self) -> None:
        if self.price_per_hour is not None and not 0 < self.price_per_hour < math.inf:
            raise UsageError(
                f"price_per_hour ({self.price_per_hour}) must be above 0", "try --price-per-hour 24, in US dollars"
            )

    @property
    def loggers(self) -> tuple[str, ...]:
        """Names of the loggers."""
        return tuple(name for name in self.logger.split(",") if name)
