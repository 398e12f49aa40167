"""The prompt: what sends and what does not, chips, history, completion, the editor, keys as terminals send them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from chat_pilot import command, contents, opened, quiet, run, screen, send
from scripted_chat import ScriptedBackend
from textual import events
from textual._xterm_parser import XTermParser

from nanochat.chats.store import ChatStore
from nanochat.tokenizer.conversation import Message
from nanochat.tui.chat.app import ChatApp
from nanochat.tui.chat.completion import Completions, offers
from nanochat.tui.chat.terminal_keys import NAMES, teach


def keys_of(sent: str) -> list[str]:
    """The keys that Textual makes of what a terminal sends."""
    teach()
    parser = XTermParser()
    return [NAMES.get(event.key, event.key) for event in parser.feed(sent) if isinstance(event, events.Key)]


def test_new_lines_as_terminals_send_them() -> None:
    assert keys_of("\x1b\r") == ["alt+enter"]
    assert keys_of("\x1b[27;2;13~") == ["shift+enter"]
    assert keys_of("\x1b[13;2u") == ["shift+enter"], "kitty"
    assert (keys_of("\n"), keys_of("\r")) == (["ctrl+j"], ["enter"])


def test_enter_sends_and_the_others_do_not() -> None:
    async def test() -> None:
        async with opened() as (app, pilot):
            await pilot.press("a", "shift+enter", "b", "alt+enter", "c", "ctrl+j", "d")
            assert app.prompt.text == "a\nb\nc\nd"
            assert app.prompt.size.height == 4
            await pilot.press("enter", *"more")
            await quiet(app, pilot)
            assert contents(app)[0] == "a\nb\nc\nd" and app.prompt.text == "more"
            await pilot.press(*["ctrl+j"] * 30)
            assert app.prompt.size.height <= 12
            app.prompt.put("   \n ")
            await pilot.press("enter")
            assert len(contents(app)) == 2, "nothing is nothing to send"

    run(test())


def test_a_paste_never_sends_and_a_long_one_is_a_chip() -> None:
    long = "line of text\n" * 214

    async def test() -> None:
        async with opened() as (app, pilot):
            app.prompt.post_message(events.Paste("one\r\ntwo\r\x1b[2J\n"))
            await pilot.pause()
            assert app.prompt.text == "one\ntwo\n^[[2J\n" and not app.busy
            app.prompt.put("see ")
            app.prompt.post_message(events.Paste(long))
            await pilot.pause()
            assert app.prompt.text == "see [pasted 215 lines #1]"
            await pilot.press("backspace")
            assert app.prompt.text == "see ", "a chip goes as a whole"
            app.prompt.post_message(events.Paste(long))
            app.prompt.post_message(events.Paste("x" * 3000))
            await pilot.pause()
            assert "[pasted 3,000 characters #3]" in app.prompt.text
            await pilot.press("enter")
            await quiet(app, pilot)
            assert contents(app)[0] == "see " + long + "x" * 3000
            await send(app, pilot, "[pasted 9 lines #7]")
            assert contents(app)[2] == "[pasted 9 lines #7]", "what only looks like one is text"

    run(test())


def test_history(tmp_path: Path) -> None:
    store = ChatStore(tmp_path / "chats.sqlite3")
    chat = store.create()
    for text in ("old", "two\nlines", "new", "old"):
        store.add(chat.id, None, Message.text("user", text))
    store.close()

    async def test() -> None:
        async with opened(store=tmp_path / "chats.sqlite3") as (app, pilot):
            await pilot.press("d", "up")
            assert app.prompt.text == "old"
            await pilot.press("up")
            assert app.prompt.text == "new"
            await pilot.press("up", "up", "up")
            assert app.prompt.text == "two\nlines", "up moves in it first, and ends at the first prompt"
            await pilot.press("down", "down", "down", "down")
            assert app.prompt.text == "d", "what was begun comes back"
            await pilot.press("down")
            app.prompt.put("")
            await pilot.press("ctrl+r")
            await pilot.pause()
            await pilot.press(*"two", "enter")
            await pilot.pause()
            assert app.prompt.text == "two\nlines"

    run(test())


def test_completion() -> None:
    async def test() -> None:
        async with opened() as (app, pilot):
            completions = app.query_one("#completions", Completions)
            await pilot.press("/")
            await pilot.pause()
            assert completions.display and "/help" in screen(app)
            await pilot.press(*"th")
            await pilot.pause()
            assert [offer.text for offer in completions.offered] == ["/theme "]
            await pilot.press("tab")
            await pilot.pause()
            assert app.prompt.text == "/theme " and "light" in screen(app)
            await pilot.press(*"lig", "enter")
            await pilot.pause()
            assert app.prompt.text == "/theme light" and app.theme == "dark"
            await pilot.press("enter")
            await pilot.pause()
            assert app.theme == "light" and not completions.display
            await pilot.press(*"/s", "down", "up", "up", "escape")
            await pilot.pause()
            assert not completions.display and app.prompt.text == "/s"
            app.prompt.put("")
            await pilot.press(*"/stats")
            await pilot.pause()
            await pilot.press("enter")
            await pilot.pause()
            assert app.prompt.text == "", "a whole command runs at the first Enter"

    run(test())


def test_what_is_offered() -> None:
    def values(command: object, word: str) -> list[tuple[str, str]]:
        return [("tiny:sft@10", ""), ("tiny:sft@20", "")]

    assert offers("hello", values) == [] and offers("/two\nlines", values) == []
    assert [offer.text for offer in offers("/model tiny:sft@2", values)] == ["/model tiny:sft@20"]
    assert [offer.text for offer in offers("/compare tiny:sft@10 ti", values)][1] == "/compare tiny:sft@10 tiny:sft@20"
    assert offers("/model tiny:sft@20", values) == [], "nothing is left to be said"
    assert offers("/nothing x", values) == []
    assert [offer.text for offer in offers("/ex", values)] == ["/export ", "/quit"], "names, then other names"


def test_the_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "edit.py"
    script.write_text("import sys; p = sys.argv[1]; t = open(p).read(); open(p, 'w').write(t + ' and more\\n')")
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
    monkeypatch.delenv("VISUAL", raising=False)

    async def test() -> None:
        async with opened() as (app, pilot):
            await pilot.press("a", "ctrl+o")
            await pilot.pause()
            assert app.prompt.text == "a and more"
            monkeypatch.setenv("EDITOR", "/nowhere/edit")
            await pilot.press("ctrl+o")
            assert app.prompt.text == "a and more"
            monkeypatch.setenv("EDITOR", "false")
            await pilot.press("ctrl+o")
            assert app.prompt.text == "a and more"

    # the pilot has no terminal that could be lent
    import subprocess

    monkeypatch.setattr(ChatApp, "run_editor", lambda self, words: subprocess.run(words, check=False).returncode)
    run(test())


def test_while_an_answer_comes_the_next_prompt_can_be_written_but_waits() -> None:
    backend = ScriptedBackend()

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            backend.free.clear()
            await pilot.press(*"one", "enter", *"two", "enter")
            await pilot.pause()
            assert app.busy and app.prompt.text == "two"
            backend.free.set()
            await quiet(app, pilot)
            await pilot.press("enter")
            await quiet(app, pilot)
            assert contents(app) == ["one", "Hello", "two", "Hello"]
            await command(app, pilot, "/new")

    run(test())
