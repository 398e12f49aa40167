"""What counts as a right answer. Strict: naming a wrong candidate beside the right one is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import lru_cache

_NUMBER = re.compile(r"(?<![\w.])-?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_MARKED_NUMBER = re.compile(r"####\s*\$?\s*(-?[0-9][0-9,]*(?:\.[0-9]+)?|-?\.[0-9]+)")


@lru_cache(maxsize=4096)
def _whole(phrase: str) -> re.Pattern[str]:
    """The phrase as whole words, its first letter in either case. There is no `one` in `sixty-one`."""
    first = phrase[0]
    head = f"[{first.upper()}{first.lower()}]" if first.isalpha() else re.escape(first)
    return re.compile(rf"(?<![\w-]){head}{re.escape(phrase[1:])}(?![\w-])")


def names_only(answer: str, right: str, wrong: Iterable[str], subject: str = "") -> bool:
    """Whether the text names `right` and none of `wrong`, each as whole words.

    The first mention of `subject`, the part of the question that an answer repeats, is not looked at.
    """
    if subject:
        answer = _whole(subject).sub(" ", answer, count=1)
    rest, found = _whole(right).subn(" ", answer)
    return found > 0 and not any(_whole(other).search(rest) for other in wrong)


def number_is(answer: str, right: str, operands: str = "") -> bool:
    """Whether the last number of the text is `right` and every other one stands in `operands`."""
    numbers = re.findall(r"(?<![\d\s])-\d+|(?<=\s)-\d+|^-\d+|\d+(?:,\d{3})*(?:\.\d+)?", answer)
    if not numbers or numbers[-1].replace(",", "") != right:
        return False
    allowed = {*re.findall(r"\d+", operands), right}
    return all(number.replace(",", "") in allowed for number in numbers)


def final_number(answer: str) -> Decimal | None:
    """The number behind the first `####`; None where there is none."""
    found = _MARKED_NUMBER.search(answer)
    return Decimal(found[1].replace(",", "")) if found else None


def says_number(answer: str, right: str) -> bool:
    """Whether the number behind `####`, else the last number of the text, is `right`, however both are written."""
    marked = final_number(answer)
    numbers = _NUMBER.findall(answer)
    try:
        said = marked if marked is not None else Decimal(numbers[-1].replace(",", "")) if numbers else None
        return said is not None and said == Decimal(right)
    except InvalidOperation:
        return False


def spells(answer: str, word: str) -> bool:
    """Whether the text is the letters of the word with commas between, `word:` before them or not."""
    head, colon, letters = answer.strip().rpartition(":")
    if colon and head.strip() != word:
        return False
    return re.sub(r"\s", "", letters).rstrip(".") == ",".join(word)


def letter_is(answer: str, right: str) -> bool:
    """Whether the text is that letter alone, a full stop allowed."""
    return answer.strip().removesuffix(".") == right
