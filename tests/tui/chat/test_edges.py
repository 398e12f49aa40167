"""What people type and open that nobody thought of: paths, slashes, editors, names without a step, long texts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chat_pilot import command, contents, long_chat, notices, opened, run, screen, send, until
from scripted_chat import PLACE, ScriptedBackend, collected

from nanochat.chats.store import ChatStore
from nanochat.commands import chat_screen, watch
from nanochat.config.chat import ChatConfig
from nanochat.config.load import Origin
from nanochat.errors import UsageError
from nanochat.runtime.paths import Paths
from nanochat.tokenizer.conversation import Message
from nanochat.tui.chat.app import ChatApp
from nanochat.tui.chat.compare import Compare
from nanochat.tui.chat.conversing import MAX_READ_BYTES
from nanochat.tui.chat.samples import Samples
from nanochat.tui.watch.app import WatchApp


def test_a_user_whom_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        async with opened() as (app, pilot):
            await send(app, pilot, "Hi")
            await pilot.press(*"/read ~nobody7")
            await pilot.pause()
            assert app.is_running and app.prompt.text == "/read ~nobody7"
            app.prompt.put("")
            await command(app, pilot, "/read ~nobody7/x")
            await command(app, pilot, "/export md ~nobody7")
            assert (tmp_path / "~nobody7").exists()
            assert app.is_running and "~nobody7/x: No such file" in notices(app)

    run(test())


def test_an_export_overwrites_nothing_and_takes_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.md").write_text("mine")

    async def test() -> None:
        async with opened(ScriptedBackend([["half \ud83d"]])) as (app, pilot):
            await send(app, pilot, "Hi")
            await command(app, pilot, "/export md mine.md")
            assert (tmp_path / "mine.md").read_text() == "mine" and "mine.md exists already" in notices(app)
            await command(app, pilot, "/export md it's mine.md")
            assert "half ?" in (tmp_path / "it's mine.md").read_text(encoding="utf-8")

    run(test())


@pytest.mark.parametrize("editor", ["vi 'broken", "  "])
def test_an_editor_that_is_no_command(editor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor)
    started: list[list[str]] = []
    monkeypatch.setattr(ChatApp, "run_editor", lambda self, words: started.append(words) or 1)

    async def test() -> None:
        async with opened() as (app, pilot):
            await pilot.press("ctrl+o")
            assert app.is_running
            assert started[0][0] == "vi" if started else "is no command: No closing quotation" in notices(app)

    run(test())


def test_a_question_that_begins_with_a_slash() -> None:
    async def test() -> None:
        async with opened() as (app, pilot):
            await send(app, pilot, "/etc/fstab has which columns?")
            assert contents(app) == ["/etc/fstab has which columns?", "Hello"]
            await send(app, pilot, "/sytem a long text that was hard to write")
            assert len(contents(app)) == 2 and app.prompt.text == "/sytem a long text that was hard to write"
            assert "did you mean /system?" in notices(app)

    run(test())


def test_enter_before_the_list_of_completions_is_gone() -> None:
    async def test() -> None:
        async with opened() as (app, pilot):
            await pilot.press(*"/max-tokens")
            await pilot.pause()
            assert app.prompt.completing
            app.prompt.insert(" 77")
            app.prompt.action_send()
            await pilot.pause()
            assert app.talk.config.max_new_tokens == 77 and app.prompt.text == ""

    run(test())


def test_from_a_base_model_to_one_that_converses() -> None:
    backend = ScriptedBackend([["A"]], place="tiny:base@20")

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            assert app.talk.kind == "plain"
            await command(app, pilot, f"/model {PLACE}")
            await until(pilot, lambda: app.loaded)
            assert app.talk.kind == "chat" and "plain text" not in screen(app)
            await send(app, pilot, "Hi")
            assert backend.asked[-1].messages[0].content == "Hi"
            await command(app, pilot, "/new plain")
            await command(app, pilot, "/model tiny:sft@10")
            await until(pilot, lambda: app.loaded)
            assert app.talk.kind == "plain", "somebody wanted it"

    run(test())


def test_names_without_a_step_move_along_the_checkpoints() -> None:
    made: list[ScriptedBackend] = []
    another = collected(made)

    async def test() -> None:
        async with opened(ScriptedBackend([["A"]]), (120, 30), another=another) as (app, pilot):
            await send(app, pilot, "Who?")
            await command(app, pilot, "/compare tiny:base tiny other")
            await until(pilot, lambda: isinstance(app.screen, Compare))
            assert [backend.place for backend in made] == ["tiny:base@20", PLACE, "other"]
            await pilot.press("left_square_bracket")
            await until(pilot, lambda: made[0].place == "tiny:base@10")
            await pilot.press("escape")

    run(test())


def test_samples_that_were_cut_off_are_not_kept() -> None:
    class Half(ScriptedBackend):
        def ask(self, question: Any) -> Any:
            reply = super().ask(question)
            if question.samples == 1:
                return reply
            one = reply._one

            def cut(sample: int) -> Any:
                if sample:
                    reply.stop()
                yield from one(sample)

            reply._one = cut  # type: ignore[method-assign]
            return reply

    async def test() -> None:
        async with opened(Half([["first"], ["answer {sample}"]])) as (app, pilot):
            await send(app, pilot, "Pick")
            await command(app, pilot, "/sample 3")
            await until(pilot, lambda: isinstance(app.screen, Samples) and all(p.end for p in app.screen._panes))
            await pilot.press("1")
            await pilot.pause()
            answers = [node.message.content for node in app.talk.tree.children(app.talk.path[0].id)]
            assert answers == ["first", "answer 1"]

    run(test())


def test_what_is_no_longer_sent_is_dimmed_in_a_long_conversation(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    number = long_chat(path, 35)

    async def test() -> None:
        async with opened(ScriptedBackend(local=False), store=path) as (app, pilot):
            await app.opened(number)
            await pilot.pause()
            for turns, dimmed in ((5, 0), (6, 2), (0, 0)):  # ten messages are not shown
                app.transcript.forget(turns)
                assert sum(turn.has_class("forgotten") for turn in app.transcript.turns) == dimmed, turns
            await app.transcript.show_all(app.talk)
            app.transcript.forget(6)
            assert sum(turn.has_class("forgotten") for turn in app.transcript.turns) == 12

    run(test())


def test_new_conversations_have_the_usual_system_prompt(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"
    store = ChatStore(path)
    store.add(store.create(system="Theirs").id, None, Message.text("user", "old"))
    store.close()

    async def test() -> None:
        async with opened(ScriptedBackend(), system="Mine", store=path) as (app, pilot):
            await app.opened(1)
            assert app.talk.system == "Theirs"
            await command(app, pilot, "/new")
            assert app.talk.system == "Mine"
            await command(app, pilot, "/system Other")
            await command(app, pilot, "/new")
            assert app.talk.system == "Other"

    run(test())


def test_a_large_export_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "x" * (MAX_READ_BYTES + 1)
    (tmp_path / "large.json").write_text(json.dumps({"messages": [{"role": "user", "content": text}]}))

    async def test() -> None:
        async with opened() as (app, pilot):
            await command(app, pilot, "/read large.json")
            assert "is larger than 1,000 kB" in notices(app)
            await app.take_prompt("/import large.json")
            assert len(contents(app)[0]) == len(text)

    run(test())


@pytest.mark.parametrize("model", ["d12:sftt@650", "d12@650", "d 12"])
def test_a_selector_that_cannot_be_read_opens_no_screen(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(app: Any) -> None:
        raise AssertionError("a screen was opened")

    monkeypatch.setattr(ChatApp, "run", never)
    with pytest.raises(UsageError) as caught:
        chat_screen.open_screen(Paths(base=tmp_path, cache=tmp_path), model, ChatConfig(), None)
    assert caught.value.exit_code == 2


def test_what_else_is_wrong_with_a_model_is_for_the_loader(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("no folder", encoding="utf-8")
    assert chat_screen._place(Paths(base=tmp_path, cache=tmp_path), "d12:sft@650") == "d12:sft@650"


@pytest.mark.parametrize("code", [0, 1])
def test_a_screen_that_broke_is_no_success(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(app: Any) -> None:
        app._return_code = code

    for screen_ in (ChatApp, WatchApp):
        monkeypatch.setattr(screen_, "run", broken)
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(watch, "sys", SimpleNamespace(stdin=terminal, stdout=terminal))
    monkeypatch.setattr(watch, "_find", lambda paths, model: SimpleNamespace(folder=tmp_path))
    monkeypatch.setattr(chat_screen, "current_settings", dict)
    monkeypatch.setattr(
        chat_screen,
        "build",
        lambda kind, *_: SimpleNamespace(
            value=kind(), origins=dict.fromkeys(kind.__dataclass_fields__, Origin("default"))
        ),
    )
    monkeypatch.setenv("TERM", "xterm")
    paths = SimpleNamespace(base=tmp_path, models=tmp_path)
    for work in (
        lambda: chat_screen.open_screen(paths, None, ChatConfig(), lambda name: ScriptedBackend()),  # type: ignore[arg-type,return-value]
        lambda: watch.watch.main(["--base-dir", str(tmp_path)], standalone_mode=False),
    ):
        try:
            work()
        except SystemExit as ended:
            assert code and ended.code == code
        else:
            assert not code
