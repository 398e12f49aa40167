"""Programs of a model in the sandbox, as its tool."""

from __future__ import annotations

import pytest
from doubles import ScriptedModel, script_of, tiny_tokenizer

from nanochat.config.chat import GREEDY
from nanochat.engine import python_tool
from nanochat.engine.engine import Engine
from nanochat.engine.events import ToolUsed, TurnFinished
from nanochat.engine.load import pick_tool
from nanochat.engine.session import Session
from nanochat.errors import NanochatError
from nanochat.runtime.sandbox.limits import Limits
from nanochat.runtime.sandbox.result import Isolation, Outcome, SandboxResult
from nanochat.tokenizer.special import PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("23+58", "81"),
        ("'strawberry'.count('r')", "3"),
        ("x = 3\nfor i in range(x):\n    print(i)\nx * 2", "0\n1\n2\n6"),
        ("print('hello')", "hello"),
        ("sorted([3, 1, 2])", "[1, 2, 3]"),
        ("any((n := i) > 2 for i in range(5))", "True"),
        ("'abc'", "abc"),
        ("x = 1", None),
        ("None", None),
        ("", None),
        ("print(1)\n1 / 0", "1\nZeroDivisionError: division by zero"),
        ("def f(", "SyntaxError: '(' was never closed"),
        ("open('/etc/passwd').read()", "PermissionError: [Errno 13] Permission denied: '/etc/passwd'"),
        ("x" * 10_001, "the program is longer than 10000 characters"),
    ],
)
def test_a_program_is_told_what_it_says_and_what_it_is_worth(source: str, result: str | None) -> None:
    said = python_tool.run(source)
    if result and "Permission" in result:  # or it is not there, in a root of its own
        assert said and said.startswith(("PermissionError", "FileNotFoundError"))
    else:
        assert said == result


def test_a_program_without_end_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_tool, "LIMITS", Limits(wall_s=0.3))
    assert python_tool.run("while True: pass") == "timed out"


def test_a_machine_that_fails_says_nothing_about_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SandboxResult(Outcome.INFRASTRUCTURE, "", "", Isolation.NONE, 0.0, "no process could be started")
    monkeypatch.setattr(python_tool, "run_python", lambda source, limits: failed)
    with pytest.raises(NanochatError, match="no process could be started"):
        python_tool.run("1")


def test_a_model_writes_a_program_and_goes_on_with_its_result(tokenizer: Tokenizer) -> None:
    program = "words = ['a', 'bb']\nsum(map(len, words))"
    script = script_of(tokenizer, PYTHON_START, program, PYTHON_END, "???", "It is 3.")  # ??? makes room for <3>
    session = Session(Engine(ScriptedModel(script), tiny_tokenizer(), tool=pick_tool("python")), GREEDY)
    events = list(session.ask("How many letters?"))
    (call,) = (event for event in events if isinstance(event, ToolUsed))
    assert (call.expression, call.result) == (program, "3")
    assert isinstance(events[-1], TurnFinished) and events[-1].text == "It is 3."


def test_without_a_tool_nothing_is_forced(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, PYTHON_START, "1+1", PYTHON_END, "two")
    session = Session(Engine(ScriptedModel(script), tiny_tokenizer(), tool=pick_tool("none")), GREEDY)
    events = list(session.ask("1+1?"))
    assert [event.result for event in events if isinstance(event, ToolUsed)] == [None]
    assert isinstance(events[-1], TurnFinished) and events[-1].text == "two"
