"""Leaving a conversation while it is answered, and what becomes of the screen when the file says no."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chat_pilot import command, contents, notices, opened, quiet, run, screen, send, until
from scripted_chat import ScriptedBackend, killed
from textual.pilot import Pilot

from nanochat.chats.store import ChatStore
from nanochat.errors import StorageError
from nanochat.tui.chat.app import ChatApp


async def held(app: ChatApp, pilot: Pilot[None], backend: ScriptedBackend, text: str) -> None:
    """Ask, and hold the answer before its first word."""
    backend.free.clear()
    app.prompt.insert(text)
    await pilot.press("enter")
    await until(pilot, lambda: app.busy)


class Halting(list[object]):
    """Pieces of an answer; those behind the first wait until they are let."""

    def __init__(self, *pieces: object) -> None:
        super().__init__(pieces)
        self.let = threading.Event()

    def __iter__(self) -> Iterator[object]:
        for at, piece in enumerate(super().__iter__()):
            if at:
                self.let.wait(10)
            yield piece


async def begun(app: ChatApp, pilot: Pilot[None], text: str) -> None:
    """Ask, and wait for the first word."""
    app.prompt.focus()
    app.prompt.insert(text)
    await pilot.press("enter")
    await until(pilot, lambda: app.busy and app.said)


def texts(path: Path) -> list[list[str]]:
    """The messages of each conversation on disk, the oldest first; none follows one of another conversation."""
    connection = sqlite3.connect(path)
    strangers = (
        "SELECT count(*) FROM messages JOIN messages AS above ON above.id = messages.parent"
        " WHERE above.chat != messages.chat"
    )
    (count,) = connection.execute(strangers).fetchone()
    assert count == 0
    (lost,) = connection.execute(
        "SELECT count(*) FROM chats JOIN messages ON messages.id = chats.leaf WHERE messages.chat != chats.id"
    ).fetchone()
    assert lost == 0
    connection.close()
    store = ChatStore(path)
    found = [
        [node.message.content for node in store.tree(chat.id).nodes.values()]
        for chat in sorted(store.chats(), key=lambda chat: chat.id)
    ]
    store.close()
    return found


def test_another_conversation_before_the_first_word(tmp_path: Path) -> None:
    path, backend = tmp_path / "chats.sqlite3", ScriptedBackend([["late"], ["B"]])

    async def test() -> None:
        async with opened(backend, store=path) as (app, pilot):
            await held(app, pilot, backend, "one")
            await pilot.press("ctrl+n")
            await pilot.pause()
            assert contents(app) == [] and not app.busy
            backend.free.set()
            await send(app, pilot, "two")
            assert contents(app) == ["two", "B"]

    run(test())
    assert texts(path) == [["one"], ["two", "B"]]
    store = ChatStore(path)
    store.delete(1)
    assert [chat.id for chat in store.chats()] == [2], "nothing of the second one hung on the first"
    store.close()


def test_another_conversation_in_mid_answer_keeps_the_part(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    answer = Halting("first ", "more ")
    backend = ScriptedBackend([["A"], answer, ["B"]])

    async def test() -> None:
        async with opened(backend, store=path) as (app, pilot):
            await send(app, pilot, "one")
            await command(app, pilot, "/new")
            await begun(app, pilot, "two")
            await app.opened(1)
            assert contents(app) == ["one", "A"] and not app.busy
            answer.let.set()
            await send(app, pilot, "three")
            assert contents(app) == ["one", "A", "three", "B"]
            kept = app.store.tree(2)
            part = kept.path(app.store.chat(2).leaf)[-1]
            assert (part.message.content, part.figures) == ("first ", {"stop_reason": "cancelled"})

    run(test())
    assert texts(path)[0] == ["one", "A", "three", "B"]
    assert texts(path)[1] == ["two", "first "]


def test_what_is_imported_or_found_gets_nothing_of_the_answer(tmp_path: Path) -> None:
    path, file = tmp_path / "chats.sqlite3", tmp_path / "x.json"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "theirs"}]}))
    backend = ScriptedBackend([["late"]])

    async def test() -> None:
        async with opened(backend, store=path) as (app, pilot):
            await held(app, pilot, backend, "one")
            await app.take_prompt(f"/import {file}")
            backend.free.set()
            await pilot.pause(0.2)
            assert contents(app) == ["theirs"] and not app.busy
            await held(app, pilot, backend, "mine")
            await app.take_prompt("/search theirs")
            await pilot.pause()
            await pilot.press("enter")
            await pilot.pause()
            backend.free.set()
            await pilot.pause(0.2)
            assert not app.busy and app.talk.chat and app.talk.chat.id == 2

    run(test())
    assert texts(path) == [["one"], ["theirs", "mine"]] or texts(path) == [["one"], ["mine"]]


def test_deleting_what_is_being_answered(tmp_path: Path) -> None:
    path, answer = tmp_path / "chats.sqlite3", Halting("first ", "more")
    backend = ScriptedBackend([answer, ["B"]])

    async def test() -> None:
        async with opened(backend, store=path) as (app, pilot):
            await begun(app, pilot, "one")
            await pilot.press("ctrl+t", "delete", "enter", "escape")
            await pilot.pause()
            answer.let.set()
            await pilot.pause(0.2)
            assert contents(app) == [] and not app.busy and notices(app) == ""
            await send(app, pilot, "two")
            assert contents(app) == ["two", "B"]

    run(test())
    assert texts(path) == [["two", "B"]]


def test_a_wrong_word_behind_new_leaves_the_answer_alone() -> None:
    backend = ScriptedBackend([["first ", "last"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await held(app, pilot, backend, "one")
            await app.take_prompt("/new nonsense")
            backend.free.set()
            await quiet(app, pilot)
            assert contents(app) == ["one", "first last"]

    run(test())


@pytest.mark.parametrize("key", ["plus", "left_square_bracket"])
def test_a_conversation_that_another_window_deleted(tmp_path: Path, key: str) -> None:
    path = tmp_path / "chats.sqlite3"
    answer = Halting("C ", "more ")
    backend = ScriptedBackend([["A"], ["B"], answer, ["D"]])

    async def test() -> None:
        async with opened(backend, store=path) as (app, pilot):
            await send(app, pilot, "one")
            await command(app, pilot, "/retry")
            other = ChatStore(path)
            await pilot.press("tab")
            other.delete(1)
            await pilot.press(key)
            await pilot.pause()
            assert app.is_running and ("was deleted" in notices(app) or "has no message" in notices(app))
            app.clear_notifications()
            await pilot.press("escape")
            await send(app, pilot, "two")
            assert "there is no conversation 1" in notices(app) and app.prompt.text == "two", "nothing is lost"
            app.prompt.put("")
            await pilot.press("ctrl+n")
            await pilot.pause()
            await begun(app, pilot, "three")
            other.delete(app.talk.chat.id)  # type: ignore[union-attr]
            app.clear_notifications()
            app.talk._kept_at = 0.0
            answer.let.set()
            await until(pilot, lambda: not app.busy)
            assert "its conversation was deleted" in notices(app) and len(app._notifications) == 1
            assert "answering" not in screen(app)
            await pilot.press("ctrl+n")
            await send(app, pilot, "four")
            assert contents(app) == ["four", "D"]
            other.close()

    run(test())


def test_a_file_that_says_no_does_not_end_the_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place that asks the store without a command: lists, the history, the panel, a screen that is left."""

    def no(*_: object, **__: object) -> None:
        raise StorageError("the disk is full", "free some space")

    async def test() -> None:
        async with opened(ScriptedBackend([["A"], ["B"]]), (130, 34)) as (app, pilot):
            await send(app, pilot, "one")

            async def said(*names: str, press: tuple[str, ...] = (), work: Callable[[], object] | None = None) -> None:
                app.clear_notifications()
                with monkeypatch.context() as patch:
                    for name in names:
                        patch.setattr(app.store, name, no)
                    await pilot.press(*press)
                    if work:
                        work()
                    await pilot.pause(0.1)
                assert app.is_running and "the disk is full" in notices(app), names
                while len(app.screen_stack) > 1:
                    await app.pop_screen()

            await said("_read", press=("up",))
            await said("prompts", press=("ctrl+r",))
            await said("chats", press=("ctrl+t",))
            await said("rename", press=("ctrl+t", "f2", "x", "enter"))
            await said("delete", press=("ctrl+t", "delete", "enter"))
            await said("chat", press=("ctrl+t", "enter"))
            area = app.side.query_one("#system")
            await said("set_system", work=lambda: setattr(area, "text", "Brief"))
            await command(app, pilot, "/sample 2")
            await until(pilot, lambda: screen(app).count("1 token") == 2)
            await said("add", press=("1",))
            app.prompt.focus()
            await pilot.press("up")
            assert app.prompt.text == "one", "the prompt is alive"
            app.prompt.put("")
            await pilot.press("ctrl+t")
            await pilot.pause()
            assert "Conversations" in screen(app)
            await pilot.press("escape")
            await send(app, pilot, "two")
            assert contents(app) == ["one", "A", "two", "B"]

    run(test())


def test_a_model_that_died_and_retry_go_on_where_they_are() -> None:
    backend = ScriptedBackend([["A"], [killed()], ["B"], ["C"]])
    started: list[int] = []

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await send(app, pilot, "one")
            await pilot.pause(0.1)
            backend.count = lambda *_: started.append(1)  # type: ignore[method-assign,assignment]
            await send(app, pilot, "two")
            await pilot.pause(0.1)
            assert app.trouble and not started, "counting would start it"
            del backend.count
            app.prompt.put("")
            await command(app, pilot, "/retry")
            await send(app, pilot, "three")
            assert [message.content for message in backend.asked[-1].messages] == ["one", "A", "two", "B", "three"]
            assert contents(app) == ["one", "A", "two", "B", "three", "C"]

    run(test())


def test_an_error_that_nobody_expected_ends_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(ScriptedBackend):
        def ask(self, question: object) -> object:  # type: ignore[override]
            raise KeyError("choices")

    async def test() -> None:
        async with opened(Broken()) as (app, pilot):
            await send(app, pilot, "one")
            assert "the answer failed: KeyError('choices')" in screen(app) and "answering" not in screen(app)
            assert app.prompt.text == "one"

    run(test())
    assert "Traceback" in capfd.readouterr().err
