"""The interface of a task: a sized sequence of conversations that grades answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

from nanochat.tokenizer.conversation import Conversation


class Task(ABC):
    """Conversations of one kind. The last message of each is the right answer.

    Attributes:
        name: short, for tables and file names.
        kind: "generative": sample an answer and grade it; "categorical": compare the logits of `letters`.
        chance: accuracy of guessing without reading the question, 0 to 1.
    """

    name: str
    kind: Literal["generative", "categorical"]
    chance: float

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

    def __iter__(self) -> Iterator[Conversation]:
        return (self[index] for index in range(len(self)))
