"""The file of conversations: its tables, and how it is opened so that a crash or a second window cannot harm it.

Write-ahead logging lets several windows read while one writes; every change is one short transaction, and whoever
finds the file busy waits. The full-text index holds trigrams, so that parts of words and languages without spaces are
found too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanochat.errors import DamagedError, StorageError
from nanochat.runtime.files import translate_os_errors

BUSY_S = 5.0

_TABLES = (
    """
CREATE TABLE chats (
    id INTEGER PRIMARY KEY,
    title TEXT NOT NULL,
    model TEXT NOT NULL,
    system TEXT NOT NULL,
    kind TEXT NOT NULL,
    leaf INTEGER,
    created REAL NOT NULL,
    changed REAL NOT NULL
);
CREATE INDEX chats_by_change ON chats (changed);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    chat INTEGER NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    parent INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    message TEXT NOT NULL,
    text TEXT NOT NULL,
    role TEXT NOT NULL,
    model TEXT NOT NULL,
    figures TEXT NOT NULL,
    settings TEXT NOT NULL,
    rating INTEGER NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX messages_by_chat ON messages (chat);
CREATE INDEX messages_by_parent ON messages (parent);
CREATE VIRTUAL TABLE words USING fts5 (text, content='messages', content_rowid='id', tokenize='trigram');
CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER message_removed AFTER DELETE ON messages BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER message_amended AFTER UPDATE OF text ON messages BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
""",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
)
"""What each version of the file has more than the one before it."""
VERSION = len(_TABLES)


def connect(path: Path | None) -> sqlite3.Connection:
    """The file, made where there is none; readable by its owner alone.

    Args:
        path: None keeps everything in memory.

    Raises:
        StorageError: it cannot be written.
        DamagedError: it is no such file, or one of a later version.
    """
    if path is not None:
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
    with translated(path):
        connection = sqlite3.connect(path or ":memory:", timeout=BUSY_S, isolation_level=None)
        try:
            connection.create_function("folded", 1, str.lower, deterministic=True)  # lower() of SQLite knows ASCII only
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path | None) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    with transaction(connection):  # two windows may open a new file at once
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise DamagedError(
                f"{path} was written by a later nanochat (version {version}, this one knows {VERSION})",
                "update nanochat, or move the file away",
            )
        if version < VERSION:
            for script in _TABLES[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def translated(path: Path | None) -> Iterator[None]:
    """Errors of SQLite in words.

    Raises:
        StorageError: locked for longer than `BUSY_S`, full, read-only.
        DamagedError: the file is no data base, or a broken one.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"{path}: {error}", "close other windows of it, free some space, or use --base-dir"
        ) from error
    except sqlite3.DatabaseError as error:
        raise DamagedError(f"{path}: {error}", f"move {path} away; a new one is made") from error


def _statements(script: str) -> Iterator[str]:
    """Its statements one by one: `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
