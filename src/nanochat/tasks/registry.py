"""Every task by name: those of the pocket world, those of the hub, word lists, and files of your own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nanochat.errors import UsageError
from nanochat.pocket.conversations import KINDS
from nanochat.pocket.held_out import Split
from nanochat.tasks.files import ConversationFile, FileTask
from nanochat.tasks.hub import SETS, Places, find_files, find_rows, find_words
from nanochat.tasks.names import DESCRIPTIONS, canonical, is_file
from nanochat.tasks.programs import Programs
from nanochat.tasks.task import Task
from nanochat.tasks.views import shuffled, split_end


def open_task(
    name: str,
    split: Split = "test",
    *,
    places: Places,
    size: int | None = None,
    seed: int = 0,
    unsafe_exec: bool = False,
) -> Task:
    """A task by its name.

    Rows of the hub come in the order in which the reference system shuffles them.

    Args:
        name: a key of `DESCRIPTIONS`, a pocket task, a file of conversations, or a Python file with a task.
        split: train, val or test. A file of conversations is the same in each.
        places: where data is looked for.
        size: conversations of tasks that are made when asked for; by default as many as usual.
        seed: another stream of pocket conversations.
        unsafe_exec: run a model's programs also where the sandbox is weak.

    Raises:
        UsageError: no such task or split, or a file that holds none.
        MissingError: its data is not on this machine; the hint is the command that fetches it.
        ConversationError, DamagedError, StorageError: its data cannot be used.
    """
    name = canonical(name)
    if is_file(name):
        return _of_file(Path(name).expanduser(), split, places, Programs(unsafe_exec))
    if name in KINDS:
        from nanochat.tasks.pocket import TEST_SIZE, TRAIN_SIZE, PocketTask

        return PocketTask(name, split, size or (TRAIN_SIZE if split == "train" else TEST_SIZE), seed)
    if name in ("spellingbee", "simplespelling"):
        from nanochat.tasks.spelling import SimpleSpelling, SpellingBee, load_words

        words = load_words(find_words(places))[split]
        return SpellingBee(words, split, size) if name == "spellingbee" else SimpleSpelling(words, split, size)
    if name in SETS:
        return shuffled(_OF_HUB[name](split, places, Programs(unsafe_exec)))
    raise UsageError(
        f"no task {name!r}", f"choose among {', '.join((*KINDS, *DESCRIPTIONS))}, or name a file with its suffix"
    )


def open_validation(name: str, *, places: Places, unsafe_exec: bool = False) -> Task:
    """What a recipe is chosen on: the validation split, else the end of the training split, else the test's.

    A file is the same in every split.

    Raises:
        As `open_task`.
    """
    name = canonical(name)
    if is_file(name) or has_validation(name):
        return open_task(name, "val", places=places, unsafe_exec=unsafe_exec)
    if name in SETS and "train" not in SETS[name].splits:
        return open_task(name, "test", places=places, unsafe_exec=unsafe_exec)
    return split_end(open_task(name, "train", places=places, unsafe_exec=unsafe_exec))[1]


def has_validation(name: str) -> bool:
    """Whether a task of ours has a split to choose a recipe on, apart from the test's."""
    name = canonical(name)
    return name in KINDS or name in ("spellingbee", "simplespelling") or (name in SETS and "val" in SETS[name].splits)


def _of_file(path: Path, split: Split, places: Places, programs: Programs) -> Task:
    if path.suffix == ".py":
        from nanochat.tasks.user import load_task

        return load_task(path, split)
    return FileTask.asked(ConversationFile(path, places.scratch), path.name, programs)


def _smoltalk(split: Split, places: Places, programs: Programs) -> Task:
    from nanochat.tasks.hub_tasks import SmolTalk

    return SmolTalk(find_rows("smoltalk", split, places))


def _mmlu(split: Split, places: Places, programs: Programs) -> Task:
    from nanochat.tasks.hub_tasks import Mmlu

    shown = split != "train" and find_files("mmlu", "dev", places)
    return Mmlu(find_rows("mmlu", split, places), find_rows("mmlu", "dev", places) if shown else None)


def _arc(name: str) -> Callable[[Split, Places, Programs], Task]:
    def make(split: Split, places: Places, programs: Programs) -> Task:
        from nanochat.tasks.hub_tasks import MultipleChoice

        return MultipleChoice(find_rows(name, split, places), name)

    return make


def _gsm8k(split: Split, places: Places, programs: Programs) -> Task:
    from nanochat.tasks.hub_tasks import Gsm8k

    return Gsm8k(find_rows("gsm8k", split, places))


def _humaneval(split: Split, places: Places, programs: Programs) -> Task:
    from nanochat.tasks.humaneval import HumanEval

    return HumanEval(find_rows("humaneval", split, places), programs)


_OF_HUB: dict[str, Callable[[Split, Places, Programs], Task]] = {
    "smoltalk": _smoltalk,
    "mmlu": _mmlu,
    "arc_easy": _arc("arc_easy"),
    "arc_challenge": _arc("arc_challenge"),
    "gsm8k": _gsm8k,
    "humaneval": _humaneval,
}
