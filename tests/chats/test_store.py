"""Conversations on disk: trees, two windows, crashes, damaged files, search."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nanochat.chats.search import search
from nanochat.chats.store import ChatStore
from nanochat.chats.tree import Tree
from nanochat.errors import DamagedError, MissingError, StorageError
from nanochat.tokenizer.conversation import Message, Part


def user(text: str) -> Message:
    return Message.text("user", text)


def said(text: str) -> Message:
    return Message.text("assistant", text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.sqlite3"


def test_a_tree_is_kept(path: Path) -> None:
    store = ChatStore(path)
    chat = store.create(model="d4:sft@7", system="Be brief.")
    assert store.chats() == [], "nothing was said in it yet"
    question = store.add(chat.id, None, user("What  is\n1+1?"))
    called = Message("assistant", (Part("python", "1+1"), Part("output", "2"), Part("text", "It is 2.")))
    first = store.add(chat.id, question.id, called, model="d4:sft@8", figures={"tokens": 9}, settings={"seed": 1})
    second = store.add(chat.id, question.id, said("Two."))
    other = store.add(chat.id, None, user("What is 1+2?"))
    store.rate(first.id, 1)
    store.close()

    store = ChatStore(path)
    (kept,) = store.chats()
    assert (kept.title, kept.model, kept.system, kept.leaf) == ("What is 1+1?", "d4:sft@8", "Be brief.", other.id)
    tree = store.tree(kept.id)
    assert [node.id for node in tree.path(second.id)] == [question.id, second.id]
    assert [node.id for node in tree.siblings(tree[second.id])] == [first.id, second.id]
    assert [node.id for node in tree.children(None)] == [question.id, other.id]
    assert tree.leaf_below(question.id) == second.id
    assert tree[first.id].message == called and tree[first.id].rating == 1
    assert (tree[first.id].figures, tree[first.id].settings) == ({"tokens": 9}, {"seed": 1})
    assert path.stat().st_mode & 0o077 == 0, "what was said is nobody else's affair"
    store.close()


def test_rename_delete_and_the_order_of_change() -> None:
    store = ChatStore(None)
    one, two = store.create(), store.create()
    for chat in (one, two, one):
        store.add(chat.id, None, user(f"hello {chat.id}"))
    assert [chat.id for chat in store.chats()] == [one.id, two.id]
    store.rename(one.id, "  another\nname " + "x" * 200)
    assert store.chat(one.id).title.startswith("another name xxx") and len(store.chat(one.id).title) == 60
    store.delete(one.id)
    assert [chat.id for chat in store.chats()] == [two.id]
    assert search(store, "hello") and all(hit.chat == two.id for hit in search(store, "hello"))
    with pytest.raises(MissingError, match="no conversation"):
        store.add(one.id, None, user("too late"))
    with pytest.raises(MissingError):
        store.chat(one.id)
    assert store.prompts() == [f"hello {two.id}"]
    store.close()


def test_messages_of_another_conversation_are_refused() -> None:
    store = ChatStore(None)
    one, two = store.create(), store.create()
    node = store.add(one.id, None, user("one"))
    other = store.add(two.id, None, user("two"))
    with pytest.raises(MissingError, match=f"conversation {two.id} has no message {node.id}"):
        store.add(two.id, node.id, user("stray"))
    with pytest.raises(MissingError):
        store.set_leaf(two.id, node.id)
    assert store.chat(two.id).leaf == other.id and len(store.tree(two.id)) == 1
    store.set_leaf(two.id, None)
    assert store.chat(two.id).leaf is None
    store.close()


def test_search_finds_parts_of_words_any_language_and_only_what_is_there() -> None:
    store = ChatStore(None)
    texts = [
        "The capital of Japan is Tokyo.",
        "日本の首都は東京です",
        'he said "quoted" AND (this)',
        "ÜBER straße 🦊",
        "ab",
        "ÖL",
    ]
    chat = store.create()
    nodes = [store.add(chat.id, None, said(text)) for text in texts]
    for query, found in {
        "japan tokyo": [0],
        "okyo": [0],
        "東京": [1],
        "首都は": [1],
        '"quoted"': [2],
        "AND": [2],
        "(this) said": [2],
        "japan 東京": [],
        "ab": [4],
        "öl": [5],
        "Öl": [5],
        "öL ab": [],
        "🦊": [3],
        "": [],
        "*": [],
        "NEAR(": [],
    }.items():
        assert [hit.node for hit in search(store, query)] == [nodes[at].id for at in found], query
    long = store.add(chat.id, None, said("x " * 200 + "needle " + "y " * 200))
    (hit,) = search(store, "needle")
    assert hit.node == long.id and "needle" in hit.snippet and len(hit.snippet) < 80
    store.amend(long.id, said("nothing of it"))
    assert search(store, "needle") == [], "the index follows"
    store.close()


def test_half_a_character_is_kept() -> None:
    store = ChatStore(None)
    chat = store.create()
    node = store.add(chat.id, None, user("broken \ud83d end"))
    assert store.node(node.id).message.content == "broken \ud83d end"
    assert search(store, "broken")[0].node == node.id
    store.close()


def test_two_windows_at_once(path: Path) -> None:
    code = f"""
from pathlib import Path
from nanochat.chats.store import ChatStore
from nanochat.tokenizer.conversation import Message
store = ChatStore(Path({str(path)!r}))
chat = store.create()
parent = None
for number in range(100):
    parent = store.add(chat.id, parent, Message.text("user", f"line {{number}}")).id
"""
    windows = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [window.wait(60) for window in windows] == [0, 0]
    store = ChatStore(path)
    assert [len(store.tree(chat.id)) for chat in store.chats()] == [100, 100]
    store.close()


def test_a_killed_window_loses_nothing_that_was_kept(path: Path) -> None:
    code = f"""
from pathlib import Path
from nanochat.chats.store import ChatStore
from nanochat.tokenizer.conversation import Message
store = ChatStore(Path({str(path)!r}))
chat = store.create()
number = 0
while True:
    number += 1
    store.add(chat.id, None, Message.text("user", f"line {{number}}"))
    print(number, flush=True)
"""
    window = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert window.stdout
    until = random.randint(5, 40)
    for line in window.stdout:
        if int(line) >= until:
            break
    window.send_signal(signal.SIGKILL)
    last = max([until, *(int(line) for line in window.stdout if line.strip())])
    window.wait(10)
    window.stdout.close()
    store = ChatStore(path)
    kept = store.tree(store.chats()[0].id)
    assert len(kept) in (last, last + 1), "one more may have been kept than was told"
    assert search(store, f"line {until}")
    store.close()


def test_what_is_remembered_and_a_file_of_version_1(path: Path) -> None:
    store = ChatStore(path)
    store.add(store.create(title="old").id, None, Message.text("user", "Hi"))
    store.close()
    before = sqlite3.connect(path)
    before.executescript("DROP TABLE settings; PRAGMA user_version = 1;")
    before.close()
    store = ChatStore(path)
    assert [chat.title for chat in store.chats()] == ["old"] and store.setting("theme") == ""
    store.remember("theme", "dark")
    store.remember("theme", "light")
    store.close()
    store = ChatStore(path)
    assert store.setting("theme") == "light"
    store.close()


def test_files_that_are_none(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"this is no data base, and long enough to be looked at" * 100)
    with pytest.raises(DamagedError, match="not a database") as caught:
        ChatStore(path)
    assert "move" in caught.value.hint
    path.unlink()
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(DamagedError, match="later nanochat"):
        ChatStore(path)
    with pytest.raises(StorageError):
        ChatStore(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageError):
        ChatStore(file / "chats.sqlite3")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError):
        ChatStore(tmp_path / "chats.sqlite3")


def test_an_empty_tree() -> None:
    tree = Tree()
    assert (tree.path(None), tree.path(7), len(tree), tree.children(None)) == ([], [], 0, [])
