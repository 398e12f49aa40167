"""The dials of `nanochat data download`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanochat.config.fields import option
from nanochat.errors import UsageError

_RANGE = re.compile(r"(\d+)-(\d+)")


def parse_shards(text: str) -> range:
    """The numbers of `8` (the first eight) or `10-20` (both included).

    Raises:
        ValueError: the text is neither.
    """
    if text.isdecimal() and int(text) > 0:
        return range(int(text))
    if (found := _RANGE.fullmatch(text)) and int(found[1]) <= int(found[2]):
        return range(int(found[1]), int(found[2]) + 1)
    raise ValueError(f"expected a number of shards such as 8, or a range such as 10-20, found {text!r}")


def _checked(text: str) -> str:
    if text:
        parse_shards(text)
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadConfig:
    """What to fetch, and under which name to keep it.

    Raises:
        UsageError: settings that exclude each other.
    """

    source: str = option("climbmix", "fineweb-edu, climbmix, or owner/name of a data set on the hub")
    shards: str = option(
        "",
        "training shards: 8 (the first eight) or 10-20; default 8, of other sources all",
        flag=("-n", "--shards"),
        parse=_checked,
    )
    for_model: str = option("", "as many shards as a model of this depth is trained on, e.g. d20", flag="--for")
    name: str = option("", "name of the data set; default: that of the source")
    subset: str = option("", "of another source: only files in this folder, or named after it")
    split: str = option("train", "of another source: only files named after this split; empty: all of them")
    column: str = option("text", "of another source: the column with the text")
    revision: str = option("", "branch, tag or commit on the hub; default: the newest, and later on the same")
    workers: int = option(8, "files at a time")

    def __post_init__(self) -> None:
        if self.shards and self.for_model:
            raise UsageError("-n and --for both say how many shards", "leave one of them out")
        if self.workers < 1:
            raise UsageError(f"workers ({self.workers}) must be at least 1", "try --workers 8")
        if self.for_model and not (self.for_model.removeprefix("d").isdecimal() and self.depth):
            raise UsageError(f"--for ({self.for_model}) is no depth", "write it as d20")

    @property
    def depth(self) -> int:
        """The number in `for_model`, 0 where there is none."""
        return int(self.for_model.removeprefix("d") or 0)
