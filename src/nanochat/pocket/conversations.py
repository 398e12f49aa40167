"""Pocket conversations: `conversation(kind, index, split)` is a pure function, so no task needs a file.

A conversation is a plain dict: `messages` in the ordinary form (an answer that calls the calculator is a list
of text, python and python_output parts) and what grading its last answer needs: `answer` (the right short
answer), `grading` (names, number, spelling or letter), `wrong` (answers that must not be given), `subject`
(part of the question that may be repeated freely) and `letters` (those of its list).

The val and test splits ask held-out wordings, number pairs, words and choice combinations; see `held_out`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from string import ascii_lowercase
from typing import Any

from nanochat.pocket import phrases
from nanochat.pocket.choices import CHOICE_RELATIONS, LETTERS, choice_prompt, draw_letters, four_choices
from nanochat.pocket.draw import Rnd, pick, sample, shuffled
from nanochat.pocket.held_out import (
    MAX_NUMBER,
    Split,
    split_of_combination,
    split_of_pair,
    split_of_word,
    words_of,
)
from nanochat.pocket.numerals import in_words
from nanochat.pocket.problems import ANSWER, draw_problem
from nanochat.pocket.wordings import BY_NAME, RELATIONS, Relation, fill
from nanochat.pocket.words import made_up_word, spliced_word

Turn = dict[str, Any]
"""One exchange: `prompt`, `reply` (message content), `answer`, `wrong`, `subject`."""

KINDS: tuple[str, ...] = (
    "facts",
    "arithmetic",
    "counting",
    "spelling",
    "problems",
    "choice",
    "lookup",
    "drill",
    "binding",
    "identity",
    "dialogue",
)
"""`lookup` (which letter stands beside an item), `drill` (the same without a word more, over and over), `binding` (the
item with its letter) and `dialogue` only train."""

FACT_SLOTS = tuple(relation for relation in RELATIONS for _ in range(relation.weight))
CHOICE_SLOTS = tuple(relation for relation in CHOICE_RELATIONS for _ in range(relation.weight))
_BARE_SHARE = 0.15  # of counting prompts that leave out the quotation marks
_NUMERALS_SHARE = 0.2  # of arithmetic prompts that write numbers in words
_OTHER_LETTERS_SHARE = 0.5  # of lists in training that have other letters than A to D
_LOOKUPS_AMONG_CHOICES = 0.3  # of further turns about one list
_HELD_OUT_WORDING_SHARE = 0.5  # of held-out arithmetic, counting and spelling that also use a held-out wording
_DRILLED = (2, 2, 3, 4)  # items of a list
_IN_PASSING_SHARE = 0.4  # of arithmetic, counting and spelling in training


def conversation(kind: str, index: int, split: Split, seed: int = 0) -> dict[str, Any]:
    """Conversation number `index` of a kind, the same on every machine.

    Args:
        kind: one of `KINDS`.
        index: any non-negative number; other indices give other conversations, with repetitions.
        split: "train", "val" or "test".
        seed: another stream of conversations.

    Returns:
        {"messages", "kind", "answer", "grading", "wrong", "subject", "letters"} for the last turn; all values are JSON.
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
        "letters": list(last.get("letters", ())),
    }


def _facts(rnd: Rnd, split: Split) -> list[Turn]:
    relation = pick(rnd, FACT_SLOTS)
    subject, answer = pick(rnd, relation.facts)
    question = fill(pick(rnd, _questions(relation, split)), subject, answer)
    if split == "train":
        question = _in_passing(rnd, question)
    return [
        {
            "prompt": question,
            "reply": fill(relation.answer, subject, answer),
            "answer": answer,
            "wrong": [other for other in relation.pool if other not in (answer, subject)],
            "subject": subject if relation.name != "bigger" else "",
        }
    ]


def _in_passing(rnd: Rnd, question: str) -> str:
    """The question as people put it: at times without capitals and marks, or with a few words around it."""
    chance = rnd()
    if chance < 0.06:
        question = question.rstrip("?.")
        return question[0].lower() + question[1:]
    if chance < 0.25:
        return pick(rnd, phrases.BEFORE_A_QUESTION).format(word=draw_word(rnd, "train")) + question
    if chance < 0.45 and question[-1] in "?.!":
        return question + pick(rnd, phrases.AFTER_A_QUESTION).format(word=draw_word(rnd, "train"))
    return question


def _maybe_in_passing(rnd: Rnd, split: Split, question: str) -> str:
    return _in_passing(rnd, question) if split == "train" and rnd() < _IN_PASSING_SHARE else question


def _questions(relation: Relation, split: Split) -> tuple[str, ...]:
    return {"train": relation.questions, "val": relation.val_questions, "test": relation.test_questions}[split]


def draw_pair(rnd: Rnd, split: Split, limit: int = MAX_NUMBER) -> tuple[int, int]:
    """Two numbers of a split, from 0 to `limit`."""
    while True:
        a, b = int(rnd() * (limit + 1)), int(rnd() * (limit + 1))
        if split_of_pair(a, b) == split:
            return a, b


def _arithmetic(rnd: Rnd, split: Split) -> list[Turn]:
    sign = pick(rnd, "++-*")
    a, b = draw_pair(rnd, split, MAX_NUMBER if rnd() < 0.85 else 12)
    if sign == "-":
        a, b = max(a, b), min(a, b)
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    wordings = _wordings(
        rnd, split, phrases.ARITHMETIC[sign], phrases.ARITHMETIC_VAL[sign], phrases.ARITHMETIC_TEST[sign]
    )
    in_prompt = (str(a), str(b))
    if rnd() < _NUMERALS_SHARE:  # nobody writes "two+three"
        in_prompt = (in_words(a), in_words(b))
        wordings = tuple(template for template in wordings if not _SIGN.search(template))
    template = pick(rnd, wordings)
    reply = phrases.ARITHMETIC_ANSWER.format(a=a, b=b, operation=phrases.OPERATION_WORDS[sign], result=result)
    return [
        {
            "prompt": _maybe_in_passing(rnd, split, template.format(a=in_prompt[0], b=in_prompt[1])),
            "reply": _tool(f"{a}{sign}{b}", str(result), reply),
            "answer": str(result),
            "grading": "number",
            "subject": f"{a} {phrases.OPERATION_WORDS[sign]} {b}",
        }
    ]


_SIGN = re.compile(r"\{a\} ?[-+*x] ?\{b\}")


def _wordings(
    rnd: Rnd, split: Split, train: tuple[str, ...], val: tuple[str, ...], test: tuple[str, ...]
) -> tuple[str, ...]:
    held_out = {"train": train, "val": val, "test": test}[split]
    return held_out if rnd() < _HELD_OUT_WORDING_SHARE else train


def _tool(expression: str, result: str, text: str) -> list[dict[str, str]]:
    return [
        {"type": "python", "text": expression},
        {"type": "python_output", "text": result},
        {"type": "text", "text": text},
    ]


def draw_word(rnd: Rnd, split: Split) -> str:
    """A word of a split; half of the words of training are made up."""
    words = words_of(split)
    while split == "train" and rnd() < 0.5:
        word = made_up_word(rnd) if rnd() < 0.3 else spliced_word(rnd, words)
        if split_of_word(word) == "train":
            return word
    return pick(rnd, words)


def draw_letter(rnd: Rnd, word: str) -> str:
    """A letter to count: one that the word has several times, once or not at all, about as often each."""
    repeated = [letter for letter in word if word.count(letter) > 1]
    if repeated and rnd() < 0.5:
        return pick(rnd, repeated)
    if rnd() < 0.45:
        return pick(rnd, [letter for letter in ascii_lowercase if letter not in word])
    return pick(rnd, word)


def times(count: int) -> str:
    """`time` after 1, else `times`."""
    return "time" if count == 1 else "times"


def _counting(rnd: Rnd, split: Split) -> list[Turn]:
    word = draw_word(rnd, split)
    letter = draw_letter(rnd, word)
    quoted = _wordings(rnd, split, phrases.COUNTING, phrases.COUNTING_VAL, phrases.COUNTING_TEST)
    template = pick(rnd, phrases.COUNTING_BARE if rnd() < _BARE_SHARE else quoted)
    count = word.count(letter)
    return [
        {
            "prompt": _maybe_in_passing(rnd, split, template.format(word=word, letter=letter)),
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
    template = pick(rnd, _wordings(rnd, split, phrases.SPELLING, phrases.SPELLING_VAL, phrases.SPELLING_TEST))
    spelled = ",".join(word)
    reply = f"{word}:{spelled}"
    prompt = _maybe_in_passing(rnd, split, template.format(word=word))
    return [{"prompt": prompt, "reply": reply, "answer": spelled, "grading": "spelling", "subject": word}]


def _problems(rnd: Rnd, split: Split) -> list[Turn]:
    problem = draw_problem(rnd, split, MAX_NUMBER)
    result = str(problem.result)
    return [
        {
            "prompt": _maybe_in_passing(rnd, split, problem.prompt),
            "reply": _tool(problem.expression, result, ANSWER.format(result=result)),
            "answer": result,
            "grading": "number",
            "subject": " ".join(map(str, problem.numbers)),
        }
    ]


def _choice(rnd: Rnd, split: Split) -> list[Turn]:
    relation = pick(rnd, CHOICE_SLOTS)
    while True:
        subject, answer = pick(rnd, relation.facts)
        question = fill(pick(rnd, _questions(relation, split)), subject, answer)
        choices = four_choices(rnd, relation, subject, answer)
        if split_of_combination(question, choices) == split:
            break
    listed = _Listed(choices, _letters_of_list(rnd, split))
    turns = [listed.first(question, answer)]
    if split == "train" and rnd() < 0.8:  # the same list asked again: more letters learnt per token
        turns += _same_choices(rnd, relation, listed, 3 + int(rnd() * 6))
    return turns


def _letters_of_list(rnd: Rnd, split: Split) -> tuple[str, ...]:
    return draw_letters(rnd, len(LETTERS)) if split == "train" and rnd() < _OTHER_LETTERS_SHARE else LETTERS


@dataclass(frozen=True, slots=True)
class _Listed:
    """Two to four items with their letters; `in_full` answers `- Paris=A`: the step before the letter alone."""

    items: tuple[str, ...]
    letters: tuple[str, ...]
    in_full: bool = False

    def first(self, question: str, item: str) -> Turn:
        """The turn that shows the list."""
        tail = phrases.CHOICE_TAIL_BOTH if self.in_full else phrases.CHOICE_TAIL
        return self.turn(choice_prompt(question, self.items, self.letters, tail), item)

    def turn(self, prompt: str, item: str) -> Turn:
        """Any turn that `item` answers."""
        letter = self.letters[self.items.index(item)]
        if self.in_full:
            line = phrases.CHOICE_LINE.format(choice=item, letter=letter)
            return {"prompt": prompt, "reply": line, "answer": line}
        return {"prompt": prompt, "reply": letter, "answer": letter, "grading": "letter", "letters": self.letters}

    def lookup(self, rnd: Rnd, *, again: bool = True) -> Turn:
        """Asks for the letter beside an item; `again` when the list has been shown in a turn before."""
        item = pick(rnd, self.items)  # each anew: without repetition the last could be guessed from the first
        question = pick(rnd, phrases.LOOKUP).format(item=item)
        if not again:
            return self.first(question, item)
        return self.turn(pick(rnd, phrases.CHOICE_AGAIN).format(question=question), item)


def _same_choices(rnd: Rnd, relation: Relation, listed: _Listed, count: int) -> list[Turn]:
    fitting = [fact for fact in relation.facts if fact[1] in listed.items and fact[0] not in listed.items]
    turns = []
    for _ in range(count):
        if rnd() < _LOOKUPS_AMONG_CHOICES:
            turns.append(listed.lookup(rnd))
            continue
        subject, answer = pick(rnd, fitting)
        question = fill(pick(rnd, relation.questions), subject, answer)
        if split_of_combination(question, listed.items) == "train":
            turns.append(listed.turn(pick(rnd, phrases.CHOICE_AGAIN).format(question=question), answer))
    return turns


def draw_items(rnd: Rnd, count: int = 4) -> tuple[str, ...]:
    """Different things for a list: of one pool, of several pools, or words."""
    while True:
        chance = rnd()
        if chance < 0.6:
            pool = pick(rnd, CHOICE_SLOTS).pool
            items = sample(rnd, pool, min(count, len(pool)))
        elif chance < 0.85:
            items = [pick(rnd, pick(rnd, CHOICE_SLOTS).pool) for _ in range(count)]
        else:
            items = [draw_word(rnd, "train") for _ in range(count)]
        if len(set(items)) == count:
            return tuple(items)


def _lookup(rnd: Rnd, split: Split) -> list[Turn]:
    if rnd() < 0.25:
        return _kind_lookup(rnd)
    listed = _Listed(draw_items(rnd), _letters_of_list(rnd, split))
    return [listed.lookup(rnd, again=number > 0) for number in range(4 + int(rnd() * 7))]


def _drill(rnd: Rnd, split: Split) -> list[Turn]:
    """An item, its letter, the next: one token in seven is a letter to look up, not one in twenty.

    Most lists are shorter than four: the fewer there are to confuse, the sooner looking pays.
    """
    items = draw_items(rnd, pick(rnd, _DRILLED))
    letters = _letters_of_list(rnd, split) if len(items) == len(LETTERS) else draw_letters(rnd, len(items))
    listed = _Listed(items, letters)
    first, *others = [pick(rnd, listed.items) for _ in range(10 + int(rnd() * 8))]
    return [listed.first(first, first), *(listed.turn(item, item) for item in others)]


def _binding(rnd: Rnd, split: Split) -> list[Turn]:
    listed = _Listed(draw_items(rnd), _letters_of_list(rnd, split), in_full=True)
    return [listed.lookup(rnd, again=number > 0) for number in range(3 + int(rnd() * 5))]


def _kind_lookup(rnd: Rnd) -> list[Turn]:
    """Which of four things is a city, a colour, a month: one of its pool among three of another pool."""
    right, wrong = sample(rnd, tuple(phrases.KIND_NAMES), 2)
    others = sample(rnd, BY_NAME[wrong].pool, 3)
    item = pick(rnd, BY_NAME[right].pool)
    listed = _Listed(tuple(shuffled(rnd, [item, *others])), LETTERS)
    return [listed.first(pick(rnd, phrases.KIND_QUESTIONS).format(kind=phrases.KIND_NAMES[right]), item)]


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
    "problems": _problems,
    "choice": _choice,
    "lookup": _lookup,
    "drill": _drill,
    "binding": _binding,
    "identity": _identity,
    "dialogue": _dialogue,
}
