"""The conversation on the screen: asking, stopping, branching, keys and commands, a model that dies, other windows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_pilot import command, contents, long_chat, notices, opened, quiet, run, screen, send, until
from scripted_chat import PLACE, ScriptedBackend, killed
from textual.css.stylesheet import Stylesheet

from nanochat.chats.store import ChatStore
from nanochat.config.chat import SamplingConfig
from nanochat.config.chat_screen import ChatKeysConfig
from nanochat.engine.events import TextDelta
from nanochat.errors import MissingError
from nanochat.tui.chat.app import ChatApp
from nanochat.tui.chat.prompt import Prompt
from nanochat.tui.chat.registry import COMMANDS, KEYS, key_name
from nanochat.tui.chat.transcript import SHOWN
from nanochat.tui.chat.turn import Turn


def test_it_starts_without_anything_heavy() -> None:
    heavy = "torch", "numpy", "pyarrow", "httpx2", "markdown_it", "pygments", "psutil", "tomllib", "hashlib"
    heavy += "nanochat.checkpoints.selector", "nanochat.tokenizer.tokenizer", "multiprocessing.resource_tracker"
    code = (
        "import sys, nanochat.tui.chat.app, nanochat.engine.client, nanochat.commands.chat_screen;"
        f" print(*set({heavy}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == ""


def test_the_prompt_works_while_the_model_loads() -> None:
    backend = ScriptedBackend(loading=True)
    backend.free.clear()

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            assert "loading…" in screen(app) and app.prompt.has_focus
            await pilot.press(*"Hi", "enter")
            await until(pilot, lambda: app.busy)
            assert "answering…" in screen(app) and "Hi" in screen(app)
            backend.free.set()
            await quiet(app, pilot)
            assert contents(app) == ["Hi", "Hello"]

    run(test())


def test_what_is_typed_ahead_of_the_model_is_for_the_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def later(app: ChatApp) -> None:
        """The first frame is not seen yet."""

    monkeypatch.setattr(ChatApp, "go_on", later)
    backend = ScriptedBackend(loading=True, place="the newest model")
    shown: list[str] = []

    def on_shown() -> None:
        shown.append(backend.place)
        backend.place = PLACE

    async def test() -> None:
        async with opened(backend, on_shown=on_shown) as (app, pilot):
            await send(app, pilot, "Hi")
            assert [node.model for node in app.talk.path][1:] == [PLACE] and shown == ["the newest model"]
            await command(app, pilot, "/model tiny:base@10")
            app.prepare()
            assert (backend.place, app.talk.model, len(shown)) == ("tiny:base@10", "tiny:base@10", 1)

    run(test())


def test_no_model_says_which_command_makes_one() -> None:
    backend = ScriptedBackend(trouble=MissingError("there is no model in /x yet", "nanochat speedrun pocket"))

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await until(pilot, lambda: app.trouble)
            assert "nanochat speedrun pocket" in screen(app) and "cannot be loaded" in screen(app)
            assert app.prompt.has_focus

    run(test())


def test_a_conversation_is_shown_kept_and_what_was_asked_is_sent() -> None:
    answer = ["It is ", "**thirty-six**", ".", ("12*3", "36"), "Sure."]
    backend = ScriptedBackend([answer, ["Yes."]])

    async def test() -> None:
        async with opened(backend, system="Be brief.") as (app, pilot):
            await send(app, pilot, "What is 12*3?")
            shown = screen(app)
            assert "It is thirty-six." in shown and "▸ tool  12*3 = 36  2 ms" in shown and "Sure." in shown
            assert "50 tok/s · first after 100 ms" in shown and "What is 12*3?" in shown.split("\n")[0]
            await send(app, pilot, "Sure?")
            asked = backend.asked[1]
            assert [message.role for message in asked.messages] == ["system", "user", "assistant", "user"]
            assert [part.kind for part in asked.messages[2].parts] == ["text", "python", "output", "text"]
            assert asked.tokens and asked.config.top_logprobs > 0, "the microscope needs them"
            kept = app.talk.path[1]
            assert kept.figures["stop_reason"] == "stop" and kept.model == PLACE
            assert kept.message.parts[1].text == "12*3"
            assert app.transcript.turns[1].text.replace("\n", "") == "It is **thirty-six**.Sure."

    run(test())


def test_what_is_kept_is_shown_where_the_stream_said_something_else() -> None:
    async def test() -> None:
        async with opened(ScriptedBackend([["It is ", TextDelta("a ghost"), "**so**."]])) as (app, pilot):
            await send(app, pilot, "Hi")
            assert contents(app)[1] == "It is **so**."
            assert "It is so." in screen(app) and "ghost" not in screen(app)

    run(test())


def test_escape_stops_and_keeps_the_part() -> None:
    backend = ScriptedBackend([["one ", "two ", "three "], ["four"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            backend.free.clear()
            app.prompt.insert("Count")
            await pilot.press("enter")
            await until(pilot, lambda: app.busy)
            backend.free.set()
            await until(pilot, lambda: app.said)
            backend.free.clear()
            await pilot.press("escape")
            await quiet(app, pilot)
            said = contents(app)[1]
            assert said in ("one ", "one two ", "one two three ") and app.prompt.has_focus
            if said != "one two three ":
                assert "stopped" in screen(app)
            backend.free.set()
            await send(app, pilot, "Go on")
            assert backend.asked[1].messages[1].content == said

    run(test())


def test_stopped_before_a_word_leaves_no_answer_and_the_next_question_takes_its_place() -> None:
    backend = ScriptedBackend()

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            backend.free.clear()
            app.prompt.insert("first")
            await pilot.press("enter")
            await until(pilot, lambda: app.busy)
            await pilot.press("escape")
            await quiet(app, pilot)
            assert contents(app) == ["first"] and len(app.transcript.turns) == 1
            backend.free.set()
            await send(app, pilot, "second")
            assert contents(app) == ["second", "Hello"]
            assert [message.content for message in backend.asked[-1].messages] == ["second"]

    run(test())


def test_retry_edit_and_siblings_make_a_tree_that_is_kept(tmp_path: Path) -> None:
    backend = ScriptedBackend([["A"], ["B"], ["C"], ["D"]])
    path = tmp_path / "chats.sqlite3"

    async def test() -> None:
        async with opened(backend, store=path) as (app, pilot):
            await send(app, pilot, "one")
            await command(app, pilot, "/retry")
            assert contents(app) == ["one", "B"] and "[ 2 of 2 ]" in screen(app)
            await pilot.press("tab", "up", "down")
            assert isinstance(app.focused, Turn) and app.focused.node.message.content == "B"
            await pilot.press("left_square_bracket")
            await pilot.pause()
            assert contents(app) == ["one", "A"] and app.focused.node.message.content == "A"
            await pilot.press("left_square_bracket")
            assert contents(app) == ["one", "A"], "there is none before"
            await send(app, pilot, "two")
            assert contents(app) == ["one", "A", "two", "C"]
            await pilot.press("tab", "up", "e")
            assert app.prompt.text == "two" and app.prompt.has_class("editing")
            app.prompt.put("")
            await send(app, pilot, "three")
            assert contents(app) == ["one", "A", "three", "D"] and not app.prompt.has_class("editing")
            await pilot.press("tab", "up", "left_square_bracket")
            await pilot.pause()
            assert contents(app) == ["one", "A", "two", "C"]
            await pilot.press("r")
            await quiet(app, pilot)
            assert contents(app) == ["one", "A", "two", "D"]
            await pilot.press("escape")
            assert app.prompt.has_focus

    run(test())
    store = ChatStore(path)
    (chat,) = store.chats()
    tree = store.tree(chat.id)
    assert len(tree) == 8 and [node.message.content for node in tree.path(chat.leaf)] == ["one", "A", "two", "D"]
    store.close()


def test_the_pane_of_branches() -> None:
    backend = ScriptedBackend([["A"], ["B"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await send(app, pilot, "one")
            await command(app, pilot, "/retry")
            await pilot.press("f3")
            await pilot.pause()
            assert app.focused and app.focused.id == "branches"
            assert "› one" in screen(app)
            await pilot.press("up", "enter")
            await pilot.pause()
            assert contents(app) == ["one", "A"]
            await pilot.press("escape", "f3")
            await pilot.pause()
            assert app.prompt.has_focus and "› one" not in screen(app)

    run(test())


def test_a_model_that_dies_is_said_and_the_prompt_gets_its_text_back() -> None:
    backend = ScriptedBackend([["half an ", killed()], ["whole"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await send(app, pilot, "Tell me")
            assert "half an" in screen(app) and "the process of the model ended (signal 9)" in screen(app)
            assert "broke off" in screen(app) and app.prompt.text == "Tell me"
            await pilot.press("enter")
            await quiet(app, pilot)
            assert contents(app) == ["Tell me", "whole"] and app.trouble is None
            assert [message.content for message in backend.asked[-1].messages] == ["Tell me"]
            assert len(app.talk.tree) == 4, "the half is kept, beside it"

    run(test())


def test_rating_and_copying_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr(ChatApp, "copy_to_clipboard", lambda self, text: copied.append(text))
    backend = ScriptedBackend([["See:\n\n```\nx = 1\n```\n\nand \x1b[31m"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await send(app, pilot, "code?")
            await pilot.press("tab", "plus")
            assert app.talk.path[1].rating == 1 and "+ good" in screen(app)
            await pilot.press("minus")
            assert app.talk.path[1].rating == -1 and "- bad" in screen(app)
            await pilot.press("minus")
            assert app.talk.path[1].rating == 0
            await pilot.press("c", "C")
            await command(app, pilot, "/copy all")
            assert copied[0].startswith("See:") and "\x1b" not in copied[0]
            assert copied[1] == "x = 1" and copied[2].startswith("# code?")
            await command(app, pilot, "/good")
            assert app.talk.path[1].rating == 1

    run(test())


def test_selected_text_is_copied_by_ctrl_c_and_twice_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr(ChatApp, "copy_to_clipboard", lambda self, text: copied.append(text))
    backend = ScriptedBackend([["first line\n\nsecond 日本 line"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await send(app, pilot, "hi")
            turn = app.transcript.turns[1]
            await pilot.mouse_down(turn, offset=(1, 1))
            await pilot.hover(turn, offset=(14, 3))
            await pilot.mouse_up(turn, offset=(14, 3))
            await pilot.pause()
            await pilot.press("ctrl+c")
            assert copied and copied[0].startswith("first line\n\nsecond"), copied
            await pilot.press("ctrl+c")
            assert app.is_running and "once more leaves" in notices(app)
            await pilot.press("ctrl+c")
            await pilot.pause()
            assert not app.is_running

    run(test())


def test_ctrl_d_leaves_an_empty_prompt_only() -> None:
    async def test() -> None:
        async with opened() as (app, pilot):
            await pilot.press("x", "ctrl+d")
            assert app.is_running
            await pilot.press("backspace", "ctrl+d")
            await pilot.pause()
            assert not app.is_running

    run(test())


def test_settings_by_command_and_in_the_panel() -> None:
    backend = ScriptedBackend()

    async def test() -> None:
        async with opened(backend, (130, 34)) as (app, pilot):
            for line, name, value in (
                ("/temp 0.9", "temperature", 0.9),
                ("/top-k none", "top_k", None),
                ("/top-p 0.5", "top_p", 0.5),
                ("/min-p 0.1", "min_p", 0.1),
                ("/seed 7", "seed", 7),
                ("/max-tokens 33", "max_new_tokens", 33),
                ("/set repeat 1.5", "repetition_penalty", 1.5),
            ):
                await command(app, pilot, line)
                assert getattr(app.talk.config, name) == value, line
            field = app.side.query_one("#set-temperature")
            assert field.value == "0.9"  # type: ignore[attr-defined]
            await command(app, pilot, "/temp hot")
            await command(app, pilot, "/temp -1")
            assert app.talk.config.temperature == 0.9 and "temperature" in notices(app)
            field.value = "0.2"  # type: ignore[attr-defined]
            await pilot.pause()
            assert app.talk.config.temperature == 0.2
            field.value = "x"  # type: ignore[attr-defined]
            await pilot.pause()
            assert app.talk.config.temperature == 0.2 and field.has_class("wrong")
            await command(app, pilot, "/system")
            assert app.focused and app.focused.id == "system"
            await pilot.press(*"Brief")
            await send(app, pilot, "Hi")
            assert backend.asked[0].messages[0].content == "Brief" and backend.asked[0].config.temperature == 0.2
            await command(app, pilot, "/system -")
            assert app.talk.system == ""
            await pilot.press("f2")
            await pilot.pause()
            assert "Sampling" not in screen(app)

    run(test())


def test_the_context_is_counted_and_what_falls_out_is_dimmed() -> None:
    backend = ScriptedBackend([["x" * 90]], limit=256)

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            for text in ("one", "two", "three", "four"):
                await send(app, pilot, text)
            await until(pilot, lambda: app.use and app.use.forgotten)
            assert "256/256 tokens" in screen(app)
            assert [turn.has_class("forgotten") for turn in app.transcript.turns][3:5] == [True, False]
            await command(app, pilot, "/context")
            assert "256 of 256 tokens" in notices(app)

    run(test())


def test_another_model_and_other_conversations(tmp_path: Path) -> None:
    backend = ScriptedBackend([["A"], ["B"]])

    async def test() -> None:
        async with opened(backend, store=tmp_path / "chats.sqlite3") as (app, pilot):
            await send(app, pilot, "apples")
            await command(app, pilot, "/save Fruit")
            await command(app, pilot, "/new")
            assert contents(app) == [] and "Ask something" in screen(app)
            await send(app, pilot, "pears")
            await pilot.press("ctrl+t")
            await pilot.pause()
            await pilot.press(*"fru", "enter")
            await pilot.pause()
            assert contents(app) == ["apples", "A"] and "Fruit" in screen(app)
            await command(app, pilot, "/search pea")
            await pilot.press("enter")
            await pilot.pause()
            assert contents(app) == ["pears", "B"]
            await command(app, pilot, "/model tiny:base@10")
            await until(pilot, lambda: app.loaded and app.loaded.place == "tiny:base@10")
            await command(app, pilot, "/model nobody")
            assert "there is no nobody" in notices(app) and app.loaded
            await pilot.press("ctrl+l")
            await pilot.pause()
            assert "tiny:sft@20" in screen(app)
            await pilot.press("enter")
            await until(pilot, lambda: app.loaded and app.loaded.place == PLACE)
            await pilot.press("ctrl+t", "f2")
            await pilot.pause()
            await pilot.press("end", *" pie", "enter")
            await pilot.pause()
            assert "pears pie" in screen(app)
            await pilot.press("delete", "enter", "escape")
            await pilot.pause()
            assert [chat.title for chat in app.store.chats()] == ["Fruit"]
            assert contents(app) == [], "the one that was shown is gone"

    run(test())


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("line\n" * 100)

    async def test() -> None:
        async with opened() as (app, pilot):
            await command(app, pilot, "/read note.txt")
            assert app.prompt.text == "[read note.txt 101 lines #1]"
            await pilot.press("enter")
            await quiet(app, pilot)
            assert contents(app)[0] == ("line\n" * 100).strip("\n")
            await command(app, pilot, "/export md")
            await command(app, pilot, "/export json out.json")
            assert "line" in (tmp_path / "chat-1.md").read_text() and (tmp_path / "out.json").exists()
            await command(app, pilot, "/import out.json")
            assert len(app.store.chats()) == 2
            await command(app, pilot, "/read nothing.txt")
            await command(app, pilot, "/export pdf")
            assert "No such file" in notices(app) and "no format 'pdf'" in notices(app)

    run(test())


def test_a_base_model_goes_on_with_text() -> None:
    backend = ScriptedBackend([[" sat on the mat."], [" The end."]], place="tiny:base@20")

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            assert app.talk.kind == "plain" and "plain text" in screen(app)
            await send(app, pilot, "The cat")
            await send(app, pilot, " And then?")
            assert [question.text for question in backend.asked] == ["The cat", "The cat sat on the mat. And then?"]
            await command(app, pilot, "/bpb")
            await until(pilot, lambda: "bits per byte" in notices(app))
            await command(app, pilot, "/new chat")
            await send(app, pilot, "Hi")
            assert backend.asked[-1].messages[0].content == "Hi"

    run(test())


def test_every_command_and_key_does_something() -> None:
    own = {"temp", "top-k", "top-p", "min-p", "seed", "max-tokens"}
    for each in COMMANDS:
        assert each.name in own or hasattr(ChatApp, "do_" + each.name.replace("-", "_")), each.name
        assert not each.help.endswith(".") and each.usage.startswith("/" + each.name)
    for key in KEYS:
        name = "action_" + key.does.partition("(")[0]
        assert hasattr(ChatApp, name) or hasattr(Prompt, name), key.id
    assert [key.id for key in KEYS] == list(ChatKeysConfig.__dataclass_fields__)
    assert ChatKeysConfig(stop="ctrl+x").chosen == {"stop": "ctrl+x"}


def test_every_command_runs_with_and_without_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them breaks, in an empty conversation or in one of a turn."""
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        async with opened() as (app, pilot):
            for words in ("", " nonsense words"):
                for each in COMMANDS:
                    if each.name in ("quit", "compare", "sample", "logprobs"):
                        continue
                    await app.take_prompt(f"/{each.name}{words}")
                    if len(app.screen_stack) > 1:
                        await pilot.pause()
                        await app.pop_screen()
                if not words:
                    await send(app, pilot, "Hi")
            await quiet(app, pilot)
            assert app.is_running
            await command(app, pilot, "/nonsense")
            await command(app, pilot, "/thme")
            assert "there is no /nonsense" in notices(app) and "did you mean /theme?" in notices(app)
            await command(app, pilot, "quit")
            assert not app.is_running

    run(test())


def test_the_tool_is_said_and_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def weak() -> None:
        raise MissingError("isolation is weak", "docs/sandbox.md")

    monkeypatch.setattr("nanochat.runtime.sandbox.run.require_isolation", weak)
    backend = ScriptedBackend([["It is ", ("6*7", "42"), "."]])
    compared: list[ScriptedBackend] = []
    looked = threading.Event()

    def another(name: str) -> ScriptedBackend:
        compared.append(ScriptedBackend(place=name))
        return compared[-1]

    async def test() -> None:
        async with opened(backend, (130, 30), another=another) as (app, pilot):
            await command(app, pilot, "/tool")
            assert "tool: calculator (sums and counts letters); /tool takes calculator" in notices(app)
            assert "tool: calculator" in screen(app).replace(notices(app), "")
            await command(app, pilot, "/tool python")
            await until(pilot, lambda: "isolation is weak" in notices(app))
            await command(app, pilot, "/tool hammer")
            assert backend.tool == "calculator" and "there is no tool 'hammer'" in notices(app)
            await command(app, pilot, "/tool off")
            assert backend.tool == "none" and "may call: none" in notices(app)
            monkeypatch.setattr("nanochat.runtime.sandbox.run.require_isolation", lambda: looked.wait(10))
            await command(app, pilot, "/tool python")
            await command(app, pilot, "/tool none")
            looked.set()
            await app.workers.wait_for_complete()
            assert backend.tool == "none", "what was wanted last"
            await send(app, pilot, "6*7?")
            await command(app, pilot, "/tool open")
            assert "expression" in screen(app)
            await command(app, pilot, "/tool fold")
            assert "expression" not in screen(app)
            await command(app, pilot, "/compare tiny:base@10")
            assert [each.tool for each in compared] == ["none"]

    async def elsewhere() -> None:
        async with opened(ScriptedBackend(local=False), unsafe_exec=True) as (app, pilot):
            await command(app, pilot, "/tool")
            await command(app, pilot, "/tool python")
            assert "the server's business" in notices(app) and "calls no tools of this chat" in notices(app)

    run(test())
    run(elsewhere())


def test_a_theme_is_remembered_unless_the_configuration_has_one(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"

    async def test() -> None:
        async with opened(store=path) as (app, pilot):
            assert app.theme == "dark"
            await command(app, pilot, "/theme")
            await command(app, pilot, "/theme nothing")
            assert app.theme == "light" and "there is no theme 'nothing'" in notices(app)
        async with opened(store=path) as (app, pilot):
            assert app.theme == "light" and app.screen.styles.background.brightness > 0.5
            app.store.remember("theme", "gone")
        async with opened(store=path) as (app, pilot):
            assert app.theme == "dark"
        async with opened(store=path, theme="nord") as (app, pilot):
            assert app.theme == "nord"
            await command(app, pilot, "/theme light")
            assert "the configuration says theme = 'nord'" in notices(app)
            assert app.store.setting("theme") == "gone", "what was chosen before is for when it says nothing"

    run(test())


def test_the_first_frame_reads_the_style_sheet_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    once = Stylesheet.reparse
    monkeypatch.setattr(Stylesheet, "reparse", lambda self: (read.append(1), once(self))[1])

    async def test() -> None:
        async with opened(theme="light") as (app, pilot):
            await pilot.pause()
            assert not read and app.screen.styles.background.brightness > 0.5 and "Ask something" in screen(app)
            await command(app, pilot, "/theme dark")
            await pilot.pause()
            assert read and app.screen.styles.background.brightness < 0.5

    run(test())


def test_every_key_reaches_its_action() -> None:
    done: list[str] = []

    def note(id: str) -> Callable[..., None]:
        return lambda *_: done.append(id)

    async def test() -> None:
        async with opened() as (app, pilot):
            await send(app, pilot, "Hi")
            for key in KEYS:
                name = "action_" + key.does.partition("(")[0]
                place = app.prompt if key.where == "prompt" else app
                setattr(place, name, note(key.id))
                for one in key.keys.split(","):
                    (app.transcript.turns[1] if key.where == "message" else app.prompt).focus()
                    await pilot.pause()
                    done.clear()
                    await pilot.press(one)
                    await pilot.pause()
                    assert done == [key.id], (key.id, one, done)
                delattr(place, name)

    run(test())


def test_keys_are_remapped() -> None:
    async def test() -> None:
        async with opened(keymap={"help": "f9", "send": "f8", "newline": "enter"}) as (app, pilot):
            await pilot.press("f9")
            await pilot.pause()
            assert "Commands" in screen(app) and len(app.screen_stack) == 2
            await pilot.press("escape")
            await pilot.press("a", "enter", "b", "f8")
            await quiet(app, pilot)
            assert contents(app)[0] == "a\nb"

    run(test())


def test_an_unusable_store_does_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    path.write_bytes(b"no data base at all, for sure" * 100)

    async def test() -> None:
        async with opened(store=path) as (app, pilot):
            await send(app, pilot, "Hi")
            assert contents(app) == ["Hi", "Hello"] and "conversations are not kept" in notices(app)

    run(test())


def test_foreign_text_does_not_act() -> None:
    evil = "[bold red]loud[/] [@click=app.quit]go[/] \x1b[31mred\x1b]0;title\x07 \u202eback [/nothing]"
    backend = ScriptedBackend([[evil, (evil, evil), evil]], names=(evil,), place=evil)

    async def test() -> None:
        async with opened(backend, (120, 40), system=evil) as (app, pilot):
            await send(app, pilot, evil)
            await command(app, pilot, "/tool open")
            for line in ("/tree", "/side", "/stats", "/model", "/load", "/search loud", "/logprobs"):
                await command(app, pilot, line)
                text = screen(app)
                assert not {"\x1b", "\x07", "\u202e"} & set(text), line
                assert "[@click=app.quit]go[/]" in text or "[bold red]" in text, line
                while len(app.screen_stack) > 1:
                    await app.pop_screen()
            assert app.is_running

    run(test())


def test_no_size_breaks_it() -> None:
    backend = ScriptedBackend([["Some *text*.\n\n```python\nprint(1)\n```\n日本語 🦊 שלום"]])

    async def test() -> None:
        async with opened(backend, (80, 24), config=SamplingConfig(seed=1)) as (app, pilot):
            await send(app, pilot, "Hi")
            await pilot.press("f2", "f3")
            for size in ((1, 1), (10, 3), (20, 8), (60, 20), (300, 60), (400, 12)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
            assert app.is_running and "print(1)" in screen(app)

    run(test())


def test_the_handbook_names_every_command_and_key() -> None:
    page = (Path(__file__).parents[3] / "docs" / "chat-screen.md").read_text(encoding="utf-8")
    for each in COMMANDS:
        usage = each.usage.replace("|", "\\|")
        assert f"| `{usage}` | {each.help} |\n" in page, each.name
    for key in KEYS:
        keys = ", ".join(f"`{key_name(one)}`" for one in key.keys.split(","))
        assert f"| `{key.id}` | {keys} | {key.where} | {key.help} |\n" in page, key.id


def test_a_long_conversation_opens_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    number = long_chat(path, 35)

    async def test() -> None:
        async with opened(store=path) as (app, pilot):
            await app.opened(number)
            await pilot.pause()
            assert len(app.transcript.turns) == SHOWN and "answer 34" in screen(app)
            app.transcript.scroll_home(animate=False)
            await pilot.pause()
            assert "10 earlier messages" in screen(app)
            await pilot.click("#earlier")
            await until(pilot, lambda: len(app.transcript.turns) == 70)

    run(test())
