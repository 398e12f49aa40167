"""How a problem is put to a model: as a chat, or as plain text behind examples, for models that know no chat yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render_for_completion
from nanochat.tokenizer.tokenizer import Tokenizer

_QUESTION, _ANSWER = "Question:", "Answer:"


class Asking(ABC):
    """A way to ask. `stop` are texts that end an answer besides the model's own end."""

    stop: tuple[str, ...] = ()

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    @abstractmethod
    def prompt(self, task: Task, index: int, problem: Conversation) -> list[int]:
        """(N,) ids of problem `index` up to where the answer begins, bos first."""

    @abstractmethod
    def letter_ids(self, letters: Sequence[str]) -> list[int]:
        """The token that stands for each letter of a categorical answer."""


class AsChat(Asking):
    """Turns between special tokens, as in training."""

    def prompt(self, task: Task, index: int, problem: Conversation) -> list[int]:
        """The conversation up to the answer."""
        return render_for_completion(self.tokenizer, problem)

    def letter_ids(self, letters: Sequence[str]) -> list[int]:
        """The letter alone."""
        return [self.tokenizer.encode(letter)[0] for letter in letters]


class FewShot(Asking):
    """`Question: ... Answer: ...`, blank lines between, the last answer left to the model.

    Examples that would leave no room for the answer are left out, the first ones first.

    Args:
        tokenizer: of the model.
        shots: examples before each problem.
        context: most tokens of prompt and answer.
        room: tokens to leave for the answer.
    """

    stop = (f"\n{_QUESTION}",)

    def __init__(self, tokenizer: Tokenizer, shots: int, context: int, room: int) -> None:
        super().__init__(tokenizer)
        self.shots = shots
        self._limit = context - room

    def prompt(self, task: Task, index: int, problem: Conversation) -> list[int]:
        """Examples of the task, then the problem."""
        separator = self._separator(task.letters(problem)) if task.kind == "categorical" else " "
        blocks = [_block(example, separator) for example in task.examples(index, self.shots)]
        blocks.append(_block(problem, separator, answered=False) + separator.rstrip(" "))
        while True:
            ids = [self.tokenizer.bos, *self.tokenizer.encode("\n\n".join(blocks))]
            if len(ids) <= self._limit or len(blocks) == 1:
                return ids
            blocks.pop(0)

    def letter_ids(self, letters: Sequence[str]) -> list[int]:
        """The letter as it follows `Answer:`."""
        separator = self._separator(letters)
        return [self.tokenizer.encode(separator.strip("\n") + letter)[0] for letter in letters]

    def _separator(self, letters: Sequence[str]) -> str:
        """What stands between `Answer:` and a letter: a blank, or where the tokens of ` A` and ` B` begin alike a new
        line.
        """
        first = {self.tokenizer.encode(f" {letter}")[0] for letter in letters}
        return " " if len(first) == len(letters) else "\n"


def _block(conversation: Conversation, separator: str, *, answered: bool = True) -> str:
    """A conversation as lines of text; of tools only what is said beside them."""
    messages = list(conversation.messages)
    if not answered and messages[-1].role == "assistant":
        messages.pop()
    lines: list[str] = []
    system = messages.pop(0).content + "\n\n" if messages[0].role == "system" else ""
    for message in messages:
        text = "".join(part.text for part in message.parts if part.kind == "text")
        if message.role == "user":
            lines.append(f"{_QUESTION} {system}{text}")
            system = ""
        else:
            lines.append(f"{_ANSWER}{separator}{text}")
    if not answered:
        lines.append(_ANSWER)
    return "\n".join(lines)
