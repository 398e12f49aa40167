"""What reinforcement learning practises, and the held-out problems that show whether it helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from nanochat.config.rl import RlConfig
from nanochat.errors import UsageError
from nanochat.evaluation.chat import answer_text
from nanochat.evaluation.pass_at_k import mean_and_interval, pass_at_k
from nanochat.pocket.conversations import KINDS
from nanochat.pocket.held_out import Split
from nanochat.runtime.events import VALIDATION, Evaluated, OnEvent
from nanochat.runtime.paths import Paths
from nanochat.runtime.processes import Processes
from nanochat.runtime.stop import CutShort, StopRequest
from nanochat.stages.folder import hash_of
from nanochat.stages.rollouts import SEEDS_APART, Actor, block_of
from nanochat.tasks.files import ConversationFile, FileTask, split_file
from nanochat.tasks.hub import Places
from nanochat.tasks.mixture import Mixture
from nanochat.tasks.names import canonical, is_file
from nanochat.tasks.pocket import TEST_KINDS, PocketTask
from nanochat.tasks.programs import Programs
from nanochat.tasks.registry import has_validation, open_task
from nanochat.tasks.task import Task
from nanochat.tasks.views import View, split_end
from nanochat.tokenizer.render import render_for_completion
from nanochat.training.device_batch import DeviceBatch

STREAM = 2  # of pocket conversations; mid and sft have 0 and 1
UNGRADED = ("smoltalk",)  # whether an answer is a good one cannot be told
AT_A_TIME = 64  # answers asked for between two looks at whether to stop


@dataclass(frozen=True, slots=True)
class Practice:
    """What is practised, in the order of training, and held-out problems by task."""

    train: Mixture
    held_out: Mapping[str, Task]


def file_hashes(config: RlConfig, rewards: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of the files that a config names, by name.

    Raises:
        MissingError: a file is not there.
        StorageError: it cannot be read.
    """
    files = [Path(name).expanduser() for name in names_of(config) if is_file(name)]
    hint = "check the names behind --task and --reward"
    return {str(path): hash_of(path, f"there is no file {path}", hint) for path in (*files, *rewards)}


def open_practice(config: RlConfig, paths: Paths) -> Practice:
    """The tasks of a config: those there are by name, files of conversations and Python files by path.

    What is held out: of a task with a validation split that, of a file of conversations a twentieth as in sft, of
    another task the end of its training split. How many of it are asked changes nothing in what is practised.

    Raises:
        UsageError: a name that is no task, one that has no answers to grade, nothing to hold out, or two of one name.
        ConversationError, MissingError, DamagedError, StorageError: the data of a task cannot be used.
    """
    places = Places.of(paths, config.task_data)
    parts: list[tuple[Task, int | None]] = []
    held_out: dict[str, Task] = {}
    for name in names_of(config):
        if name in UNGRADED or (name in KINDS and name not in TEST_KINDS):
            raise UsageError(
                f"{name} cannot be practised: it is there to train on, not to be graded",
                f"choose among {', '.join(TEST_KINDS)}, gsm8k, or what else `nanochat data tasks` shows",
            )
        if name in TEST_KINDS:
            train: Task = PocketTask(name, "train", config.conversations, STREAM)
            out: Task = PocketTask(name, "val", config.eval_problems)
        elif is_file(name) and not name.endswith(".py"):
            train, out = _of_file(Path(name).expanduser(), places, Programs(config.unsafe_exec))
        else:
            train, out = _of_task(name, config, places)
        for task in (train, out):
            task.prepare()
        if out.name in held_out:
            raise UsageError(f"two tasks would have the name {out.name}", "rename one of the files")
        parts.append((train, None))
        held_out[out.name] = out
    return Practice(Mixture(parts, config.seed), held_out)


def _of_file(path: Path, places: Places, programs: Programs) -> tuple[Task, Task]:
    file = ConversationFile(path, places.scratch)
    out = split_file(file)
    if not len(out):
        raise UsageError(f"{path} has {len(file)} conversations: too few to hold some out", "give it ten or more")
    task = FileTask.asked(file, path.name, programs)
    return View(task, np.delete(np.arange(len(file)), out)), View(task, out)


def _of_task(name: str, config: RlConfig, places: Places) -> tuple[Task, Task]:
    def opened(split: Split) -> Task:
        return open_task(name, split, places=places, size=config.conversations, unsafe_exec=config.unsafe_exec)

    train = opened("train")
    if has_validation(name):
        return train, opened("val")
    return split_end(train)


def names_of(config: RlConfig) -> list[str]:
    """The tasks and files of a config, each once."""
    names = (name.strip() for name in config.task.split(","))
    return list(dict.fromkeys(canonical(name) for name in names if name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """pass@k on held-out problems, answered as in training: an `Objective`, with the loss that goes with it.

    The checkpoint with the fewest errors is the best: `val_error` is 1 less the mean pass@1 of the tasks.

    Attributes:
        actor: answers.
        loss: of a policy.
        step: of the run, now.
        held_out: problems by task.
        config: how many problems and answers.
        processes: each answers some of the problems of a task.
        on_event: told pass@1 and pass@k of each task.
    """

    actor: Actor
    loss: Callable[..., Tensor]
    step: Callable[[], int]
    held_out: Mapping[str, Task]
    config: RlConfig
    processes: Processes
    on_event: OnEvent

    @property
    def metric(self) -> str:
        """See `Objective`."""
        return "val_error"

    def validate(self, stop: StopRequest, device_batch: DeviceBatch) -> dict[str, float]:
        """See `Objective`: one figure of all tasks; those of each are told by themselves.

        Raises:
            CutShort: a stop was asked for before some process was done.
        """
        self.actor.renew()
        samples = self.config.eval_samples
        scores = []
        for name, task in self.held_out.items():
            correct = self._correct(task, stop)
            for k in sorted({1, samples}):
                values = [pass_at_k(samples, right, k) for right in correct]
                value, low, high = mean_and_interval(values, samples if k == 1 else 1)
                self.on_event(
                    Evaluated(
                        stage="rl",
                        step=self.step(),
                        name=f"{VALIDATION}{name} pass@{k}",
                        value=value,
                        n=len(correct),
                        low=low,
                        high=high,
                        chance=task.chance,
                    )
                )
                if k == 1:
                    scores.append(value)
        self.actor.rest()
        return {self.metric: 1 - sum(scores) / len(scores)}

    def _correct(self, task: Task, stop: StopRequest) -> list[int]:
        """Right answers to each problem."""
        count, samples = min(len(task), self.config.eval_problems), self.config.eval_samples
        correct = [0.0] * count
        mine = block_of(count, self.processes)
        each = max(1, AT_A_TIME // samples)
        cut = False
        try:
            for at in stop.until(range(mine.start, mine.stop, each)):
                numbers = range(at, min(at + each, mine.stop))
                for number, right in zip(numbers, self._right(task, numbers), strict=True):
                    correct[number] = right
        except CutShort:
            cut = True
        anywhere, *totals = self.processes.total([float(cut), *correct])
        if anywhere:
            raise CutShort
        return [int(total) for total in totals]

    def _right(self, task: Task, numbers: range) -> list[int]:
        """The same for some of them."""
        problems = [task[number] for number in numbers]
        tokenizer, samples = self.actor.tokenizer, self.config.eval_samples
        # the upper half of the seeds before the next seed's: no answer of training has them
        seed = self.config.seed * SEEDS_APART + SEEDS_APART // 2 + numbers.start * samples
        answers = self.actor.answers(
            [render_for_completion(tokenizer, problem) for problem in problems],
            samples,
            self.config.sampling(seed % 2**63),
        )
        return [
            sum(task.grade(problem, answer_text(tokenizer, answer.completion)) for answer in group)
            for problem, group in zip(problems, answers, strict=True)
        ]
