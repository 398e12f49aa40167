"""Full-text search over all conversations: every word has to be in a message, in any order, also inside of words."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.chats.store import ChatStore

SNIPPET_CHARS = 72
_INDEXED_FROM = 3  # the index holds trigrams: shorter words are looked for in the texts themselves


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found.

    Attributes:
        chat: number of its conversation.
        node: its own number.
        title: of the conversation.
        snippet: what stands around the first word that was looked for, on one line.
    """

    chat: int
    node: int
    title: str
    snippet: str


def search(store: ChatStore, query: str, limit: int = 50) -> list[Hit]:
    """The messages that hold every word of the query, newest first."""
    words = query.split()
    if not words:
        return []
    long = [word for word in words if len(word) >= _INDEXED_FROM]
    conditions = ["instr(folded(messages.text), ?) > 0" for word in words if len(word) < _INDEXED_FROM]
    values: list[object] = [word.lower() for word in words if len(word) < _INDEXED_FROM]
    if long:
        conditions.append("messages.id IN (SELECT rowid FROM words WHERE words MATCH ?)")
        values.append(" ".join('"' + word.replace('"', '""') + '"' for word in long))
    rows = store.rows(
        "SELECT messages.chat, messages.id, chats.title, messages.text FROM messages"
        f" JOIN chats ON chats.id = messages.chat WHERE {' AND '.join(conditions)}"
        " ORDER BY messages.id DESC LIMIT ?",
        *values,
        limit,
    )
    return [Hit(chat, node, title, _around(text, words[0])) for chat, node, title, text in rows]


def _around(text: str, word: str) -> str:
    line = " ".join(text.split())
    at = max(0, line.lower().find(word.lower()) - SNIPPET_CHARS // 3)
    piece = line[at : at + SNIPPET_CHARS]
    return ("…" if at else "") + piece + ("…" if at + SNIPPET_CHARS < len(line) else "")
