"""Who a model is, from templates: true to the facts, different, and the same for a seed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from nanochat.errors import MissingError, UsageError
from nanochat.tasks.identity import Persona, identity_conversations, read_facts, take
from nanochat.tasks.identity_asked import problem_of
from nanochat.tokenizer.conversation import Conversation

ADA = Persona(
    name="Ada",
    maker="Grace Hopper",
    pairs=(("favourite colour", "green"), ("hobbies", "chess")),
    sentences=("I like {tea}.",),
)


def said(conversations: list[Conversation], role: str) -> list[str]:
    return [message.content for one in conversations for message in one.messages if message.role == role]


def test_a_thousand_are_different_and_follow_the_seed() -> None:
    made = take(ADA, 1000, seed=0)
    assert len(set(made)) == 1000
    assert take(ADA, 1000, seed=0) == made
    assert take(ADA, 100, seed=0) == made[:100]
    assert len(set(made) & set(take(ADA, 1000, seed=1))) < 300
    lengths = [len(conversation.messages) // 2 for conversation in made]
    assert {1, 2, 3} <= set(lengths)
    assert max(lengths) <= 5


def test_they_say_who_it_is_and_nothing_else() -> None:
    made = take(ADA, 2000, seed=3)
    answers = said(made, "assistant")
    assert sum("Ada" in answer for answer in answers) > len(answers) / 2
    assert any("Grace Hopper" in answer for answer in answers)
    assert "My favourite colour is green." in answers
    assert "My hobbies are chess." in answers
    assert any(answer.endswith("I like {tea}.") for answer in answers)
    assert {problem_of(one, ADA) for one in made} <= {"", "does not say the name"}
    questions = said(made, "user")
    assert len(set(questions)) > 700
    assert "What are your hobbies?" in questions
    for text in (*answers, *questions):
        assert not set(text) & set("{}") - set("{}" if "tea" in text else "")
        assert text == text.strip()
        assert text


def test_without_a_maker_none_is_named() -> None:
    persona = Persona(name="Bo")
    made = take(persona, 1000, seed=0)
    assert len(set(made)) == 1000
    assert not any("{" in text or "Hopper" in text or "trained by ." in text for text in said(made, "assistant"))
    assert any("nanochat program" in text for text in said(made, "assistant"))


def test_a_model_may_have_the_name_of_another() -> None:
    made = take(Persona(name="Claude", maker="OpenAI"), 1500, seed=0)
    assert not any("claude?" in text.lower() or "OpenAI?" in text for text in said(made, "user"))
    assert not any(text.startswith("No") and "Claude" not in text for text in said(made, "assistant"))


def test_makers_that_are_no_names_begin_sentences_with_a_capital() -> None:
    answers = said(take(Persona(name="Ada", maker="the owner of this laptop"), 1000, seed=0), "assistant")
    assert "The owner of this laptop trained me. My name is Ada." in answers
    assert not any(text.startswith("the ") for text in answers)


def test_what_is_taken_already_does_not_come_again() -> None:
    first = take(ADA, 50, seed=0)
    assert not set(take(ADA, 50, seed=0, taken=first)) & set(first)


def test_a_small_pool_is_gone_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from nanochat.tasks import identity

    few = list(itertools.islice(identity_conversations(ADA, 0), 7))
    monkeypatch.setattr(identity, "identity_conversations", lambda persona, seed: iter(few))
    assert identity.take(ADA, 20, seed=0) == (few * 3)[:20]


def test_facts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "facts.txt"
    path.write_text(
        "\ufefffavourite colour: green.\n\n# a comment\nyour home: a laptop in Kiel\nI like tea\nI said: no!\n"
        "The one thing that I never do: sleep\nI like tea\n",
        encoding="utf-8",
    )
    assert read_facts(path) == (
        (("favourite colour", "green"), ("home", "a laptop in Kiel"), ("I said", "no!")),
        ("I like tea.", "The one thing that I never do: sleep."),
    )


@pytest.mark.parametrize(
    ("data", "message"), [(b"\n# x\n", "holds no facts"), (b"\xff", "is not UTF-8"), (b"x" * 2_000_000, "bytes")]
)
def test_facts_that_are_none(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "facts.txt").write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_facts(tmp_path / "facts.txt")
    with pytest.raises(MissingError):
        read_facts(tmp_path / "none.txt")
