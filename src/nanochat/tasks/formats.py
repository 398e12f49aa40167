"""One conversation from one JSON value, whatever form people keep them in.

    messages     {"messages": [{"role": "user", "content": "Hi"}, ...]}, or the list alone; content as text or parts
    sharegpt     {"conversations": [{"from": "human", "value": "Hi"}, ...]}
    alpaca       {"instruction": ..., "input": ..., "output": ...}
    pairs        {"prompt": ..., "response": ...}, {"question": ..., "answer": ...}, ["question", "answer", ...]
    choices      {"question": ..., "choices": [...], "answer": "B" or 1}
    preferences  {"prompt": ..., "chosen": ..., "rejected": ...}: the better answer

Two more say how answers are graded: {"question": ..., "answer": 42}, where the number counts and not its wording, and
{"prompt": ..., "check": "assert double(2) == 4"}, where the answer is a program; an "answer" beside it is learnt from.

Calls of a tool named python or calculator become our python and output parts when their result follows. Whatever a
model could not learn as it stands is refused with a reason: other tools, pictures, turns out of order, empty turns.
Reading files is `records` and `files`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal

from nanochat.errors import ConversationError
from nanochat.pocket.choices import choice_prompt
from nanochat.tasks.answers import ANSWERS, with_answer
from nanochat.tokenizer.conversation import Conversation, Message, Part, Role

FORMATS = ("messages", "sharegpt", "alpaca", "pairs", "choices", "preferences")

Grading = Literal["text", "number", "python"]

_LISTS = ("messages", "conversations", "conversation")
_PAIRS = (
    ("prompt", "response"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("question", "response"),
    ("input", "output"),
)
_ROLES: dict[str, Role] = {
    **{"system": "system", "developer": "system", "user": "user", "human": "user"},
    **{"assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"},
}
_TOOLS = ("python", "calculator")
_PART_TYPES = ("text", "python", "python_output", "output")


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation and the name of the form it was written in.

    Attributes:
        grading: what makes an answer right: the same text, the same number, or a program that passes `check`.
        check: assertions about what the program defines.
    """

    conversation: Conversation
    format: str
    grading: Grading = "text"
    check: str = ""


def convert(value: Any) -> Example:
    """The conversation that a JSON value holds.

    Raises:
        ConversationError: none of the known forms, or nothing to learn from; the message says what and where.
    """
    form, messages = _read(value)
    # data sets have a system column that is mostly empty
    if messages and messages[0].role == "system" and not messages[0].content.strip():
        messages = messages[1:]
    conversation = Conversation(tuple(messages))
    for number, message in enumerate(messages, 1):
        if not message.content.strip():
            raise ConversationError(f"message {number} ({message.role}) is empty")
        if not _is_utf8(message.content):
            raise ConversationError(f"message {number} ({message.role}) holds half of a surrogate pair")
    check = _check(value)
    if not check and not any(message.role == "assistant" for message in messages):
        raise ConversationError("there is no answer of the assistant")
    grading: Grading = "number" if form == "pairs" and _has_number(value) else "text"
    return Example(conversation, form, "python" if check else grading, check)


def to_line(conversation: Conversation) -> str:
    """The conversation as a line of JSONL."""
    return json.dumps(conversation.to_dict(), ensure_ascii=False) + "\n"


def looks_like_turns(value: Any) -> bool:
    """Whether a list is one conversation, not a list of conversations."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, str) for item in value) or (
        isinstance(value[0], dict) and any(key in value[0] for key in ("role", "from"))
    )


def _read(value: Any) -> tuple[str, list[Message]]:
    if isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            return "pairs", [Message.text("assistant" if at % 2 else "user", item) for at, item in enumerate(value)]
        return _turns(value)
    if not isinstance(value, Mapping):
        raise ConversationError(f"a conversation is an object or a list, not {_noun(value)}")
    if all(key in value for key in ANSWERS):
        return "preferences", _turns(with_answer(value, "chosen"))[1]
    for key in _LISTS:
        if key in value:
            if not isinstance(value[key], list):
                raise ConversationError(f"{key} is a list, not {_noun(value[key])}")
            form, messages = _turns(value[key])
            return form, [*_system(value, messages), *messages]
    if "question" in value and "choices" in value:
        return "choices", _choices(value)
    if "instruction" in value:
        return "alpaca", _alpaca(value)
    for question, answer in _PAIRS:
        if question in value and answer in value:
            said = str(value[answer]) if _has_number(value) and answer == "answer" else _text(value, answer)
            messages = [Message.text("user", _text(value, question)), Message.text("assistant", said)]
            return "pairs", [*_system(value, messages), *messages]
    for question in ("prompt", "question"):
        if question in value and _check(value):
            messages = [Message.text("user", _text(value, question))]
            return "pairs", [*_system(value, messages), *messages]
    keys = ", ".join(_short(str(key))[1:-1] for key in list(value)[:8]) or "none"
    raise ConversationError(
        f"no form that is known; its keys: {keys}",
        "known: messages; conversations; instruction and output; prompt and response; question and answer",
    )


def _system(value: Mapping[str, Any], messages: Sequence[Message]) -> list[Message]:
    """The system message that stands beside the turns, as some ShareGPT files have it."""
    if not isinstance(value.get("system"), str) or (messages and messages[0].role == "system"):
        return []
    return [Message.text("system", value["system"])]


def _alpaca(value: Mapping[str, Any]) -> list[Message]:
    answer = next((key for key in ("output", "response") if key in value), None)
    if answer is None:
        raise ConversationError("there is an instruction and no output")
    question = _text(value, "instruction")
    for key in ("input", "context"):
        if isinstance(value.get(key), str) and value[key].strip():
            question += f"\n\n{value[key]}"
    messages: list[Message] = []
    for pair in value.get("history") or ():
        if not looks_like_turns(pair) or len(pair) != 2:
            raise ConversationError("history is a list of [question, answer]")
        messages += [Message.text("user", str(pair[0])), Message.text("assistant", str(pair[1]))]
    messages += [Message.text("user", question), Message.text("assistant", _text(value, answer))]
    return [*_system(value, messages), *messages]


def _choices(value: Mapping[str, Any]) -> list[Message]:
    """A multiple-choice question as the reference asks it; the answer is the letter alone."""
    choices: Any = value["choices"]
    labels: Any = None
    if isinstance(choices, Mapping):  # as ARC has them
        choices, labels = choices.get("text"), choices.get("label")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(ascii_uppercase):
        raise ConversationError(f"choices is a list of 2 to {len(ascii_uppercase)}")
    texts = [item if isinstance(item, str) else json.dumps(item) for item in choices]
    letters = ascii_uppercase[: len(texts)]
    known = list(labels) if isinstance(labels, list) and len(labels) == len(texts) else list(letters)
    answer = value.get("answer", value.get("answerKey"))
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(texts):
        place = answer
    elif answer in known:
        place = known.index(answer)
    elif texts.count(answer) == 1:
        place = texts.index(answer)
    else:
        raise ConversationError(f"the answer {_short(answer)} is none of the {len(texts)} choices")
    prompt = choice_prompt(_text(value, "question"), texts, tuple(letters))
    return [Message.text("user", prompt), Message.text("assistant", letters[place])]


def _turns(items: list[Any]) -> tuple[str, list[Message]]:
    form = "messages"
    turns = _Turns()
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping):
            raise ConversationError(f"message {number} is an object, not {_noun(item)}")
        if "from" in item and "role" not in item:
            form = "sharegpt"
        turns.add(number, item)
    return form, turns.done()


class _Turns:
    """Messages put together one by one: a call, its result and what is said after it are one assistant message."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._calls: dict[str, str] = {}  # code by id, of calls whose result has not come yet
        self._answered = False  # the last message ends with the result of a tool
        self._number = 0

    def add(self, number: int, item: Mapping[str, Any]) -> None:
        """Message `number` of the list.

        Raises:
            ConversationError: it cannot be learnt as it stands.
        """
        name = item.get("role", item.get("from"))
        if not isinstance(name, str):
            raise ConversationError(f"message {number} has no role")
        if name == "tool" and "role" in item:
            self._result(number, item)
            return
        self._all_answered()
        role = _ROLES.get(name.lower())
        if role is None:
            raise ConversationError(f"message {number} has the unknown role {_short(name)}")
        if item.get("weight") == 0:
            raise ConversationError(f"message {number} has weight 0; every answer is trained on: leave it out")
        calls = item.get("tool_calls") or []
        if item.get("function_call") or (calls and role != "assistant"):
            raise ConversationError(f"message {number} calls a function; only tool_calls of python can be learnt")
        parts = _parts(number, item, may_be_empty=bool(calls))
        if self._answered and role == "assistant":
            parts = (*self._messages.pop().parts, *parts)
        try:
            self._messages.append(Message(role, parts))
        except ConversationError as error:
            raise ConversationError(f"message {number}: {error.message}", error.hint) from None
        self._answered, self._number = False, number
        for call in calls:
            key, code = _call(number, call)
            self._calls[key or str(len(self._calls))] = code

    def _result(self, number: int, item: Mapping[str, Any]) -> None:
        key = item.get("tool_call_id") or next(iter(self._calls), "")
        if key not in self._calls:
            raise ConversationError(f"message {number} is the result of a tool that was not called before it")
        output = "".join(part.text for part in _parts(number, item))
        last = self._messages.pop()
        called = (Part("python", self._calls.pop(key)), Part("output", output))
        self._messages.append(Message("assistant", (*last.parts, *called)))
        self._answered = True

    def _all_answered(self) -> None:
        if self._calls:
            raise ConversationError(f"message {self._number} calls a tool whose result does not follow")

    def done(self) -> list[Message]:
        """The messages."""
        self._all_answered()
        return self._messages


def _parts(number: int, item: Mapping[str, Any], *, may_be_empty: bool = False) -> tuple[Part, ...]:
    content = item.get("content", item.get("value"))
    if isinstance(content, str):
        return (Part("text", content),) if content or not may_be_empty else ()
    if content is None and may_be_empty:
        return ()
    if not isinstance(content, list):
        raise ConversationError(f"the content of message {number} is text or a list of parts, not {_noun(content)}")
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") not in _PART_TYPES:
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise ConversationError(f"message {number} holds a part {_short(kind)}; only text and python can be learnt")
    return Message.from_dict({"role": "assistant", "content": content}).parts


def _call(number: int, call: Any) -> tuple[str, str]:
    """Id and code of a call of our tool."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or function.get("name") not in _TOOLS:
        name = function.get("name") if isinstance(function, Mapping) else call
        raise ConversationError(
            f"message {number} calls the tool {_short(name)}; the tools that can be learnt are {' and '.join(_TOOLS)}"
        )
    code = function.get("arguments")
    if isinstance(code, str):
        try:
            code = json.loads(code)
        except ValueError:
            return str(call.get("id") or ""), code
    if isinstance(code, Mapping) and len(code) == 1:
        (code,) = code.values()
    if not isinstance(code, str):
        raise ConversationError(f"the arguments of the call in message {number} are more than one text")
    return str(call.get("id") or ""), code


def _text(value: Mapping[str, Any], key: str) -> str:
    if not isinstance(value[key], str):
        raise ConversationError(f"{key} is text, not {_noun(value[key])}")
    return str(value[key])


def _check(value: Any) -> str:
    """The assertions beside a question; "" where there are none: other data has a key of that name too."""
    check = value.get("check") if isinstance(value, Mapping) else None
    if not isinstance(check, str) or "assert" not in check:
        return ""
    try:
        compile(check, "check", "exec")
    except (SyntaxError, ValueError) as error:
        raise ConversationError(f"check is not Python: {error}") from None
    return check


def _has_number(value: Any) -> bool:
    """Whether the answer to a question is a number."""
    answer = value.get("answer") if isinstance(value, Mapping) and "question" in value else None
    return isinstance(answer, int | float) and not isinstance(answer, bool)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _noun(value: Any) -> str:
    if value is None:
        return "nothing"
    return {dict: "an object", list: "a list", str: "text", bool: "true or false"}.get(type(value), "a number")
