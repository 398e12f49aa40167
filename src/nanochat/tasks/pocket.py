"""Tasks of the pocket world: facts, arithmetic, counting, spelling, problems, choice, identity; four more only train.

Conversations are made when asked for, by index; nothing is stored. Test tasks ask held-out wordings, number
pairs, words and choice combinations, and never the same prompt twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from nanochat.errors import UsageError
from nanochat.pocket.choices import LETTERS
from nanochat.pocket.conversations import KINDS
from nanochat.pocket.conversations import conversation as make
from nanochat.pocket.held_out import Split
from nanochat.tasks.grading import letter_is, names_only, number_is, spells
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation, Message

TEST_KINDS: tuple[str, ...] = ("facts", "arithmetic", "counting", "spelling", "problems", "choice", "identity")
TRAIN_SIZE = 1_000
TEST_SIZE = 200
_TRIES_PER_TEST = 20  # identity has but some thirty held-out prompts: then the task is that small

Prompt = tuple[Message, ...]


class PocketTask(Task):
    """One kind of pocket conversation.

    Args:
        kind: one of `pocket.conversations.KINDS`.
        split: "train", "val" or "test".
        size: conversations; a test task is smaller where there are not so many different prompts.
        seed: another stream of conversations.
    """

    def __init__(self, kind: str, split: Split, size: int, seed: int = 0) -> None:
        if kind not in KINDS:
            raise UsageError(f"no pocket task {kind!r}", f"known: {', '.join(KINDS)}")
        if size < 0:
            raise UsageError(f"size of {kind} ({size}) is negative", "give 0 or more")
        self.name = kind
        self.kind: Literal["generative", "categorical"]
        self.kind = "categorical" if kind in ("choice", "lookup", "drill") else "generative"
        self.split: Split = split
        self._seed = seed
        self._keys: dict[Prompt, dict[str, Any]] = {}
        self._indices = range(size) if split == "train" else self._different_prompts(size)
        self.chance = self._chance()

    def _different_prompts(self, size: int) -> list[int]:
        indices: list[int] = []
        for index in range(size * _TRIES_PER_TEST):
            if len(indices) == size:
                break
            before = len(self._keys)
            self._make(index)
            if len(self._keys) > before:
                indices.append(index)
        return indices

    def _make(self, index: int) -> Conversation:
        record = make(self.name, index, self.split, self._seed)
        conversation = Conversation.from_dict({"messages": record["messages"]})
        if self.split != "train":
            self._keys.setdefault(conversation.messages[:-1], record)
        return conversation

    def _chance(self) -> float:
        """What guessing scores: one letter in four, else the commonest answer of a held-out task (0 in training)."""
        if self.kind == "categorical":
            return 1 / len(LETTERS)
        answers = Counter(record["answer"] for record in self._keys.values())
        return max(answers.values(), default=0) / max(1, len(self))

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Conversation:
        return self._make(self._indices[index])

    def letters(self, conversation: Conversation) -> tuple[str, ...]:
        """Those of its list: A to D, in training also others."""
        if self.kind != "categorical":
            return super().letters(conversation)
        return tuple(self._record(conversation.messages[:-1])["letters"])

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the answer is right. UsageError for a conversation of another task."""
        record = self._record(conversation.messages[:-1])
        right, subject = record["answer"], record["subject"]
        match record["grading"]:
            case "letter":
                return letter_is(answer, right)
            case "number":
                return number_is(answer, right, subject)
            case "spelling":
                return spells(answer, subject)
        return names_only(answer, right, record["wrong"], subject)

    def _record(self, prompt: Prompt) -> dict[str, Any]:
        if prompt not in self._keys and self.split == "train":
            for index in self._indices:
                record = make(self.name, index, self.split, self._seed)
                messages = Conversation.from_dict({"messages": record["messages"]}).messages
                self._keys.setdefault(messages[:-1], record)
        if prompt not in self._keys:
            raise UsageError(f"this conversation is none of the task {self.name}", "grade it with its own task")
        return self._keys[prompt]


def pocket_tasks(
    split: Split, size: int | None = None, *, sizes: Mapping[str, int] | None = None, seed: int = 0
) -> dict[str, Task]:
    """The pocket tasks of a split by name.

    Args:
        split: "train" (all kinds), "val" or "test" (without those that only train).
        size: conversations of each task; by default 1,000 to train on and 200 held-out ones.
        sizes: sizes of single tasks, which win over `size`.
        seed: another stream of conversations.
    """
    kinds = KINDS if split == "train" else TEST_KINDS
    if size is None:
        size = TRAIN_SIZE if split == "train" else TEST_SIZE
    wanted = dict.fromkeys(kinds, size) | dict(sizes or {})
    return {kind: PocketTask(kind, split, wanted[kind], seed) for kind in kinds}
