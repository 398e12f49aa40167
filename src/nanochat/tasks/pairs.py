"""Pairs of a better and a worse answer to the same question, from JSONL or a JSON array, in the forms people keep.

    {"messages": [{"role": "user", "content": "Hi"}], "chosen": "Hello!", "rejected": "What?"}
    {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}             also question, instruction, input
    {"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [...]}     whole conversations

An answer is a text, a message or a list of messages; a list may begin with the question again. What else messages may
look like is `formats`' matter. Pairs that say the same, or answer different questions, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.errors import ConversationError, UsageError
from nanochat.tasks.answers import ANSWERS, with_answer
from nanochat.tasks.files import NAMED_PROBLEMS, fingerprint
from nanochat.tasks.formats import convert
from nanochat.tasks.records import MAX_BYTES, RecordFile, parse
from nanochat.tokenizer.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Pair:
    """Two conversations that differ in their last message, the assistant's."""

    chosen: Conversation
    rejected: Conversation

    @property
    def question(self) -> int:
        """64 bits of what comes before the answers: equal for pairs that should stay on one side of a split."""
        return fingerprint(Conversation(self.chosen.messages[:-1]))


def read_pairs(path: Path, temporary: Path | None = None) -> list[Pair]:
    """Every pair of a file.

    Args:
        path: .jsonl, .json, either of them .gz.
        temporary: folder for the text of a compressed file.

    Raises:
        ConversationError: lines that hold no pair; the first of them are named.
        UsageError: a folder, or a file without any pair.
        MissingError, DamagedError, StorageError: the file cannot be read.
    """
    file = RecordFile(path, temporary)
    pairs: list[Pair] = []
    problems: list[str] = []
    wrong = 0
    try:
        for record in file:
            try:
                if not record.size:
                    raise ValueError(f"longer than {MAX_BYTES >> 20} MB")
                pairs.append(pair_of(parse(file.read(record.start, record.size))))
            except (ConversationError, ValueError) as error:
                wrong += 1
                if len(problems) < NAMED_PROBLEMS:
                    problems.append(
                        f"{record.place}: {error.message if isinstance(error, ConversationError) else error}"
                    )
    finally:
        file.close()
    if wrong:
        more = "" if wrong == len(problems) else f"; and {wrong - len(problems):,} more"
        raise ConversationError(
            f"{path} has {wrong:,} bad of {wrong + len(pairs):,}: {'; '.join(problems)}{more}",
            'a pair is {"prompt": ..., "chosen": ..., "rejected": ...}',
        )
    if not pairs:
        raise UsageError(f"{path} holds no pair", 'write {"prompt": ..., "chosen": ..., "rejected": ...}, one a line')
    return pairs


def pair_of(value: Any) -> Pair:
    """The pair that a JSON value holds.

    Raises:
        ConversationError: there is none, or nothing to be learnt from it; the message says why.
    """
    if not isinstance(value, Mapping) or any(key not in value for key in ANSWERS):
        raise ConversationError("a pair is an object with chosen and rejected")
    both = []
    for key in ANSWERS:
        try:
            both.append(convert({"messages": with_answer(value, key)}).conversation)
        except ConversationError as error:
            raise ConversationError(f"{key}: {error.message}", error.hint) from None
        if both[-1].messages[-1].role != "assistant":
            raise ConversationError(f"{key} does not end with an answer of the assistant")
    chosen, rejected = both
    if chosen.messages[:-1] != rejected.messages[:-1]:
        raise ConversationError("chosen and rejected answer different questions")
    if chosen == rejected:
        raise ConversationError("chosen and rejected are the same")
    return Pair(chosen, rejected)
