"""What `data chat-check` counts."""

from __future__ import annotations

import json
from pathlib import Path

from doubles import tiny_tokenizer

from nanochat.tasks.check import check_file
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render

LINES = [
    '["Hi", "Hello!"]',
    "oops",
    json.dumps(
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "x" * 40},
                {"from": "gpt", "value": "y"},
            ]
        }
    ),
    '["a", "b", "c", "d"]',
    '["only a question"]',
]


def test_everything_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(LINES))
    good: list[Conversation] = []
    tokenizer = tiny_tokenizer()
    check = check_file(path, tokenizer, sequence_len=20, keep=2, on_good=good.append)
    assert (check.conversations, check.bad, len(good)) == (3, 2, 3)
    assert check.formats == {"pairs": 2, "sharegpt": 1}
    assert check.roles == {"user": 4, "assistant": 4, "system": 1}
    assert (check.turns, check.most_turns) == (4, 2)
    assert check.first == good[:2]
    assert [bad.complaint for bad in check.problems] == [
        "line 2: not JSON: Expecting value at character 1",
        "line 5: there is no answer of the assistant",
    ]
    rows = [render(tokenizer, conversation) for conversation in good]
    tokens = check.tokens
    assert tokens is not None
    assert tokens.total == sum(len(ids) for ids, _ in rows)
    assert tokens.trained == sum(sum(mask) for _, mask in rows)
    assert (tokens.longest, tokens.longest_line) == (len(rows[1][0]), 3)
    assert (tokens.cut, tokens.lost) == (1, 1)
    assert json.loads(json.dumps(check.to_dict()))["problems"][0]["line"] == 2


def test_a_row_is_one_token_longer_than_the_context(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('["Hi", "Hello!"]')
    length = len(render(tiny_tokenizer(), check_file(path, keep=1).first[0])[0])
    for sequence_len, cut in ((length - 1, 0), (length - 2, 1)):
        tokens = check_file(path, tiny_tokenizer(), sequence_len=sequence_len).tokens
        assert tokens is not None
        assert (tokens.cut, tokens.lost) == (cut, 0)


def test_without_a_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('["Hi", "Hello!"]')
    assert check_file(path).to_dict()["tokens"] is None
