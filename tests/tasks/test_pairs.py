"""Files of pairs: every form that people keep them in, and what is wrong with a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.errors import ConversationError, MissingError, UsageError
from nanochat.tasks.pairs import pair_of, read_pairs

USER = {"role": "user", "content": "Hi"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Hello!", "What?"))


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [USER], "chosen": "Hello!", "rejected": "What?"},
        {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"},
        {"question": "Hi", "chosen": "Hello!", "rejected": "What?", "system": ""},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"messages": [USER], "chosen": GOOD, "rejected": BAD},
        {"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 4.5},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello!"},
            "rejected": {"from": "gpt", "value": "What?"},
        },
    ],
)
def test_forms(value: dict[str, Any]) -> None:
    pair = pair_of(value)
    assert [[m.role, m.content] for m in pair.chosen.messages] == [["user", "Hi"], ["assistant", "Hello!"]]
    assert [[m.role, m.content] for m in pair.rejected.messages] == [["user", "Hi"], ["assistant", "What?"]]


def test_the_system_message_belongs_to_the_question() -> None:
    pair = pair_of({"system": "Be kind.", "question": "Hi", "chosen": "Hello!", "rejected": "What?"})
    assert [message.role for message in pair.chosen.messages] == ["system", "user", "assistant"]
    other = pair_of({"question": "Hi", "chosen": "Hello!", "rejected": "What?"})
    assert pair.question != other.question == pair_of({"prompt": "Hi", "chosen": "a", "rejected": "b"}).question


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["Hi", "Hello!"], "a pair is an object with chosen and rejected"),
        ({"prompt": "Hi", "chosen": "Hello!"}, "a pair is an object with chosen and rejected"),
        ({"prompt": "Hi", "chosen": "", "rejected": "What?"}, r"chosen: message 2 \(assistant\) is empty"),
        ({"prompt": "Hi", "chosen": 3, "rejected": "What?"}, "chosen: it is text, a message or a list"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "prompt is text or a list of messages"),
        ({"chosen": "Hello!", "rejected": "What?"}, "chosen: message 1 is from assistant where user must speak"),
        ({"chosen": [USER], "rejected": [USER, BAD]}, "chosen: there is no answer"),
        ({"prompt": "Hi", "chosen": "a", "rejected": [USER, GOOD, USER]}, "rejected does not end with an answer"),
        ({"prompt": "Hi", "chosen": "same", "rejected": "same"}, "chosen and rejected are the same"),
        (
            {"chosen": [USER, GOOD], "rejected": [{"role": "user", "content": "Ho"}, BAD]},
            "chosen and rejected answer different questions",
        ),
    ],
)
def test_what_is_no_pair(value: Any, message: str) -> None:
    with pytest.raises(ConversationError, match=message):
        pair_of(value)


def test_a_file_names_its_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    good = json.dumps({"prompt": "Hi", "chosen": "a", "rejected": "b"})
    path.write_text(f"{good}\n\n{{}}\n{good}\nnot JSON\n")
    with pytest.raises(ConversationError) as caught:
        read_pairs(path)
    assert "has 2 bad of 4: line 3: a pair is an object" in caught.value.message
    assert "line 5: not JSON" in caught.value.message
    path.write_text(f"{good}\n{good}\n")
    assert len(read_pairs(path)) == 2
    path.write_text(f"[{good}]")
    assert len(read_pairs(path)) == 1


def test_files_without_a_pair(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UsageError, match="holds no pair"):
        read_pairs(tmp_path / "empty.jsonl")
    with pytest.raises(UsageError, match="is a folder"):
        read_pairs(tmp_path)
    with pytest.raises(MissingError, match="there is no file"):
        read_pairs(tmp_path / "nowhere.jsonl")
