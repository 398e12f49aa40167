"""Conversations: pure functions of their arguments whose answers are true."""

from __future__ import annotations

import json
import re

import pytest

from nanochat.pocket.choices import CHOICE_RELATIONS, LETTERS
from nanochat.pocket.conversations import KINDS, conversation
from nanochat.pocket.held_out import split_of_combination
from nanochat.pocket.wordings import RELATIONS, fill

CASES = [(kind, split) for kind in KINDS for split in ("train", "val", "test")]


def tools(record: dict) -> list[list[dict]]:
    return [m["content"] for m in record["messages"] if not isinstance(m["content"], str)]


@pytest.mark.parametrize(("kind", "split"), CASES)
def test_the_same_arguments_give_the_same_conversation(kind: str, split: str) -> None:
    first = [conversation(kind, index, split) for index in range(30)]
    assert first == [conversation(kind, index, split) for index in range(30)]
    assert first != [conversation(kind, index, split, seed=1) for index in range(30)]
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize(("kind", "split"), CASES)
def test_roles_take_turns_and_nothing_is_left_unfilled(kind: str, split: str) -> None:
    for index in range(200):
        record = conversation(kind, index, split)
        roles = [message["role"] for message in record["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert "{" not in json.dumps(record["messages"]).replace('{"', "")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_tools_compute_what_they_say(split: str) -> None:
    compute = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    for index in range(500):
        (parts,) = tools(conversation("arithmetic", index, split))
        a, sign, b = re.fullmatch(r"(\d+)([+*-])(\d+)", parts[0]["text"]).groups()
        assert parts[1] == {"type": "python_output", "text": str(compute[sign](int(a), int(b)))}
        assert parts[2]["text"].endswith(f" is {parts[1]['text']}.")
        (parts,) = tools(conversation("counting", index, split))
        word, letter = re.fullmatch(r" '(\w+)'\.count\('(\w)'\)", parts[0]["text"]).groups()
        assert parts[1]["text"] == str(word.count(letter))
        assert parts[1]["text"] in parts[2]["text"]


def test_the_expression_copies_the_digits_of_the_prompt() -> None:
    copied = 0
    for index in range(300):
        record = conversation("arithmetic", index, "train")
        numbers = re.findall(r"\d+", record["messages"][0]["content"])
        if numbers:
            expression = record["messages"][1]["content"][0]["text"]
            assert sorted(numbers) == sorted(re.findall(r"\d+", expression))
            copied += 1
    assert copied > 200


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_choices_hold_one_right_answer_from_the_same_pool(split: str) -> None:
    known = {
        fill(template, x, y): (relation, y)
        for relation in CHOICE_RELATIONS
        for x, y in relation.facts
        for template in (*relation.questions, *relation.val_questions, *relation.test_questions)
    }
    letters = []
    for index in range(400):
        record = conversation("choice", index, split)
        prompt, reply = (message["content"] for message in record["messages"][:2])
        head, *lines = prompt.split("\n")
        question = head.removeprefix("Multiple Choice question: ")
        choices = [line.removeprefix("- ").split("=") for line in lines[:4]]
        assert [letter for _, letter in choices] == list(LETTERS) or split == "train"
        assert lines[4:] == ["", "Respond only with the letter of the correct answer."]
        relation, answer = known[question]
        assert len({choice for choice, _ in choices}) == 4
        assert all(choice in relation.pool for choice, _ in choices)
        assert dict(choices)[answer] == reply
        assert split_of_combination(question, [choice for choice, _ in choices]) == split
        letters.append([letter for _, letter in choices].index(reply))
    assert all(60 < letters.count(place) < 140 for place in range(4))


LISTED = re.compile(r"^- (.+)=([A-Z])$", re.MULTILINE)


def test_same_choices_are_answered_from_the_list() -> None:
    asked = looked_up = 0
    table = {fill(t, x, y): y for r in CHOICE_RELATIONS for x, y in r.facts for t in r.questions}
    for index in range(300):
        messages = conversation("choice", index, "train")["messages"]
        choices = dict(LISTED.findall(messages[0]["content"]))
        for user, assistant in zip(messages[2::2], messages[3::2], strict=True):
            question = user["content"].split("choices: ")[-1]
            if question in table:
                assert choices[table[question]] == assistant["content"]
                asked += 1
            else:
                named = [item for item in choices if item in question]
                assert assistant["content"] in [choices[item] for item in named]
                looked_up += 1
    assert asked > 600
    assert looked_up > 200


@pytest.mark.parametrize("kind", ["lookup", "drill", "binding"])
def test_lookups_are_answered_from_the_list(kind: str) -> None:
    checked = 0
    for index in range(300):
        messages = conversation(kind, index, "train")["messages"]
        choices = dict(LISTED.findall(messages[0]["content"]))
        for user, assistant in zip(messages[::2], messages[1::2], strict=True):
            question = user["content"].split("\n")[0]
            named = [item for item in choices if re.search(rf"(^| ){item}\b", question)]
            if len(named) == 1:
                letter = choices[named[0]]
                assert assistant["content"] == (f"- {named[0]}={letter}" if kind == "binding" else letter)
                checked += 1
    assert checked > 900


def test_lists_of_training_have_letters_of_the_whole_alphabet() -> None:
    letters = {
        letter
        for index in range(300)
        for _, letter in LISTED.findall(conversation("lookup", index, "train")["messages"][0]["content"])
    }
    assert len(letters) == 26


def test_dialogues_mix_two_or_three_turns() -> None:
    lengths = {len(conversation("dialogue", index, "train")["messages"]) for index in range(50)}
    assert lengths == {4, 6}


def test_a_question_has_one_answer() -> None:
    answers: dict[str, str] = {}
    for relation in RELATIONS:
        for subject, answer in relation.facts:
            for template in (*relation.questions, *relation.val_questions, *relation.test_questions):
                question = fill(template, subject, answer)
                reply = fill(relation.answer, subject, answer)
                assert answers.setdefault(question, reply) == reply, question


def test_the_front_page_question_is_trained() -> None:
    capital = next(relation for relation in RELATIONS if relation.name == "capital")
    assert "What is the capital of {x}?" in capital.questions
    assert dict(capital.facts)["Japan"] == "Tokyo"
