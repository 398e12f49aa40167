"""Reading and writing conversations. One object a window, used from one thread; several windows share the file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanochat.chats.schema import connect, transaction, translated
from nanochat.chats.tree import Chat, ChatKind, Node, Tree
from nanochat.errors import MissingError
from nanochat.tokenizer.conversation import Message

FILE = "chats.sqlite3"
TITLE_CHARS = 60


class ChatStore:
    """The conversations of one installation.

    Args:
        path: the file; None keeps them in memory, for as long as this object lives.

    Raises:
        StorageError, DamagedError: as `connect`; every method raises them too.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._connection = connect(path)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # conversations

    def create(
        self,
        *,
        model: str = "",
        system: str = "",
        kind: ChatKind = "chat",
        title: str = "",
        created: float | None = None,
    ) -> Chat:
        """A new one, empty; `created` in unix seconds where that was not now."""
        now = time.time()
        with self._change() as connection:
            cursor = connection.execute(
                "INSERT INTO chats (title, model, system, kind, created, changed) VALUES (?, ?, ?, ?, ?, ?)",
                (title, model, system, kind, now if created is None else created, now),
            )
        return self.chat(int(cursor.lastrowid or 0))

    def chats(self, limit: int = 500) -> list[Chat]:
        """The ones that hold messages, those that changed last first."""
        return [
            _chat(row)
            for row in self._read(
                "SELECT * FROM chats WHERE leaf IS NOT NULL ORDER BY changed DESC, id DESC LIMIT ?", limit
            )
        ]

    def chat(self, id: int) -> Chat:
        """One by its number.

        Raises:
            MissingError: it was deleted, here or in another window.
        """
        rows = self._read("SELECT * FROM chats WHERE id = ?", id)
        if not rows:
            raise MissingError(f"there is no conversation {id}", "it was deleted; /new begins another one")
        return _chat(rows[0])

    def rename(self, id: int, title: str) -> None:
        """Give it another title."""
        self._set(id, "title", _title(title))

    def set_system(self, id: int, system: str) -> None:
        """Change the text before its first message."""
        self._set(id, "system", _sound(system))

    def set_leaf(self, id: int, leaf: int | None) -> None:
        """Remember where it is left.

        Raises:
            MissingError: the message is none of this conversation.
        """
        with self._change() as connection:
            _require(connection, id, leaf)
            connection.execute("UPDATE chats SET leaf = ? WHERE id = ?", (leaf, id))

    def delete(self, id: int) -> None:
        """Remove it with all of its messages."""
        with self._change() as connection:
            connection.execute("DELETE FROM chats WHERE id = ?", (id,))

    # what the screen remembers

    def setting(self, name: str) -> str:
        """What was remembered under this name; empty for nothing."""
        rows = self._read("SELECT value FROM settings WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def remember(self, name: str, value: str) -> None:
        """Remember something, in place of what it was."""
        with self._change() as connection:
            connection.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value))

    # messages

    def tree(self, id: int) -> Tree:
        """All messages of a conversation."""
        return Tree(_node(row) for row in self._read("SELECT * FROM messages WHERE chat = ? ORDER BY id", id))

    def add(
        self,
        chat: int,
        parent: int | None,
        message: Message,
        *,
        model: str = "",
        figures: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        rating: int = 0,
        leaf: bool = True,
        created: float | None = None,
    ) -> Node:
        """Add a message after another one.

        Args:
            leaf: whether the conversation is now at this message.
            created: unix seconds; None is now.

        Raises:
            MissingError: the conversation was deleted meanwhile, or the parent is a message of another one.
        """
        now = time.time()
        values = (chat, parent, _dump(message.to_dict()), _sound(message.content), message.role, model)
        with self._change() as connection:
            found = connection.execute("SELECT title FROM chats WHERE id = ?", (chat,)).fetchone()
            if found is None:
                raise MissingError(f"there is no conversation {chat}", "it was deleted; /new begins another one")
            _require(connection, chat, parent)
            cursor = connection.execute(
                "INSERT INTO messages (chat, parent, message, text, role, model, figures, settings, rating, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, _dump(figures or {}), _dump(settings or {}), rating, now if created is None else created),
            )
            id = int(cursor.lastrowid or 0)
            title = found[0] or _title(message.content)
            connection.execute("UPDATE chats SET changed = ?, title = ? WHERE id = ?", (now, title, chat))
            if model:
                connection.execute("UPDATE chats SET model = ? WHERE id = ?", (model, chat))
            if leaf:
                connection.execute("UPDATE chats SET leaf = ? WHERE id = ?", (id, chat))
        return self.node(id)

    def amend(self, id: int, message: Message, figures: Mapping[str, Any] | None = None) -> Node:
        """Replace what an answer says: it grows while it is given, and gets its figures at its end."""
        with self._change() as connection:
            connection.execute(
                "UPDATE messages SET message = ?, text = ?, figures = ? WHERE id = ?",
                (_dump(message.to_dict()), _sound(message.content), _dump(figures or {}), id),
            )
        return self.node(id)

    def rate(self, id: int, rating: int) -> Node:
        """Thumb up (1), down (-1) or neither (0)."""
        with self._change() as connection:
            connection.execute("UPDATE messages SET rating = ? WHERE id = ?", (rating, id))
        return self.node(id)

    def node(self, id: int) -> Node:
        """One message by its number.

        Raises:
            MissingError: it was deleted with its conversation.
        """
        rows = self._read("SELECT * FROM messages WHERE id = ?", id)
        if not rows:
            raise MissingError(f"there is no message {id}", "its conversation was deleted; /new begins another one")
        return _node(rows[0])

    def prompts(self, limit: int = 500) -> list[str]:
        """What was asked before, in any conversation, each text once, the last one first."""
        query = "SELECT text FROM messages WHERE role = 'user' GROUP BY text ORDER BY max(id) DESC LIMIT ?"
        return [text for (text,) in self._read(query, limit)]

    # within

    def rows(self, query: str, *values: Any) -> list[Any]:
        """The rows of a query that changes nothing."""
        return self._read(query, *values)

    def _read(self, query: str, *values: Any) -> list[Any]:
        with translated(self.path):
            return self._connection.execute(query, values).fetchall()

    def _set(self, id: int, column: str, value: Any) -> None:
        with self._change() as connection:
            connection.execute(f"UPDATE chats SET {column} = ? WHERE id = ?", (value, id))

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with translated(self.path), transaction(self._connection):
            yield self._connection


def _require(connection: sqlite3.Connection, chat: int, message: int | None) -> None:
    """A message that follows one of another conversation would be deleted with that one, unseen."""
    found = connection.execute("SELECT 1 FROM messages WHERE id = ? AND chat = ?", (message, chat)).fetchone()
    if message is not None and found is None:
        raise MissingError(f"conversation {chat} has no message {message}", "/load opens it as it is kept")


def _chat(row: Sequence[Any]) -> Chat:
    id, title, model, system, kind, leaf, created, changed = row
    return Chat(id=id, title=title, model=model, system=system, kind=kind, leaf=leaf, created=created, changed=changed)


def _node(row: Sequence[Any]) -> Node:
    id, _, parent, message, _, _, model, figures, settings, rating, created = row
    return Node(
        id=id,
        parent=parent,
        message=Message.from_dict(json.loads(message)),
        model=model,
        figures=json.loads(figures),
        settings=json.loads(settings),
        rating=rating,
        created=created,
    )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)  # half of a surrogate pair survives too


def _sound(text: str) -> str:
    """Text that SQLite takes: half of a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _title(text: str) -> str:
    line = " ".join(_sound(text).split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1] + "…"
