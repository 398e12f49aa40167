"""Word problems of two steps: something is had, then it changes twice, and somebody asks how much there is.

The model has to say which of two signs each verb means and to copy three numbers in order; the calculator does the
rest. Numbers of a split are pairs of that split, as in arithmetic; half of the held-out problems are also told and
asked in wordings that training never uses. The verbs are the same everywhere: they are what is to be learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.pocket.draw import Rnd, pick
from nanochat.pocket.held_out import Split, split_of_pair

NAMES: tuple[str, ...] = ("Tom", "Anna", "Ben", "Lucy", "Max", "Mary", "Sam", "Emma", "Jack", "Lily", "Paul", "Nina")
THINGS: tuple[str, ...] = (
    *("apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "nuts"),
    *("pencils", "pears", "stones", "tickets"),
)
GAINS: tuple[str, ...] = (
    *("buys {n} more", "finds {n} more", "gets {n} more", "wins {n} more", "makes {n} more", "borrows {n}"),
    *("receives {n}", "collects {n}", "takes {n} from a friend", "adds {n}"),
)
LOSSES: tuple[str, ...] = (
    *("gives {n} away", "loses {n}", "sells {n}", "throws {n} away", "breaks {n}", "leaves {n} at home"),
    *("gives {n} to a friend", "uses {n}", "drops {n}", "lends {n} to a friend"),
)
ANSWER = "The answer is {result}."
MAX_FACTOR = 12
_PRODUCT_SHARE = 0.25
_HELD_OUT_WORDING_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Wording:
    """How a problem is told and asked.

    Attributes:
        had: what there is at first.
        boxes: the same, where the first step is a product.
        once, twice: what is had, and the changes that follow.
        asks: of any problem.
        left: of one that ends with a loss.
    """

    had: tuple[str, ...]
    boxes: tuple[str, ...]
    once: tuple[str, ...]
    twice: tuple[str, ...]
    asks: tuple[str, ...]
    left: tuple[str, ...]


WORDINGS: dict[Split, Wording] = {
    "train": Wording(
        had=("{name} has {a} {things}", "{name} owns {a} {things}"),
        boxes=("{name} has {a} boxes with {b} {things} in each",),
        once=("{had} and {one}.", "{had}. {name} {one}.", "{had}. Then {name} {one}."),
        twice=("{had}, {one} and {two}.", "{had}. {name} {one} and {two}.", "{had}. Then {name} {one} and {two}."),
        asks=(
            *("How many {things} does {name} have now?", "How many {things} are there now?"),
            "How many {things} is that?",
        ),
        left=("How many are left?", "How many {things} are left?"),
    ),
    "val": Wording(
        had=("{name} begins with {a} {things}",),
        boxes=("{name} begins with {a} bags of {b} {things}",),
        once=("{had}. Later {name} {one}.",),
        twice=("{had}. {name} {one}. Later {name} {two}.",),
        asks=("What number of {things} does {name} have?", "How many {things} does {name} hold now?"),
        left=("How many {things} are still there?",),
    ),
    "test": Wording(
        had=("{name} starts with {a} {things}",),
        boxes=("{name} starts with {a} baskets of {b} {things}",),
        once=("{had}. After that {name} {one}.",),
        twice=("{had}. First {name} {one}. After that {name} {two}.",),
        asks=("How many {things} does {name} have in the end?", "How many {things} is it in the end?"),
        left=("How many {things} remain?",),
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with its solution, `expression` being what the calculator is asked."""

    prompt: str
    expression: str
    result: int
    numbers: tuple[int, int, int]


def draw_problem(rnd: Rnd, split: Split, largest: int) -> Problem:
    """A problem of a split; no number in it is above `largest`, and no amount below 0."""
    wording = WORDINGS[split] if split == "train" or rnd() < _HELD_OUT_WORDING_SHARE else WORDINGS["train"]
    boxes = rnd() < _PRODUCT_SHARE
    a, b, c, signs, result = _boxes(rnd, split, largest) if boxes else _twice(rnd, split, largest)
    words = {"name": pick(rnd, NAMES), "things": pick(rnd, THINGS)}
    had = pick(rnd, wording.boxes if boxes else wording.had).format(a=a, b=b, **words)
    changes = [_change(rnd, sign, number) for sign, number in zip(signs, (b, c), strict=True) if sign != "*"]
    told = pick(rnd, wording.once if boxes else wording.twice)
    told = told.format(had=had, one=changes[0], two=changes[-1], **words)
    asked = pick(rnd, wording.left if signs[1] == "-" and rnd() < 0.5 else wording.asks).format(**words)
    return Problem(f"{told} {asked}", f"{a}{signs[0]}{b}{signs[1]}{c}", result, (a, b, c))


Drawn = tuple[int, int, int, str, int]  # three numbers, the signs between them, the result


def _twice(rnd: Rnd, split: Split, largest: int) -> Drawn:
    while True:
        a, b, c = (1 + int(rnd() * largest) for _ in range(3))
        signs = pick(rnd, "+-") + pick(rnd, "+-")
        between = a + b if signs[0] == "+" else a - b
        result = between + c if signs[1] == "+" else between - c
        if split_of_pair(a, b) == split and min(between, result) >= 0:
            return a, b, c, signs, result


def _boxes(rnd: Rnd, split: Split, largest: int) -> Drawn:
    while True:
        a, b = (2 + int(rnd() * (MAX_FACTOR - 1)) for _ in range(2))
        if split_of_pair(a, b) == split:
            break
    sign = pick(rnd, "+-")
    c = 1 + int(rnd() * min(largest, a * b if sign == "-" else largest))
    return a, b, c, f"*{sign}", a * b + c if sign == "+" else a * b - c


def _change(rnd: Rnd, sign: str, number: int) -> str:
    return pick(rnd, GAINS if sign == "+" else LOSSES).format(n=number)
