"""Conversations of a file, read when they are asked for, and a file as a task.

Opening a file reads all of it once, refuses it when a line is wrong, and keeps 20 bytes a conversation: where it
stands and a hash of what it says. The hash decides which conversations are held out for validation, and notices a
file that is changed meanwhile.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from string import ascii_uppercase

import numpy as np

from nanochat.errors import ConversationError, DamagedError, UsageError
from nanochat.tasks.formats import Example, convert
from nanochat.tasks.grading import says_number
from nanochat.tasks.programs import Programs, code_of
from nanochat.tasks.records import MAX_BYTES, Record, RecordFile, parse
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation

HELD_OUT_SHARE = 0.05
MAX_HELD_OUT = 200
"""Enough to tell two models apart, few enough not to hold up the training."""

LONG_PROGRAM = 512
"""Tokens that an answer may have which is a program."""

MIN_SPLIT = 10
NAMED_PROBLEMS = 3

_MARKED = re.compile(r"^[-*]?[ \t]*\(?([A-Z])[).:](?=\s)|=([A-Z])[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Scanned:
    """One value of a file: an example, or what is wrong with it."""

    record: Record
    example: Example | None = None
    problem: str = ""

    @property
    def complaint(self) -> str:
        """Where, and what is wrong."""
        return f"{self.record.place}: {self.problem}"


def scan(file: RecordFile) -> Iterator[Scanned]:
    """Every value of a file in order, right or wrong."""
    for record in file:
        if not record.size:
            yield Scanned(record, problem=f"longer than {MAX_BYTES >> 20} MB")
            continue
        try:
            yield Scanned(record, convert(parse(file.read(record.start, record.size))))
        except ConversationError as error:
            yield Scanned(record, problem=error.message)
        except ValueError as error:
            yield Scanned(record, problem=str(error))


def fingerprint(conversation: Conversation) -> int:
    """64 bits of what a conversation says, whatever form it was written in."""
    digest = blake2b(digest_size=8)
    for message in conversation.messages:
        digest.update(f"\x1e{message.role}".encode())
        for part in message.parts:
            digest.update(f"\x1f{part.kind}\x1f{part.text}".encode())
    return int.from_bytes(digest.digest(), "little")


class ConversationFile(Sequence[Conversation]):
    """The conversations of a file.

    Args:
        path: a file in one of the forms of `formats`.
        temporary: folder for what compressed files unpack to.

    Raises:
        ConversationError: lines that hold no conversation; the first of them are named.
        UsageError: a folder, or a file without any conversation.
        MissingError, DamagedError, StorageError: as `RecordFile`.
    """

    def __init__(self, path: Path, temporary: Path | None = None) -> None:
        self.path = path
        self._file = RecordFile(path, temporary)
        starts, sizes, hashes = array("q"), array("i"), array("Q")
        problems: list[str] = []
        wrong = 0
        try:
            for scanned in scan(self._file):
                if scanned.example is None:
                    wrong += 1
                    if len(problems) < NAMED_PROBLEMS:
                        problems.append(scanned.complaint)
                    continue
                starts.append(scanned.record.start)
                sizes.append(scanned.record.size)
                hashes.append(fingerprint(scanned.example.conversation))
            if wrong:
                more = "" if wrong == len(problems) else f"; and {wrong - len(problems):,} more"
                raise ConversationError(
                    f"{path} has {wrong:,} bad of {wrong + len(starts):,}: {'; '.join(problems)}{more}",
                    f"nanochat data chat-check {path} names all; with -o good.jsonl it writes those that are right",
                )
            if not starts:
                raise UsageError(f"{path} holds no conversation", 'write {"messages": [...]}, one a line')
        except BaseException:
            self._file.close()
            raise
        self._starts = np.frombuffer(starts, np.int64)
        self._sizes = np.frombuffer(sizes, np.int32)
        self.fingerprints = np.frombuffer(hashes, np.uint64)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
        """Conversation `index`; errors as `example`."""
        return self.example(index).conversation

    def example(self, index: int) -> Example:
        """Conversation `index` with how its answers are graded.

        Raises:
            DamagedError: the file is not what it was when it was opened.
        """
        data = self._file.read(int(self._starts[index]), int(self._sizes[index]))
        try:
            example = convert(parse(data))
        except (ValueError, ConversationError):
            example = None
        if example is None or fingerprint(example.conversation) != int(self.fingerprints[index]):
            raise DamagedError(f"{self.path} was changed while it was read", "run the command again when it is whole")
        return example

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def split_file(file: ConversationFile) -> np.ndarray:
    """Numbers of the conversations that are held out for validation, ascending.

    They are the twentieth part with the lowest fingerprints, 200 at most; of fewer than ten conversations none. So
    the choice depends on nothing but what they say, and the same conversation is never on both sides.
    """
    count = min(math.ceil(len(file) * HELD_OUT_SHARE), MAX_HELD_OUT) if len(file) >= MIN_SPLIT else 0
    return np.flatnonzero(file.fingerprints < np.sort(file.fingerprints)[count])


class FileTask(Task):
    """Conversations of a file whose last messages are the right answers.

    An answer is right when it is the same but for case, white space and a final stop, when it says the same number
    where the file has a number, or when it is a program that passes the file's check.

    Args:
        file: the conversations.
        name: for tables.
        rows: which of them, by number; all by default.
        programs: runs answers that are programs.
    """

    def __init__(
        self,
        file: ConversationFile,
        name: str,
        rows: np.ndarray | None = None,
        programs: Programs | None = None,
    ) -> None:
        self.name = name
        self._file = file
        self._rows = np.arange(len(file)) if rows is None else rows
        self._programs = programs or Programs()
        # of conversations that are not graded by their text: where they are in the file, by what they say
        self._graded: dict[int, int] = {}
        self._runs_code = False

    @classmethod
    def asked(cls, file: ConversationFile, name: str, programs: Programs | None = None) -> FileTask:
        """A task to test a model with.

        It is categorical when every answer is a letter that marks an option of its question. Chance is then one in
        so many options, else the share of the commonest answer where answers repeat.

        Raises:
            UsageError: a conversation does not end with an answer.
        """
        task = cls(file, name, programs=programs)
        answers: Counter[str] = Counter()
        categorical, chances = True, 0.0
        for number in range(1, len(file) + 1):
            example = file.example(number - 1)
            conversation = example.conversation
            task._note(number - 1, example)
            if example.grading == "python":
                answers[f"check {number}"] += 1
                categorical = False
                continue
            if conversation.messages[-1].role != "assistant":
                raise UsageError(
                    f"{file.path}: conversation {number} ends with a question",
                    "the last message of each must be the right answer",
                )
            answer = final_text(conversation)
            answers[normal(answer)] += 1
            options = letters_of(conversation)
            categorical = categorical and answer.strip() in options
            chances += 1 / max(1, len(options))
        commonest = max(answers.values())
        task.kind = "categorical" if categorical else "generative"
        task.chance = chances / len(task) if categorical else commonest / len(task) if commonest > 1 else 0.0
        return task

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Conversation:
        return self._file[int(self._rows[index])]

    def _note(self, row: int, example: Example) -> None:
        """Remember how answers to a conversation are graded.

        Raises:
            UsageError: another one with the same words is graded by another check.
        """
        if example.grading == "text":
            return
        before = self._graded.setdefault(int(self._file.fingerprints[row]), row)
        if before != row and self._file.example(before).check != example.check:
            raise UsageError(
                f"{self._file.path}: conversations {before + 1} and {row + 1} are the same and have different checks",
                "put both checks into one",
            )
        if example.grading == "python":
            self._runs_code = True
            self.max_new_tokens = LONG_PROGRAM

    def prepare(self) -> None:
        """As `Programs.prepare`, where an answer is a program."""
        if self._runs_code:
            self._programs.prepare()

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the answer says what the conversation's own does, or does what its check demands."""
        row = self._graded.get(fingerprint(conversation)) if self._graded else None
        example = None if row is None else self._file.example(row)
        if example and example.grading == "python":
            return self._programs.passes(code_of(answer), example.check)
        if example and example.grading == "number":
            return says_number(answer, final_text(conversation))
        return normal(answer) == normal(final_text(conversation))

    def letters(self, conversation: Conversation) -> tuple[str, ...]:
        """Those that mark the options of the question."""
        return letters_of(conversation) if self.kind == "categorical" else super().letters(conversation)


def final_text(conversation: Conversation) -> str:
    """What the last message says to the person: behind the result of the last tool."""
    parts = conversation.messages[-1].parts
    behind = max((at + 1 for at, part in enumerate(parts) if part.kind == "output"), default=0)
    return "".join(part.text for part in parts[behind:] if part.kind == "text")


def normal(answer: str) -> str:
    """An answer for comparison: no outer white space, single blanks, no final stop, lower case."""
    return " ".join(answer.split()).removesuffix(".").rstrip().casefold()


def letters_of(conversation: Conversation) -> tuple[str, ...]:
    """The letters from A on that mark options in the last question: `- Paris=A`, `A) Paris`, `(A) Paris`, `A. Paris`.

    Empty where there are fewer than two.
    """
    question = conversation.messages[-2].content if len(conversation.messages) > 1 else ""
    found = {first or last for first, last in _MARKED.findall(question)}
    count = next((at for at, letter in enumerate(ascii_uppercase) if letter not in found), len(ascii_uppercase))
    return tuple(ascii_uppercase[:count]) if count > 1 else ()
