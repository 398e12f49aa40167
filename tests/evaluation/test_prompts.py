"""Problems as plain text behind examples."""

from __future__ import annotations

from typing import Literal

from doubles import ScriptedModel, script_of, tiny_tokenizer

from nanochat.engine.engine import Engine
from nanochat.evaluation.chat import evaluate_task
from nanochat.evaluation.prompts import AsChat, FewShot
from nanochat.tasks.hub_tasks import with_calls
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation, Message
from nanochat.tokenizer.render import render_for_completion

TOKENIZER = tiny_tokenizer()


class Sums(Task):
    """1 + 1 to 9 + 9."""

    name = "sums"

    def __init__(self, kind: Literal["generative", "categorical"] = "generative") -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> Conversation:
        number = index + 1
        answer = "A" if self.kind == "categorical" else f"It is <<{number}+{number}={2 * number}>>{2 * number}."
        return Conversation((Message.text("user", f"{number} + {number}?"), Message("assistant", with_calls(answer))))

    def letters(self, conversation: Conversation) -> tuple[str, ...]:
        return ("A", "B")

    def grade(self, conversation: Conversation, answer: str) -> bool:
        return answer.strip() in ("right", "B")

    def examples(self, index: int, count: int) -> list[Conversation]:
        return [self[other] for other in range(len(self)) if other != index][:count]


def text_of(shots: int, context: int = 1000, kind: Literal["generative", "categorical"] = "generative") -> str:
    task = Sums(kind)
    ids = FewShot(TOKENIZER, shots, context, 20).prompt(task, 0, task[0])
    assert ids[0] == TOKENIZER.bos
    return TOKENIZER.decode(ids[1:])


def test_examples_then_the_problem() -> None:
    assert text_of(2) == (
        "Question: 2 + 2?\nAnswer: It is 4.\n\nQuestion: 3 + 3?\nAnswer: It is 6.\n\nQuestion: 1 + 1?\nAnswer:"
    )


def test_letters_follow_a_blank_where_their_tokens_differ_there() -> None:
    asking = FewShot(TOKENIZER, 1, 1000, 20)
    text, ids = text_of(1, kind="categorical"), asking.letter_ids(("A", "B"))
    apart = TOKENIZER.encode(" A")[0] != TOKENIZER.encode(" B")[0]
    separator = " " if apart else "\n"
    assert text == f"Question: 2 + 2?\nAnswer:{separator}A\n\nQuestion: 1 + 1?\nAnswer:{'' if apart else separator}"
    assert len(set(ids)) == 2
    # the letter as the tokenizer has it behind the prompt
    whole = TOKENIZER.encode(f"{text}{' ' if apart else ''}B")
    assert whole[: len(TOKENIZER.encode(text))] + [ids[1]] == whole[: len(TOKENIZER.encode(text)) + 1]


def test_examples_that_leave_no_room_are_left_out() -> None:
    full = len(TOKENIZER.encode(text_of(3))) + 1
    assert text_of(3, full + 20) == text_of(3)
    assert text_of(3, full + 19) == text_of(3).partition("\n\n")[2]
    assert text_of(3, 21) == "Question: 1 + 1?\nAnswer:"


def test_a_system_message_and_turns() -> None:
    problem = Conversation(
        (
            Message.text("system", "Be kind."),
            Message.text("user", "Hi"),
            Message.text("assistant", "Hello"),
            Message.text("user", "And?"),
            Message.text("assistant", "Nothing"),
        )
    )
    ids = FewShot(TOKENIZER, 0, 1000, 20).prompt(Sums(), 0, problem)
    assert TOKENIZER.decode(ids[1:]) == "Question: Be kind.\n\nHi\nAnswer: Hello\nQuestion: And?\nAnswer:"


def test_an_answer_ends_where_the_next_question_begins() -> None:
    engine = Engine(ScriptedModel(script_of(TOKENIZER, " right\n\nQuestion: 2?")), TOKENIZER)  # type: ignore[arg-type]
    asking = FewShot(TOKENIZER, 0, engine.context, 30)
    result = evaluate_task(engine, Sums(), max_problems=3, batch_size=3, max_new_tokens=30, asking=asking)
    assert result.correct == 3


def test_as_chat() -> None:
    task = Sums("categorical")
    asking = AsChat(TOKENIZER)
    assert asking.prompt(task, 0, task[0]) == render_for_completion(TOKENIZER, task[0])
    assert asking.letter_ids(("A", "B")) == [TOKENIZER.encode(letter)[0] for letter in "AB"]
