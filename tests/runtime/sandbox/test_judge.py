"""What a check can do with a program that lives in another process."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nanochat.runtime.sandbox.limits import Limits
from nanochat.runtime.sandbox.result import Outcome
from nanochat.runtime.sandbox.run import check_python

PATIENT = Limits(wall_s=60.0)

PROGRAM = '''
import math
from collections import Counter, namedtuple, deque
from math import tau as TAU

LIMIT = 7
Point = namedtuple("Point", "x y")

class Wrong(ValueError):
    pass

class Stack:
    """A stack."""
    def __init__(self, *items, size=9): self.items, self.size = list(items), size
    def push(self, item): self.items.append(item); return self
    def pop(self): return self.items.pop()
    def __len__(self): return len(self.items)
    def __getitem__(self, index): return self.items[index]
    def __setitem__(self, index, value): self.items[index] = value
    def __iter__(self): return iter(self.items)
    def __str__(self): return "-".join(map(str, self.items))

def identity(x): return x
def sort(values, *, by=None): values.sort(key=by)
def fill(target): target["a"] = target.get("a", 0) + 1
def grow(values, more): values |= more; more.clear()
def apply(function, values): return [function(value) for value in values]
def compose(*functions):
    def composed(x):
        for function in functions: x = function(x)
        return x
    return composed
def numbers(n):
    for i in range(n): yield i
def count(text): return Counter(text)
def fails(kind): raise {"key": KeyError("k"), "wrong": Wrong("w"), "exit": SystemExit(3)}[kind]
def huge(): return bytearray(1 << 30)
def boolean(x): return x > 0
def both(a, b): a.append(1); return a is b
async def later(): pass
'''

PASSING = {
    "values": "for x in (None, True, 0, -1.5, 'ä\\ud800', b'x', [1, (2, {3})], {'a': {1: 2}}, 1j, range(3),"
    " 10**5000):\n    assert identity(x) == x and type(identity(x)) is type(x)",
    "keywords": "assert Stack(1, 2, size=3).size == 3",
    "changed list": "x = [3, 1, 2]\nsort(x)\nassert x == [1, 2, 3]",
    "changed list by a callback": "x = ['bb', 'a']\nsort(x, by=lambda s: len(s))\nassert x == ['a', 'bb']",
    "changed dict": "x = {'b': 1}\nfill(x)\nfill(x)\nassert x == {'b': 1, 'a': 2}",
    "changed sets": "x, y = {1}, {2}\ngrow(x, y)\nassert (x, y) == ({1, 2}, set())",
    "named tuples": "assert Point(1, 2) == (1, 2)",
    "counters": "assert count('aab') == {'a': 2, 'b': 1}",
    "generators": "assert list(numbers(4)) == [0, 1, 2, 3]\ng = numbers(2)\nassert next(g) == 0 and next(g) == 1",
    "callbacks": "assert apply(lambda x: x * 2, [1, 2]) == [2, 4]\nassert compose(lambda x: x + 1, str)(1) == '2'",
    "functions for answers": "assert compose(identity, identity)(5) == 5",
    "objects": "s = Stack(1)\ns.push(2).push([3])\nassert len(s) == 3 and s[1] == 2 and list(s) == [1, 2, [3]]\n"
    "s[0] = 9\ns.size = 4\nassert s.pop() == [3] and s.size == 4 and str(s) == '9-2'\nassert s and identity(s) == s",
    "exceptions": "for kind, error in (('key', KeyError), ('wrong', Wrong), ('wrong', ValueError)):\n"
    "    try: fails(kind)\n    except error as e: assert str(e)\n    else: assert False",
    "words of exceptions": "try: fails('key')\nexcept KeyError as e: assert e.args == ('k',)",
    "its own exceptions are no success": "try: identity()\nexcept TypeError: pass\nelse: assert False",
    "modules": "assert math.sqrt(4) == 2",
    "values of the program": "assert LIMIT == 7 and TAU > 6",
    "builtins are real": "assert abs(identity(-3)) == 3 and sorted(identity([2, 1])) == [1, 2]",
    "its own names come first": "def identity(x): return 0\nassert identity(3) == 0",
    "imports of its own": "import random\nfrom copy import copy\nassert identity(copy([random.Random(1).random()]))",
}

FAILING = {
    "comparison": ("assert identity(1) == 2", "AssertionError (line 1 of the check)"),
    "missing name": ("assert nothing(1)", "NameError: name 'nothing' is not defined (line 1 of the check)"),
    "error": ("\n\nfails('key')", "KeyError: 'k' (line 3 of the check)"),
    "exit": ("try: fails('exit')\nexcept Exception as e: raise\n", "RemoteError: SystemExit: 3 (line 1 of the check)"),
    "objects equal nothing": ("assert Stack(1) == [1]", "AssertionError (line 1 of the check)"),
    "arithmetic with objects": ("assert Stack(1) + 1", "TypeError"),
    "order of objects": ("assert Stack(1) < Stack(2)", "TypeError"),
    "sameness is lost": ("x = []\nassert both(x, x)", "AssertionError (line 2 of the check)"),
    "objects of the check": ("identity(object())", "TypeError: object objects cannot be handed to the program"),
}


@pytest.mark.parametrize("name", PASSING)
def test_passing(name: str) -> None:
    result = check_python(PROGRAM, PASSING[name], limits=PATIENT)
    assert (result.outcome, result.detail) == (Outcome.PASSED, ""), result


@pytest.mark.parametrize("name", FAILING)
def test_failing(name: str) -> None:
    check, detail = FAILING[name]
    result = check_python(PROGRAM, check, limits=PATIENT)
    assert result.outcome is Outcome.FAILED, result
    assert result.detail.startswith(detail)


def test_other_outcomes() -> None:
    assert check_python(PROGRAM, "huge()", limits=PATIENT).outcome is Outcome.OUT_OF_MEMORY
    assert check_python("x = bytearray(1 << 30)", "", limits=PATIENT).outcome is Outcome.OUT_OF_MEMORY
    assert check_python("def f():\n    while True: pass", "f()", limits=Limits(wall_s=0.3)).outcome is Outcome.TIMED_OUT
    assert check_python("import ctypes\ndef f(): ctypes.string_at(0)", "f()").outcome is Outcome.CRASHED
    flood = check_python("def f():\n    while True: print('x' * 999)", "f()", limits=PATIENT)
    assert flood.outcome is Outcome.OUTPUT_LIMIT
    broken = check_python("x = 1", "assert (")
    assert (broken.outcome, broken.detail[:24]) == (Outcome.INFRASTRUCTURE, "the check is no Python: ")


def test_an_end_that_the_check_does_not_notice_is_no_success() -> None:
    program = "import os\ndef f(): os._exit(0)"
    result = check_python(program, "try: f()\nexcept BaseException: pass")
    assert (result.outcome, result.detail) == (Outcome.FAILED, "the program ended with status 0")


def test_what_the_program_printed_is_kept() -> None:
    result = check_python("print('loading')\ndef f(): print('called')", "f()\nprint('the check')")
    assert (result.outcome, result.stdout) == (Outcome.PASSED, "loading\ncalled\n")
    wrong = check_python("1 / 0", "assert True")
    assert wrong.outcome is Outcome.FAILED
    assert wrong.detail == "ZeroDivisionError: division by zero"
    assert wrong.stderr.splitlines()[:2] == [
        "Traceback (most recent call last):",
        '  File "<program>", line 1, in <module>',
    ]


def test_a_program_cannot_lend_its_own_module_to_the_check() -> None:
    program = "import types\nmath = types.ModuleType('math')\nmath.fabs = lambda x: 0.0\ndef f(x): return 5"
    assert check_python(program, "assert math.fabs(f(1) - 1) < 1e-6").outcome is Outcome.FAILED
    assert check_python("import math\ndef f(x): return x", "assert math.fabs(f(1) - 1) < 1e-6").passed


def test_all_references_of_humaneval_pass(test_data: Path) -> None:
    with gzip.open(test_data / "data" / "humaneval" / "HumanEval.jsonl.gz", "rt") as file:
        problems = [json.loads(line) for line in file]
    assert len(problems) == 164

    def outcomes(problem: dict[str, str]) -> tuple[bool, bool]:
        check = f"{problem['test']}\ncheck({problem['entry_point']})"
        right = check_python(problem["prompt"] + problem["canonical_solution"], check, limits=PATIENT)
        wrong = right  # one in ten also with an answer that is nothing
        if int(problem["task_id"].rpartition("/")[2]) % 10 == 0:
            wrong = check_python(problem["prompt"] + "    return None\n", check, limits=PATIENT)
        return right.passed, wrong.passed and wrong is not right

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(outcomes, problems))
    assert [problem["task_id"] for problem, (right, _) in zip(problems, results, strict=True) if not right] == []
    assert not any(wrong for _, wrong in results)
