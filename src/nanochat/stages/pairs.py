"""The pairs that sft learns preferences from: read from files, part of them held out, rendered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.config.conversations import parse_ingredients
from nanochat.config.train import SftConfig
from nanochat.errors import UsageError
from nanochat.stages.folder import hash_of
from nanochat.stages.run import StageRun
from nanochat.tasks.files import HELD_OUT_SHARE, MAX_HELD_OUT, MIN_SPLIT
from nanochat.tasks.pairs import Pair, read_pairs
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.preferences import PairBatch, RenderedPair, pair_batch, render_pair


@dataclass(frozen=True, kw_only=True, slots=True)
class PairData:
    """Pairs to train on, and pairs to validate on."""

    train: Sequence[RenderedPair]
    validation: Sequence[RenderedPair]

    @property
    def all(self) -> list[RenderedPair]:
        """Those to train on first: the place of a pair here is its number."""
        return [*self.train, *self.validation]

    def batches(self, numbers: Sequence[int], length: int, pad: int, rows: int) -> list[PairBatch]:
        """Pairs with these numbers, in batches of at most `rows`."""
        pairs = self.all
        return [pair_batch(pairs, numbers[at : at + rows], length, pad) for at in range(0, len(numbers), rows)]

    def record(self, config: SftConfig, hashes: Mapping[str, str]) -> dict[str, Any]:
        """What the record of the run says."""
        return {
            "name": config.preferences,
            "pairs": len(self.train),
            "validation": len(self.validation),
            "files": {
                name: {"path": str(path.absolute()), "sha256": hashes[name]} for name, path in files_of(config).items()
            },
        }


def files_of(config: SftConfig) -> dict[str, Path]:
    """The files of pairs by the names they have in the config: the first to train on, another to validate on.

    Raises:
        UsageError: several to validate on.
    """
    names = [config.preferences]
    if config.val_data:
        names += [part.name for part in parse_ingredients(config.val_data, "val_data")]
    if len(names) > 2:
        raise UsageError("val_data names several files", "with --preferences give --val-data a single file of pairs")
    return {name: Path(name).expanduser() for name in names}


def file_hashes(config: SftConfig) -> dict[str, str]:
    """SHA-256 of the files of pairs, by the names they have in the config.

    Raises:
        UsageError: several to validate on.
        MissingError: one is not there.
        StorageError: one cannot be read.
    """
    hint = "give a file of chosen and rejected answers, JSONL"
    return {name: hash_of(path, f"there is no file {path} of pairs", hint) for name, path in files_of(config).items()}


def open_pairs(run: StageRun, config: SftConfig, tokenizer: Tokenizer, row_len: int) -> PairData:
    """Read the files, hold part out, and render.

    Raises:
        ConversationError: a file has bad lines.
        UsageError, MissingError, DamagedError, StorageError: a file cannot be used.
    """
    temporary = run.context.paths.cache / "conversations"
    first, *rest = files_of(config).values()
    pairs = read_pairs(first, temporary)
    held_out = read_pairs(rest[0], temporary)[:MAX_HELD_OUT] if rest else []
    if rest:
        known = {pair.question for pair in held_out}
        pairs = [pair for pair in pairs if pair.question not in known]
    else:
        pairs, held_out = split_pairs(pairs)
    sides = []
    cropped = dropped = 0
    for side in (pairs, held_out):
        rendered = [render_pair(tokenizer, pair, row_len + 1) for pair in side]
        cropped += sum(cut and kept is not None for kept, cut in rendered)
        dropped += sum(kept is None for kept, _ in rendered)
        sides.append([kept for kept, _ in rendered if kept is not None])
    if not sides[0]:
        raise UsageError(f"{first} has no pair to train on", "give more pairs, or --val-data another file")
    data = PairData(train=sides[0], validation=sides[1] or sides[0][:MAX_HELD_OUT])
    run.at_start(
        f"{config.preferences}: {len(sides[0]):,} pairs to train on, {len(sides[1]):,} held out; {cropped:,} cut to a "
        f"row, {dropped:,} left out whose answers are the same as far as a row goes"
    )
    if not sides[1]:
        run.notice("too few pairs to hold any out: validating on what is trained on; try --val-data")
    return data


def split_pairs(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and a twentieth to validate on, 200 at most: those whose questions have the lowest hashes."""
    if len(pairs) < MIN_SPLIT:
        return list(pairs), []
    questions = [pair.question for pair in pairs]
    count = min(math.ceil(len(pairs) * HELD_OUT_SHARE), MAX_HELD_OUT)
    limit = sorted(questions)[count]
    train = [pair for pair, question in zip(pairs, questions, strict=True) if question >= limit]
    return train, [pair for pair, question in zip(pairs, questions, strict=True) if question < limit]
