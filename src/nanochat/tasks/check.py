"""What a file of conversations holds, and what is wrong with it: counts over all of its lines, in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanochat.tasks.files import Scanned, scan
from nanochat.tasks.records import RecordFile
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render
from nanochat.tokenizer.tokenizer import Tokenizer

MAX_PROBLEMS = 1000
"""Bad lines that are kept with what is wrong; all of them are counted."""


@dataclass(slots=True)
class Lengths:
    """Tokens of conversations. `trained` are those that sft learns to say."""

    total: int = 0
    trained: int = 0
    longest: int = 0
    longest_line: int = 0
    cut: int = 0  # longer than the context
    lost: int = 0  # of these, with no answer before the context ends: training cuts them in front

    def add(self, ids: list[int], mask: list[int], line: int, sequence_len: int | None) -> None:
        """One more conversation; in training its row is one token longer than the context."""
        self.total += len(ids)
        self.trained += sum(mask)
        if len(ids) > self.longest:
            self.longest, self.longest_line = len(ids), line
        if sequence_len and len(ids) > sequence_len + 1:
            self.cut += 1
            self.lost += not any(mask[1 : sequence_len + 1])


@dataclass(slots=True)
class FileCheck:
    """What a file of conversations holds.

    Attributes:
        conversations: good ones.
        bad: lines that hold none; `problems` are the first of them.
        formats: conversations by form.
        roles: messages by role.
        tool_calls: python parts.
        turns: answers in all conversations; `most_turns` in one.
        tokens: None without a tokenizer.
        first: the first good ones.
    """

    conversations: int = 0
    bad: int = 0
    problems: list[Scanned] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)
    tool_calls: int = 0
    turns: int = 0
    most_turns: int = 0
    tokens: Lengths | None = None
    first: list[Conversation] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the conversations."""
        tokens = self.tokens
        return {
            "conversations": self.conversations,
            "bad": self.bad,
            "formats": dict(self.formats),
            "roles": dict(self.roles),
            "tool_calls": self.tool_calls,
            "turns": {"mean": self.turns / max(1, self.conversations), "most": self.most_turns},
            "tokens": tokens
            and {
                "total": tokens.total,
                "trained": tokens.trained,
                "mean": tokens.total / max(1, self.conversations),
                "longest": tokens.longest,
                "longest_line": tokens.longest_line,
                "longer_than_context": tokens.cut,
                "without_answer_in_context": tokens.lost,
            },
            "problems": [
                {"line": bad.record.line, "item": bad.record.item, "message": bad.problem} for bad in self.problems
            ],
        }


def check_file(
    path: Path,
    tokenizer: Tokenizer | None = None,
    *,
    sequence_len: int | None = None,
    keep: int = 0,
    temporary: Path | None = None,
    on_good: Callable[[Conversation], None] | None = None,
) -> FileCheck:
    """Read a whole file.

    Args:
        path: in any form of `formats`.
        tokenizer: to count tokens with.
        sequence_len: context of the model, to count what is longer.
        keep: how many of the first conversations are wanted.
        temporary: folder for what compressed files unpack to.
        on_good: given every conversation.

    Raises:
        MissingError, UsageError, DamagedError, StorageError: as `RecordFile`.
    """
    check = FileCheck(tokens=Lengths() if tokenizer else None)
    file = RecordFile(path, temporary)
    try:
        for scanned in scan(file):
            if scanned.example is None:
                check.bad += 1
                if len(check.problems) < MAX_PROBLEMS:
                    check.problems.append(scanned)
                continue
            conversation = scanned.example.conversation
            check.conversations += 1
            check.formats[scanned.example.format] += 1
            roles = Counter(message.role for message in conversation.messages)
            check.roles.update(roles)
            check.tool_calls += sum(
                part.kind == "python" for message in conversation.messages for part in message.parts
            )
            check.turns += roles["assistant"]
            check.most_turns = max(check.most_turns, roles["assistant"])
            if tokenizer and check.tokens:
                check.tokens.add(*render(tokenizer, conversation), scanned.record.line, sequence_len)
            if len(check.first) < keep:
                check.first.append(conversation)
            if on_good:
                on_good(conversation)
    finally:
        file.close()
    return check
