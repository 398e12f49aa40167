"""What mid and sft train and validate on: the pocket tasks, files of conversations, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nanochat.config.conversations import Ingredient, parse_ingredients
from nanochat.config.train import ChatTrainConfig
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.files import sha256_file, translate_os_errors
from nanochat.runtime.paths import Paths
from nanochat.tasks.files import MAX_HELD_OUT, ConversationFile, FileTask, split_file
from nanochat.tasks.mixture import Mixture
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render
from nanochat.tokenizer.tokenizer import Tokenizer

VALIDATION_PER_TASK = 20

# In conversations; a list with its follow-up questions is over four times as long as a question about a fact, so
# lists are about half of the tokens. Binding a choice to its letter is learnt last and only where the answer alone is
# trained (a letter is one token in sixty): hence more choices in sft, and fewer lines in full.
SHARES = {
    "mid": {
        "facts": 22,
        "arithmetic": 4,
        "counting": 5,
        "spelling": 3,
        "problems": 0.2,
        "choice": 5,
        "lookup": 4,
        "binding": 3,
        "identity": 1,
        "dialogue": 2,
    },
    "sft": {
        "facts": 32,
        "arithmetic": 5,
        "counting": 6,
        "spelling": 4,
        "problems": 0.25,
        "choice": 6,
        "lookup": 4,
        "binding": 1,
        "identity": 1,
        "dialogue": 2,
    },
}
MEAN_POCKET_TOKENS = 60  # of a conversation in the pocket mixture; decides only how long a run of N of them is
SAMPLED = 256  # conversations of other mixtures whose length is measured for the same purpose

Stage = Literal["mid", "sft"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatData:
    """What a stage learns from.

    Attributes:
        train: in the order of training.
        validation: held-out conversations.
        lines: what was found, for people.
        notices: what they should think about.
        record: what the run's record says of it.
    """

    train: Mixture
    validation: tuple[Conversation, ...]
    lines: tuple[str, ...]
    notices: tuple[str, ...]
    record: Mapping[str, Any]


def file_hashes(config: ChatTrainConfig) -> dict[str, str]:
    """SHA-256 of every file of the config, by the name it has there.

    Raises:
        MissingError: a file is not there.
        StorageError: it cannot be read.
    """
    texts = ((config.data, "data"), (config.val_data, "val_data"))
    parts = [part for text, setting in texts if text for part in parse_ingredients(text, setting)]
    return {part.name: _sha256(part) for part in parts if not part.is_pocket}


def open_chat_data(stage: Stage, config: ChatTrainConfig, paths: Paths, hashes: Mapping[str, str]) -> ChatData:
    """Read the files of a config, hold part of each out, and mix.

    Without `val_data` a twentieth of each file is for validation, beside held-out pocket conversations where pocket
    is trained on.

    Args:
        stage: mid or sft; they have pocket conversations of their own.
        config: says what, how often, and in which order (seed).
        paths: compressed files are unpacked in its cache.
        hashes: from `file_hashes`, for the record.

    Raises:
        ConversationError: a file has bad lines; the first are named.
        UsageError, MissingError, DamagedError, StorageError: a file cannot be used.
    """
    parts: list[tuple[Task, int | None]] = []
    validation: list[Conversation] = []
    notices: list[str] = []
    files: dict[str, dict[str, Any]] = {}
    opened: list[tuple[Ingredient, ConversationFile, np.ndarray]] = []
    kept_out: list[np.ndarray] = []  # fingerprints of what is for validation
    for part in parse_ingredients(config.data):
        if part.is_pocket:
            parts += [(task, None) for task in _pocket(stage, config.conversations * part.times).values()]
            if not config.val_data:
                validation += pocket_validation()
            continue
        file = ConversationFile(part.path, paths.cache / "conversations")
        held_out = np.arange(0) if config.val_data else split_file(file)
        validation += [file[int(row)] for row in held_out]
        kept_out.append(file.fingerprints[held_out])
        opened.append((part, file, held_out))
    for part in parse_ingredients(config.val_data, "val_data") if config.val_data else ():
        if part.is_pocket:
            validation += pocket_validation()
            continue
        chosen, fingerprints, files[part.name] = _validation_of(part, paths, hashes)
        validation += chosen
        kept_out.append(fingerprints)
        if len(chosen) < (there := files[part.name]["conversations"]):
            notices.append(f"{part.name}: validating on {len(chosen)} of its {there:,} conversations")
    for part, file, held_out in opened:
        # what is validated on in one file is not trained on from another
        train = np.flatnonzero(~np.isin(file.fingerprints, np.concatenate(kept_out)))
        if not len(train):
            raise UsageError(f"every conversation of {part.name} is for validation too", "give --val-data another file")
        parts.append((FileTask(file, part.name, train), part.times * len(train)))
        files[part.name] = _record(part.name, file, hashes, times=part.times, held_out=len(held_out), train=len(train))
    mixture = Mixture(parts, seed=config.seed)
    if not validation:
        validation = [mixture[int(row)] for row in _spread(len(mixture), MAX_HELD_OUT)]
        notices.append("too few conversations to hold any out: validating on what is trained on; try --val-data")
    lines = [
        f"{part.name}: {len(file):,} conversations, {mixture.counts[part.name]:,} to train on"
        + (f" ({part.times} times)" if part.times > 1 else "")
        + (f", {len(held_out):,} held out" if len(held_out) else "")
        for part, file, held_out in opened
    ]
    record = {
        "name": config.data,
        "conversations": len(mixture),
        "mixture": mixture.counts,
        **({"files": files, "validation": len(validation)} if files else {}),
    }
    return ChatData(
        train=mixture, validation=tuple(validation), lines=tuple(lines), notices=tuple(notices), record=record
    )


def pocket_validation() -> list[Conversation]:
    """Held-out conversations of every pocket task."""
    return [conversation for task in pocket_tasks("val", VALIDATION_PER_TASK).values() for conversation in task]


def mean_tokens(data: ChatData, tokenizer: Tokenizer, row_len: int) -> float:
    """Mean tokens of a conversation of the mixture, each cut to a row; an estimate that is the same in every run."""
    if "files" not in data.record:
        return MEAN_POCKET_TOKENS
    rows = _spread(len(data.train), SAMPLED)
    return sum(min(row_len, len(render(tokenizer, data.train[int(row)])[0])) for row in rows) / len(rows)


def _pocket(stage: Stage, count: int) -> dict[str, Task]:
    shares = SHARES[stage]
    sizes = {name: max(1, round(count * share / sum(shares.values()))) for name, share in shares.items()}
    return pocket_tasks("train", sizes=sizes, seed=list(SHARES).index(stage))


def _validation_of(
    part: Ingredient, paths: Paths, hashes: Mapping[str, str]
) -> tuple[list[Conversation], np.ndarray, dict[str, Any]]:
    """Of a file that is for validation alone: conversations spread over it, their fingerprints, and its record."""
    file = ConversationFile(part.path, paths.cache / "conversations")
    rows = _spread(len(file), MAX_HELD_OUT)
    chosen = [file[int(row)] for row in rows]
    file.close()
    return chosen, file.fingerprints[rows], _record(part.name, file, hashes, held_out=len(rows))


def _record(name: str, file: ConversationFile, hashes: Mapping[str, str], **values: int) -> dict[str, Any]:
    return {
        "path": str(file.path.absolute()),
        "sha256": hashes[name],
        "conversations": len(file),
        **values,
    }


def _sha256(part: Ingredient) -> str:
    with translate_os_errors(part.path):
        if not part.path.exists():
            raise MissingError(
                f"there is no file {part.name} to train on",
                "give a file of conversations, or pocket for the built-in tasks",
            )
        return sha256_file(part.path) if part.path.is_file() else ""


def _spread(count: int, most: int) -> np.ndarray:
    """`most` numbers below `count`, evenly spread; all of them where there are not so many."""
    return np.arange(count) if count <= most else np.arange(most) * count // most
