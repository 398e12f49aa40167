"""What mid and sft train and validate on: the pocket tasks, other tasks, files, or a mixture of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from nanochat.checkpoints.layout import read_json
from nanochat.config.conversations import AUTO, POCKET, Ingredient, Recipe, parse_ingredients, recipe_of
from nanochat.config.train import ChatTrainConfig
from nanochat.errors import UsageError
from nanochat.pocket.conversations import KINDS
from nanochat.pocket.held_out import Split
from nanochat.runtime.paths import Paths
from nanochat.stages.folder import hash_of
from nanochat.tasks.files import MAX_HELD_OUT, ConversationFile, FileTask, split_file
from nanochat.tasks.hub import Places
from nanochat.tasks.mixture import Mixture, counts_by_weight
from nanochat.tasks.names import canonical, is_task
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tasks.registry import open_task
from nanochat.tasks.task import Task
from nanochat.tasks.views import Chain, View, view
from nanochat.tokenizer.conversation import Conversation

VALIDATION_PER_TASK = 20

# In conversations; a list with its follow-up questions is over four times as long as a question about a fact. Finding
# a choice's letter is learnt last, all at once after some five hundred steps of it, whatever came before; so mid drills
# it in half of its tokens, and sft finds it there.
SHARES = {
    "mid": {
        "facts": 12,
        "arithmetic": 4,
        "counting": 4,
        "spelling": 10,
        "problems": 0.35,
        "choice": 6,
        "lookup": 2,
        "drill": 14,
        "binding": 1,
        "identity": 1,
        "dialogue": 1,
    },
    "sft": {
        "facts": 26,
        "arithmetic": 5.5,
        "counting": 6,
        "spelling": 9,
        "problems": 0.2,
        "choice": 7,
        "lookup": 2,
        "drill": 2,
        "binding": 0.5,
        "identity": 1.5,
        "dialogue": 2,
    },
}
CHARS_PER_TOKEN = 3  # at least, of English: decides how many held-out conversations of tasks hold eval_tokens
# what a task is validated on: another split, and how many of it
VALIDATION: dict[str, tuple[Split, int | None]] = {
    "smoltalk": ("test", None),
    "mmlu": ("test", 5200),
    "gsm8k": ("test", 420),
    "arc_easy": ("val", None),
    "arc_challenge": ("val", None),
    "spellingbee": ("val", None),
    "simplespelling": ("val", None),
}

Stage = Literal["mid", "sft"]
C = TypeVar("C", bound=ChatTrainConfig)


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

    train: Mixture | Chain
    validation: tuple[Conversation, ...]
    lines: tuple[str, ...]
    notices: tuple[str, ...]
    record: Mapping[str, Any]


def settle_data(config: C, paths: Paths) -> C:
    """The config with `data` said where it was left to us.

    That is pocket for a model that has learnt from the pocket world, and the reference mixture for any other.
    """
    if config.data != AUTO or config.mixture:
        return config
    folder = paths.models / (config.source.partition(":")[0] or config.tag)
    names = [
        str((read_json(path) or {}).get("data", {}).get("name", "")) for path in sorted(folder.glob("*/config.json"))
    ]
    known = {part.partition(":")[0] for name in names for part in name.split(",")}
    return replace(config, data=POCKET if POCKET in known or not names else "reference")


def file_hashes(config: ChatTrainConfig, stage: Stage = "sft") -> dict[str, str]:
    """SHA-256 of every file of the config, by the name it has there.

    Raises:
        MissingError: a file is not there.
        StorageError: it cannot be read.
    """
    parts = [*recipe_of(config.data, config.mixture, stage).parts]
    parts += parse_ingredients(config.val_data, "val_data") if config.val_data else ()
    parts += [Ingredient(config.mixture)] if config.mixture else []
    hint = "give a file of conversations, or pocket for the built-in tasks"
    return {
        part.name: hash_of(part.path, f"there is no file {part.name} to train on", hint)
        for part in parts
        if not part.is_pocket and not is_task(part.name)
    }


class _Opened:
    """One part of a mixture, opened: tasks to train on, and what is held out of them."""

    def __init__(self, part: Ingredient, tasks: Sequence[Task]) -> None:
        self.part = part
        self.tasks = tasks
        self.validation: list[Conversation] = []
        self.file: ConversationFile | None = None
        self.held_out = np.arange(0)

    @property
    def size(self) -> int:
        """Conversations to train on, each once."""
        return sum(map(len, self.tasks))

    def counts(self, total: int) -> list[tuple[Task, int | None]]:
        """The tasks with their shares of so many conversations."""
        whole = self.size
        return [(task, round(total * len(task) / whole)) for task in self.tasks]


def open_chat_data(stage: Stage, config: ChatTrainConfig, paths: Paths, hashes: Mapping[str, str]) -> ChatData:
    """Read the files of a config, hold part of each out, and mix.

    Without `val_data` a twentieth of each file is for validation, and of tasks another split or held-out
    conversations.

    Args:
        stage: mid or sft; they have pocket conversations and presets of their own.
        config: says what, how often, and in which order (seed).
        paths: compressed files are unpacked in its cache, task data is looked for in it.
        hashes: from `file_hashes`, for the record.

    Raises:
        ConversationError: a file has bad lines; the first are named.
        MissingError: a file, or the data of a task, is not there.
        UsageError, DamagedError, StorageError: a file cannot be used.
    """
    recipe = recipe_of(config.data, config.mixture, stage)
    places = Places.of(paths, config.task_data)
    notices: list[str] = []
    files: dict[str, dict[str, Any]] = {}
    opened = [_open(stage, part, config, places) for part in recipe.parts]
    validation = [conversation for one in opened for conversation in one.validation]
    kept_out = [one.file.fingerprints[one.held_out] for one in opened if one.file]  # of what is for validation
    for part in parse_ingredients(config.val_data, "val_data") if config.val_data else ():
        if part.is_pocket:
            validation += pocket_validation()
        elif is_task(part.name):
            validation += _held_out_of(part, places, config)
        else:
            chosen, fingerprints, files[part.name] = _validation_of(part, paths, hashes)
            validation += chosen
            kept_out.append(fingerprints)
            if len(chosen) < (there := files[part.name]["conversations"]):
                notices.append(f"{part.name}: validating on {len(chosen)} of its {there:,} conversations")
    for one in opened:
        if one.file:
            train = _rows_to_train(one, np.concatenate(kept_out))
            one.tasks = [FileTask(one.file, one.part.name, train)]
            files[one.part.name] = _record(
                one.part.name, one.file, hashes, times=one.part.times, held_out=len(one.held_out), train=len(train)
            )
    if config.mixture:
        path = Path(config.mixture).expanduser()
        files[config.mixture] = {"path": str(path.absolute()), "sha256": hashes[config.mixture]}
    parts = _counted(recipe, opened)
    mixture = Chain(parts) if recipe.order == "sequence" else Mixture(parts, seed=config.seed)
    if not validation:
        validation = [mixture[int(row)] for row in _spread(len(mixture), MAX_HELD_OUT)]
        notices.append("too few conversations to hold any out: validating on what is trained on; try --val-data")
    record = {
        "name": config.mixture or config.data,
        "conversations": len(mixture),
        "mixture": mixture.counts,
        **({"files": files, "validation": len(validation)} if files else {}),
    }
    return ChatData(
        train=mixture,
        validation=tuple(validation),
        lines=tuple(_line(one, mixture.counts) for one in opened if not one.part.is_pocket),
        notices=tuple(notices),
        record=record,
    )


def pocket_validation() -> list[Conversation]:
    """Held-out conversations of every pocket task."""
    return [conversation for task in pocket_tasks("val", VALIDATION_PER_TASK).values() for conversation in task]


def _open(stage: Stage, part: Ingredient, config: ChatTrainConfig, places: Places) -> _Opened:
    """A part to train on, and what is held out of it unless the config says what to validate on."""
    if part.is_pocket:
        one = _Opened(part, list(_pocket(stage, config.conversations * part.times).values()))
        one.validation = [] if config.val_data else pocket_validation()
        return one
    if is_task(part.name) or part.path.suffix == ".py":
        task = view(_to_train(stage, part.name, config, places), part.start, part.stop, part.step)
        if is_task(part.name):
            one = _Opened(part, [task])
            one.validation = [] if config.val_data else _held_out_of(part, places, config)
            return one
        held_out = 0 if config.val_data else min(len(task) // 20, MAX_HELD_OUT)
        order = np.random.default_rng(42).permutation(len(task))  # a task of the user's may be sorted
        one = _Opened(part, [View(task, np.sort(order[held_out:]))])
        one.validation = list(View(task, np.sort(order[:held_out])))
        return one
    one = _Opened(part, ())
    one.file = ConversationFile(part.path, places.scratch)
    one.held_out = one.held_out if config.val_data else split_file(one.file)
    one.validation = [one.file[int(row)] for row in one.held_out]
    return one


def _to_train(stage: Stage, name: str, config: ChatTrainConfig, places: Places) -> Task:
    """A task by its name; one of the pocket world is as large as the config says, in the stage's own stream."""
    if canonical(name) in KINDS:
        seed = list(SHARES).index(stage)
        return open_task(name, "train", places=places, size=config.conversations, seed=seed)
    return open_task(name, "train", places=places)


def _held_out_of(part: Ingredient, places: Places, config: ChatTrainConfig) -> list[Conversation]:
    """Of a task by its name: as many conversations of another split as hold the tokens of a validation."""
    name = canonical(part.name)
    split, most = VALIDATION.get(name, ("val", VALIDATION_PER_TASK))
    task = open_task(name, split, places=places, size=VALIDATION_PER_TASK if name in KINDS else None)
    chosen: list[Conversation] = []
    chars = 0
    for conversation in view(task, stop=most):
        chars += sum(len(message.content) for message in conversation.messages)
        chosen.append(conversation)
        if chars > config.eval_tokens * CHARS_PER_TOKEN:
            break
    return chosen


def _rows_to_train(one: _Opened, kept_out: np.ndarray) -> np.ndarray:
    """Numbers of a file's conversations: what is validated on in one file is not trained on from another.

    Raises:
        UsageError: nothing is left.
    """
    assert one.file is not None
    rows = np.flatnonzero(~np.isin(one.file.fingerprints, kept_out))
    if not len(rows):
        raise UsageError(f"every conversation of {one.part.name} is for validation too", "give --val-data another file")
    rows = rows[one.part.start : one.part.stop : one.part.step]
    if not len(rows):
        raise UsageError(f"start, stop and step leave nothing of {one.part.name}", "choose others")
    return rows


def _counted(recipe: Recipe, opened: Sequence[_Opened]) -> list[tuple[Task, int | None]]:
    """Every task with the number of conversations that are taken of it."""
    weights = [one.part.weight for one in opened]
    if None in weights:
        # a pocket part is made as long as it is to be
        times = [1 if one.part.is_pocket else one.part.times for one in opened]
        return [(task, count * len(task)) for one, count in zip(opened, times, strict=True) for task in one.tasks]
    totals = counts_by_weight([one.size for one in opened], [weight or 0 for weight in weights], recipe.conversations)
    return [pair for one, total in zip(opened, totals, strict=True) for pair in one.counts(total)]


def _line(one: _Opened, counts: Mapping[str, int]) -> str:
    """What a part holds, for people."""
    part = one.part
    taken = sum(counts[task.name] for task in one.tasks)
    held_out = len(one.held_out) if one.file else len(one.validation)
    times = f" ({part.times} times)" if part.times > 1 else ""
    there = len(one.file) if one.file else one.size
    return f"{part.name}: {there:,} conversations, {taken:,} to train on{times}" + (
        f", {held_out:,} held out" if held_out else ""
    )


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


def _spread(count: int, most: int) -> np.ndarray:
    """`most` numbers below `count`, evenly spread; all of them where there are not so many."""
    return np.arange(count) if count <= most else np.arange(most) * count // most
