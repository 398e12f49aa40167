"""The interface of a task: a sized sequence of conversations that grades answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from random import Random
from typing import Literal

from nanochat.tokenizer.conversation import Conversation


class Task(ABC):
    """Conversations of one kind. The last message of each is the right answer.

    Attributes:
        name: short, for tables and file names.
        kind: "generative": sample an answer and grade it; "categorical": compare the logits of `letters`.
        chance: accuracy of guessing without reading the question, 0 to 1.
        max_new_tokens: longest answer that is waited for.
    """

    name: str
    kind: Literal["generative", "categorical"] = "generative"
    chance: float = 0.0
    max_new_tokens: int = 64

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Conversation:
        """Conversation `index`, the same at every call. IndexError beyond the end."""

    @abstractmethod
    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether `answer` is right for a conversation of this task.

        Args:
            conversation: one of this task, as it stands there.
            answer: the text of the model's answer; where it called a tool, the text after the tool's output.
        """

    def reward(self, conversation: Conversation, answer: str) -> float:
        """What reinforcement learning pays for `answer`: 1 where it is right, else 0. Arguments as `grade`."""
        return float(self.grade(conversation, answer))

    def letters(self, conversation: Conversation) -> tuple[str, ...]:
        """The answers a categorical task chooses from, one token each."""
        raise NotImplementedError(f"{self.name} is no categorical task")

    def prepare(self) -> None:
        """See that answers can be graded here; called before a model is asked for any.

        Raises:
            NanochatError: they cannot, and what would help.
        """
        return

    def group(self, index: int) -> str:
        """The part of the task that conversation `index` belongs to, scored by itself too; "" where there are none."""
        return ""

    def examples(self, index: int, count: int) -> list[Conversation]:
        """Conversations to show before conversation `index`, never that one: for models that know no chat yet.

        By default others of the same task, drawn as CORE draws them: `random.Random(1234 + index)`.
        """
        others = Random(1234 + index).sample(range(len(self)), min(count + 1, len(self)))
        return [self[other] for other in others if other != index][:count]

    def __iter__(self) -> Iterator[Conversation]:
        return (self[index] for index in range(len(self)))
