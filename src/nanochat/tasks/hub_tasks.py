"""Tasks whose rows come from the hub: SmolTalk, MMLU, ARC and GSM8K. Programs to be run are in `humaneval`.

Each takes the rows of one split in their own order; `registry` shuffles them.
"""

from __future__ import annotations

import re
from string import ascii_uppercase, digits
from typing import Any

from nanochat.errors import ConversationError
from nanochat.pocket.choices import choice_prompt
from nanochat.tasks.formats import convert
from nanochat.tasks.grading import final_number, letter_is
from nanochat.tasks.rows import Rows
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation, Message, Part

LONG_ANSWER = 512
"""Tokens that the reference system allows an answer."""

_CALL = re.compile(r"<<([^<>=]*)=([^<>]*)>>")


class HubTask(Task):
    """A task whose conversations are rows of a set of the hub."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)


class SmolTalk(HubTask):
    """Conversations of several turns, for training: whether an answer is a good one cannot be told."""

    name = "smoltalk"
    max_new_tokens = LONG_ANSWER

    def __getitem__(self, index: int) -> Conversation:
        try:
            return convert({"messages": self._rows[index]["messages"]}).conversation
        except ConversationError as error:
            raise ConversationError(f"{self._rows.place(index)}: {error.message}", error.hint) from None

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the answer is word for word that of the conversation; to train on, not to test with."""
        return answer.strip() == conversation.messages[-1].content.strip()


class MultipleChoice(HubTask):
    """Questions with lettered choices; the answer is a letter."""

    kind = "categorical"
    chance = 0.25
    max_new_tokens = 8

    def __init__(self, rows: Rows, name: str) -> None:
        super().__init__(rows)
        self.name = name

    def __getitem__(self, index: int) -> Conversation:
        row = self._rows[index]
        choices, letters, answer = self._choices(row)
        texts = all(isinstance(choice, str) for choice in choices)
        if not texts or not isinstance(row["question"], str) or len(choices) != len(letters):
            raise ConversationError(f"{self._rows.place(index)}: a question has a text, and choices that are texts")
        if len(letters) < 2 or letters != letters_to(letters[-1]):
            raise ConversationError(
                f"{self._rows.place(index)}: letters are A, B, C and so on, or 1, 2, 3, at least two of them",
                "mend the row, or fetch the set again",
            )
        if answer not in letters:
            raise ConversationError(
                f"{self._rows.place(index)}: the answer {answer!r} is none of the letters {', '.join(letters)}",
                "mend the row, or fetch the set again",
            )
        prompt = choice_prompt(row["question"], choices, letters)
        return Conversation((Message.text("user", prompt), Message.text("assistant", answer)))

    def _choices(self, row: Any) -> tuple[list[str], tuple[str, ...], str]:
        """Texts and letters of the choices, and the letter of the right one."""
        choices = row["choices"]
        return list(choices["text"]), tuple(map(str, choices["label"])), str(row["answerKey"])

    def letters(self, conversation: Conversation) -> tuple[str, ...]:
        """As far as that of the last choice, which stands before the last empty line."""
        return letters_to(conversation.messages[0].content.rpartition("\n\n")[0][-1:])

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the answer is the right letter and nothing else."""
        return letter_is(answer, conversation.messages[-1].content)


def letters_to(last: str) -> tuple[str, ...]:
    """The letters from A, or from 1, to the last one; empty where it is neither."""
    series = next((series for series in (ascii_uppercase, digits[1:]) if last and last in series), "")
    return tuple(series[: series.find(last) + 1]) if series else ()


class Mmlu(MultipleChoice):
    """MMLU: 57 subjects, four choices each.

    Args:
        rows: of a split; they name their subject.
        dev: five rows of each subject to show before a question; None takes other questions of the split.
    """

    def __init__(self, rows: Rows, dev: Rows | None = None) -> None:
        super().__init__(rows, "mmlu")
        self._dev: dict[str, list[Conversation]] | None = None
        if dev is not None:
            self._dev = {}
            shown = Mmlu(dev)
            for index, conversation in enumerate(shown):
                self._dev.setdefault(shown.group(index), []).append(conversation)

    def _choices(self, row: Any) -> tuple[list[str], tuple[str, ...], str]:
        letters = tuple(ascii_uppercase[: len(row["choices"])])
        number = row["answer"]
        return list(row["choices"]), letters, letters[number] if number in range(len(letters)) else str(number)

    def group(self, index: int) -> str:
        """The subject; the training split has none."""
        return str(self._rows[index]["subject"] or "")

    def examples(self, index: int, count: int) -> list[Conversation]:
        """The first of the same subject in the dev split."""
        shown = (self._dev or {}).get(self.group(index), [])
        return shown[:count] if len(shown) >= count else super().examples(index, count)


class Gsm8k(HubTask):
    """Word problems whose sums are calls of the calculator; the answer follows `####`."""

    name = "gsm8k"
    max_new_tokens = LONG_ANSWER

    def __getitem__(self, index: int) -> Conversation:
        row = self._rows[index]
        question, answer = row["question"], row["answer"]
        if not isinstance(question, str) or not isinstance(answer, str) or final_number(answer) is None:
            raise ConversationError(
                f"{self._rows.place(index)}: a question and an answer that ends in #### and a number are wanted",
                "mend the row, or fetch the set again",
            )
        return Conversation((Message.text("user", question), Message("assistant", with_calls(answer))))

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the number behind the first `####` is that of the conversation, however it is written."""
        return final_number(answer) == final_number(conversation.messages[-1].content)


def with_calls(answer: str) -> tuple[Part, ...]:
    """The parts of an answer in which `<<48/2=24>>` stands for a call of the calculator and its result."""
    parts: list[Part] = []
    at = 0
    for call in _CALL.finditer(answer):
        parts.append(Part("text", answer[at : call.start()]))
        parts += [Part("python", call[1]), Part("output", call[2])]
        at = call.end()
    parts.append(Part("text", answer[at:]))
    return tuple(part for part in parts if part.kind != "text" or part.text)
