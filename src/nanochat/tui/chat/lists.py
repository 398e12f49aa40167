"""What the lists to choose from hold: conversations, messages, models, earlier prompts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from nanochat.chats.search import Hit
from nanochat.chats.store import ChatStore
from nanochat.runtime.safe_text import safe_line
from nanochat.tui.chat.picker import Line

_AGES = ((60, "seconds"), (3600, "minutes"), (86400, "hours"), (7 * 86400, "days"), (60 * 86400, "weeks"))


def chat_lines(store: ChatStore, typed: str) -> list[Line[int]]:
    """Conversations whose title or model holds every word."""
    return [
        Line(chat.id, safe_line(chat.title) or "(no title)", f"{safe_line(chat.model)}  {age(chat.changed)}")
        for chat in store.chats()
        if _holds(f"{chat.title} {chat.model}", typed)
    ]


def hit_lines(hits: Sequence[Hit]) -> list[Line[Hit]]:
    """Messages that were found."""
    return [Line(hit, safe_line(hit.snippet), safe_line(hit.title)) for hit in hits]


def narrowed(names: Sequence[str], typed: str) -> list[Line[str]]:
    """Names that hold every word."""
    return [Line(name, safe_line(name)) for name in names if _holds(name, typed)]


def prompt_lines(prompts: Sequence[str], typed: str) -> list[Line[str]]:
    """Earlier prompts that hold every word."""
    return [Line(text, safe_line(" ".join(text.split()))) for text in prompts if _holds(text, typed)]


def age(then: float) -> str:
    """`5 minutes ago`."""
    passed = max(0.0, time.time() - then)
    if passed < 60:
        return "just now"
    unit_s, name = next(
        ((low, name) for (low, _), (high, name) in itertools.pairwise(_AGES) if passed < high),
        (7 * 86400, "weeks"),
    )
    count = int(passed // unit_s)
    return f"{count} {name if count > 1 else name.removesuffix('s')} ago"


def _holds(text: str, typed: str) -> bool:
    return all(word in text.lower() for word in typed.lower().split())
