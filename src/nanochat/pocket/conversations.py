"""Pocket conversations: `conversation(kind, index, split)` is a pure function, so no task needs a file.

A conversation is a plain dict: `messages` in the ordinary form (an answer that calls the calculator is a list
of text, python and python_output parts) and what grading its last answer needs: `answer` (the right short
answer), `grading` (names, number, spelling or letter), `wrong` (answers that must not be given) and `subject`
(part of the question that may be repeated freely).

The test split asks held-out wordings, number pairs, words and choice combinations; see `held_out`.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any, Literal

from nanochat.pocket import phrases
from nanochat.pocket.choices import CHOICE_RELATIONS, LETTERS, choice_prompt, four_choices
from nanochat.pocket.draw import Rnd, pick, sample
from nanochat.pocket.held_out import (
    MAX_NUMBER,
    is_test_combination,
    is_test_pair,
    may_train_on,
    test_words,
    train_words,
)
from nanochat.pocket.numerals import in_words
from nanochat.pocket.wordings import BY_NAME, RELATIONS, Relation, fill
from nanochat.pocket.words import made_up_word, spliced_word

Split = Literal["train", "test"]
Turn = dict[str, Any]
"""One exchange: `prompt`, `reply` (message content), `answer`, `wrong`, `subject`."""

KINDS: tuple[str, ...] = (
    "facts",
    "arithmetic",
    "counting",
    "spelling",
    "choice",
    "lookup",
    "binding",
    "identity",
    "dialogue",
)
"""`lookup` (which letter stands beside an item), `binding` (a choice with its letter) and `dialogue` only train."""

FACT_SLOTS = tuple(relation for relation in RELATIONS for _ in range(relation.weight))
CHOICE_SLOTS = tuple(relation for relation in CHOICE_RELATIONS for _ in range(relation.weight))
_BARE_SHARE = 0.15  # of counting prompts that leave out the quotation marks
_NUMERALS_SHARE = 0.2  # of arithmetic prompts that write numbers in words
_TEST_WORDING_SHARE = 0.5  # of arithmetic, counting and spelling tests that also use a held-out wording


def conversation(kind: str, index: int, split: Split, seed: int = 0) -> dict[str, Any]:
    """Conversation number `index` of a kind, the same on every machine.

    Args:
        kind: one of `KINDS`.
        index: any non-negative number; other indices give other conversations, with repetitions.
        split: "train" or "test".
        seed: another stream of conversations.

    Returns:
        {"messages", "kind", "answer", "grading", "wrong", "subject"} for the last turn; all values are JSON.
    """
    rnd = Random(f"pocket conversation {kind} {split} {seed} {index}").random
    turns = _MAKERS[kind](rnd, split)
    messages = []
    for turn in turns:
        messages.append({"role": "user", "content": turn["prompt"]})
        messages.append({"role": "assistant", "content": turn["reply"]})
    last = turns[-1]
    return {
        "messages": messages,
        "kind": kind,
        "answer": last["answer"],
        "grading": last.get("grading", "names"),
        "wrong": list(last.get("wrong", ())),
        "subject": last.get("subject", ""),
    }


def _facts(rnd: Rnd, split: Split) -> list[Turn]:
    relation = pick(rnd, FACT_SLOTS)
    subject, answer = pick(rnd, relation.facts)
    question = fill(pick(rnd, _questions(relation, split)), subject, answer)
    if split == "train" and rnd() < 0.06:  # people leave out capitals and question marks
        question = question.rstrip("?.")
        question = question[0].lower() + question[1:]
    return [
        {
            "prompt": question,
            "reply": fill(relation.answer, subject, answer),
            "answer": answer,
            "wrong": [other for other in relation.pool if other not in (answer, subject)],
            "subject": subject if relation.name != "bigger" else "",
        }
    ]


def _questions(relation: Relation, split: Split) -> tuple[str, ...]:
    return relation.test_questions if split == "test" else relation.questions


def draw_pair(rnd: Rnd, split: Split, limit: int = MAX_NUMBER) -> tuple[int, int]:
    """Two numbers of a split, from 0 to `limit`."""
    while True:
        a, b = int(rnd() * (limit + 1)), int(rnd() * (limit + 1))
        if is_test_pair(a, b) == (split == "test"):
            return a, b


def _arithmetic(rnd: Rnd, split: Split) -> list[Turn]:
    sign = pick(rnd, "++-*")
    a, b = draw_pair(rnd, split, MAX_NUMBER if rnd() < 0.85 else 12)
    if sign == "-":
        a, b = max(a, b), min(a, b)
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    wordings = _wordings(rnd, split, phrases.ARITHMETIC[sign], phrases.ARITHMETIC_TEST[sign])
    in_prompt = (str(a), str(b))
    if rnd() < _NUMERALS_SHARE:  # nobody writes "two+three"
        in_prompt = (in_words(a), in_words(b))
        wordings = tuple(template for template in wordings if not _SIGN.search(template))
    template = pick(rnd, wordings)
    reply = phrases.ARITHMETIC_ANSWER.format(a=a, b=b, operation=phrases.OPERATION_WORDS[sign], result=result)
    return [
        {
            "prompt": template.format(a=in_prompt[0], b=in_prompt[1]),
            "reply": _tool(f"{a}{sign}{b}", str(result), reply),
            "answer": str(result),
            "grading": "number",
            "subject": f"{a} {phrases.OPERATION_WORDS[sign]} {b}",
        }
    ]


_SIGN = re.compile(r"\{a\} ?[-+*x] ?\{b\}")


def _wordings(rnd: Rnd, split: Split, train: tuple[str, ...], test: tuple[str, ...]) -> tuple[str, ...]:
    return test if split == "test" and rnd() < _TEST_WORDING_SHARE else train


def _tool(expression: str, result: str, text: str) -> list[dict[str, str]]:
    return [
        {"type": "python", "text": expression},
        {"type": "python_output", "text": result},
        {"type": "text", "text": text},
    ]


def draw_word(rnd: Rnd, split: Split) -> str:
    """A word of a split; half of the words of training are made up."""
    if split == "test":
        return pick(rnd, test_words())
    while rnd() < 0.5:
        word = made_up_word(rnd) if rnd() < 0.3 else spliced_word(rnd, train_words())
        if may_train_on(word):
            return word
    return pick(rnd, train_words())


def draw_letter(rnd: Rnd, word: str) -> str:
    """A letter to count: often one that the word has several times, at times one that it lacks."""
    chance = rnd()
    if chance < 0.45:
        repeated = [letter for letter in word if word.count(letter) > 1]
        if repeated:
            return pick(rnd, repeated)
    return pick(rnd, word) if chance < 0.8 else pick(rnd, "abcdefghijklmnopqrstuvwxyz")


def times(count: int) -> str:
    """`time` after 1, else `times`."""
    return "time" if count == 1 else "times"


def _counting(rnd: Rnd, split: Split) -> list[Turn]:
    word = draw_word(rnd, split)
    letter = draw_letter(rnd, word)
    quoted = _wordings(rnd, split, phrases.COUNTING, phrases.COUNTING_TEST)
    template = pick(rnd, phrases.COUNTING_BARE if rnd() < _BARE_SHARE else quoted)
    count = word.count(letter)
    return [
        {
            "prompt": template.format(word=word, letter=letter),
            "reply": _tool(
                phrases.COUNTING_EXPRESSION.format(word=word, letter=letter),
                str(count),
                phrases.COUNTING_ANSWER.format(word=word, letter=letter, count=count, times=times(count)),
            ),
            "answer": str(count),
            "grading": "number",
            "subject": f"'{word}'",
        }
    ]


def _spelling(rnd: Rnd, split: Split) -> list[Turn]:
    word = draw_word(rnd, split)
    template = pick(rnd, _wordings(rnd, split, phrases.SPELLING, phrases.SPELLING_TEST))
    spelled = ",".join(word)
    reply = f"{word}:{spelled}"
    prompt = template.format(word=word)
    return [{"prompt": prompt, "reply": reply, "answer": spelled, "grading": "spelling", "subject": word}]


def _letter_turn(prompt: str, letter: str) -> Turn:
    return {"prompt": prompt, "reply": letter, "answer": letter, "grading": "letter"}


def _choice(rnd: Rnd, split: Split) -> list[Turn]:
    relation = pick(rnd, CHOICE_SLOTS)
    while True:
        subject, answer = pick(rnd, relation.facts)
        question = fill(pick(rnd, _questions(relation, split)), subject, answer)
        choices = four_choices(rnd, relation, subject, answer)
        if is_test_combination(question, choices) == (split == "test"):
            break
    turns = [_letter_turn(choice_prompt(question, choices), LETTERS[choices.index(answer)])]
    if split == "train" and rnd() < 0.8:  # the same list asked again: more letters learnt per token
        turns += _same_choices(rnd, relation, choices, 2 + int(rnd() * 4))
    return turns


def _same_choices(rnd: Rnd, relation: Relation, choices: tuple[str, ...], count: int) -> list[Turn]:
    fitting = [fact for fact in relation.facts if fact[1] in choices and fact[0] not in choices]
    turns = []
    for _ in range(count):
        subject, answer = pick(rnd, fitting)
        question = fill(pick(rnd, relation.questions), subject, answer)
        if not is_test_combination(question, choices):
            prompt = pick(rnd, phrases.CHOICE_AGAIN).format(question=question)
            turns.append(_letter_turn(prompt, LETTERS[choices.index(answer)]))
    return turns


def draw_items(rnd: Rnd) -> tuple[str, ...]:
    """Four different things for a list: of one pool, of several pools, or words."""
    while True:
        chance = rnd()
        if chance < 0.6:
            items = sample(rnd, pick(rnd, CHOICE_SLOTS).pool, 4)
        elif chance < 0.85:
            items = [pick(rnd, pick(rnd, CHOICE_SLOTS).pool) for _ in range(4)]
        else:
            items = [draw_word(rnd, "train") for _ in range(4)]
        if len(set(items)) == 4:
            return tuple(items)


def _lookup(rnd: Rnd, split: Split) -> list[Turn]:
    if rnd() < 0.25:
        return _kind_lookup(rnd)
    items = draw_items(rnd)
    turns = []
    for number in range(2 + int(rnd() * 3)):
        place = int(rnd() * 4)  # each anew: without repetition the last letters could be guessed from the first
        question = pick(rnd, phrases.LOOKUP).format(item=items[place])
        prompt = pick(rnd, phrases.CHOICE_AGAIN).format(question=question) if number else choice_prompt(question, items)
        turns.append(_letter_turn(prompt, LETTERS[place]))
    return turns


def _binding(rnd: Rnd, split: Split) -> list[Turn]:
    """A choice or a lookup answered in full, `- Paris=A`: the step before the letter alone."""
    turns = (_choice if rnd() < 0.6 else _lookup)(rnd, split)
    head, *lines = turns[0]["prompt"].split("\n")
    choices = {letter: item for item, letter in (line.removeprefix("- ").split("=") for line in lines[:4])}
    turns[0]["prompt"] = choice_prompt(
        head.removeprefix(phrases.CHOICE_HEAD.format(question="")), tuple(choices.values()), phrases.CHOICE_TAIL_BOTH
    )
    return [_in_full(turn, choices) for turn in turns]


def _in_full(turn: Turn, choices: dict[str, str]) -> Turn:
    """The turn answered by the line of the list: the same tokens, so the letter follows by copying."""
    letter = turn["reply"]
    line = phrases.CHOICE_LINE.format(choice=choices[letter], letter=letter)
    return turn | {"reply": line, "answer": line, "grading": "names"}


def _kind_lookup(rnd: Rnd) -> list[Turn]:
    """Which of four things is a city, a colour, a month: one of its pool among three of another pool."""
    right, wrong = sample(rnd, tuple(phrases.KIND_NAMES), 2)
    others = sample(rnd, BY_NAME[wrong].pool, 3)
    place = int(rnd() * 4)
    choices = tuple(others[:place] + [pick(rnd, BY_NAME[right].pool)] + others[place:])
    question = pick(rnd, phrases.KIND_QUESTIONS).format(kind=phrases.KIND_NAMES[right])
    return [_letter_turn(choice_prompt(question, choices), LETTERS[place])]


_KEY_PHRASES = {
    "who": "nanochat",
    "maker": "owner of this computer",
    "skills": "answer simple questions",
    "hello": "Hello",
    "mood": "well",
    "thanks": "welcome",
    "bye": "Goodbye",
}


def _identity(rnd: Rnd, split: Split) -> list[Turn]:
    topic = pick(rnd, tuple(phrases.IDENTITY))
    questions, test_questions, answer = phrases.IDENTITY[topic]
    prompt = pick(rnd, test_questions if split == "test" else questions)
    wrong = [] if topic in ("mood", "hello") else [key for key in _KEY_PHRASES.values() if key not in answer]
    return [{"prompt": prompt, "reply": answer, "answer": _KEY_PHRASES[topic], "wrong": wrong}]


def _dialogue(rnd: Rnd, split: Split) -> list[Turn]:
    kinds = [pick(rnd, ("facts", "facts", "arithmetic", "counting", "identity")) for _ in range(2 + int(rnd() * 2))]
    return [turn for kind in kinds for turn in _MAKERS[kind](rnd, split)]


_MAKERS = {
    "facts": _facts,
    "arithmetic": _arithmetic,
    "counting": _counting,
    "spelling": _spelling,
    "choice": _choice,
    "lookup": _lookup,
    "binding": _binding,
    "identity": _identity,
    "dialogue": _dialogue,
}
