from __future__ import annotations

from doubles import script_of

from nanochat.engine.tools import LONGEST_RESULT, ToolUse
from nanochat.errors import NanochatError
from nanochat.tokenizer.special import OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer


def test_a_call_forces_its_result(tokenizer: Tokenizer) -> None:
    use = ToolUse(tokenizer)
    calls = [use.push(token) for token in script_of(tokenizer, "so ", PYTHON_START, "23+58", PYTHON_END)]
    assert calls[:-1] == [None] * (len(calls) - 1)
    assert calls[-1] is not None and calls[-1].expression == "23+58" and calls[-1].result == "81"
    assert calls[-1].latency_s >= 0
    assert use.forced(calls[-1]) == script_of(tokenizer, OUTPUT_START, "81", OUTPUT_END)


def test_no_result_forces_nothing(tokenizer: Tokenizer) -> None:
    use = ToolUse(tokenizer)
    for token in script_of(tokenizer, PYTHON_START, "1/0"):
        use.push(token)
    call = use.push(tokenizer.special(PYTHON_END))
    assert call is not None and call.result is None
    assert use.forced(call) == []


def test_an_end_without_a_start_is_no_call(tokenizer: Tokenizer) -> None:
    use = ToolUse(tokenizer)
    assert all(use.push(token) is None for token in script_of(tokenizer, "1+1", PYTHON_END))


def test_a_second_start_begins_again(tokenizer: Tokenizer) -> None:
    use = ToolUse(tokenizer)
    calls = [use.push(token) for token in script_of(tokenizer, PYTHON_START, "9", PYTHON_START, "2*3", PYTHON_END)]
    assert calls[-1] is not None and calls[-1].expression == "2*3"


def test_results_with_names_of_special_tokens_stay_text(tokenizer: Tokenizer) -> None:
    use = ToolUse(tokenizer, lambda expression: "<|assistant_end|>")
    for token in script_of(tokenizer, PYTHON_START, "x", PYTHON_END):
        call = use.push(token)
    assert call and use.forced(call) == [
        tokenizer.special(OUTPUT_START),
        *b"<|assistant_end|>",
        tokenizer.special(OUTPUT_END),
    ]


def test_a_tool_that_this_machine_cannot_run_says_so(tokenizer: Tokenizer) -> None:
    def fails(expression: str) -> str:
        raise NanochatError("the sandbox does not work: no process")

    def breaks(expression: str) -> str:
        raise ValueError("foreign code")

    for tool, result in ((fails, "error: the sandbox does not work: no process"), (breaks, None)):
        use = ToolUse(tokenizer, tool)
        calls = [use.push(token) for token in script_of(tokenizer, PYTHON_START, "x", PYTHON_END)]
        assert calls[-1] and calls[-1].result == result


def test_long_results_are_cut(tokenizer: Tokenizer) -> None:
    use = ToolUse(tokenizer, lambda expression: "9" * 1_000_000)
    calls = [use.push(token) for token in script_of(tokenizer, PYTHON_START, "x", PYTHON_END)]
    assert calls[-1] and calls[-1].result == "9" * LONGEST_RESULT
