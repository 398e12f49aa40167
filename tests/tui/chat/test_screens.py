"""The screens over the conversation: samples, side by side, token by token, help, palette."""

from __future__ import annotations

from pathlib import Path

from chat_pilot import command, contents, notices, opened, quiet, run, screen, send, until
from scripted_chat import PLACE, ScriptedBackend, collected, killed, token
from textual.widgets import OptionList, Static

from nanochat.engine.events import Tokens
from nanochat.tui.chat.compare import Compare, choice
from nanochat.tui.chat.microscope import Microscope, candidate_line, heat, share
from nanochat.tui.chat.samples import Samples


def test_the_best_of_some_samples_is_picked_and_all_are_kept() -> None:
    backend = ScriptedBackend([["first"], ["answer {sample}"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await command(app, pilot, "/sample")
            assert "nothing was asked yet" in notices(app)
            await send(app, pilot, "Pick")
            await command(app, pilot, "/sample 3")
            assert isinstance(app.screen, Samples)
            await until(pilot, lambda: "answer 3" in screen(app))
            assert backend.asked[-1].samples == 3
            await pilot.press("9")
            await pilot.press("2")
            await pilot.pause()
            assert contents(app) == ["Pick", "answer 2"]
            answers = [(node.message.content, node.rating) for node in app.talk.tree.children(app.talk.path[0].id)]
            assert answers == [("first", 0), ("answer 1", 0), ("answer 2", 1), ("answer 3", 0)]
            await command(app, pilot, "/sample 99")
            assert "99 answers cannot be shown" in notices(app)
            await pilot.press("f5")
            await pilot.pause()
            await until(pilot, lambda: "answer 4" in screen(app))
            await pilot.press("tab", "enter")
            await pilot.pause()
            assert len(app.talk.tree) == 9
            await pilot.press("e")
            assert app.prompt.has_focus and app.prompt.text == "e", "what is typed next is the next question"

    run(test())


def test_samples_are_stopped_left_and_fail() -> None:
    backend = ScriptedBackend([["first"], ["never"]])

    async def test() -> None:
        async with opened(backend) as (app, pilot):
            await send(app, pilot, "Pick")
            backend.free.clear()
            await command(app, pilot, "/sample 2")
            await pilot.press("1")
            assert isinstance(app.screen, Samples), "it is not whole"
            await pilot.press("escape")
            await pilot.pause()
            assert contents(app) == ["Pick", "first"] and len(app.talk.tree) == 2
            backend.free.set()
            backend.answers = [[killed()]]
            await command(app, pilot, "/sample 2")
            await until(pilot, lambda: "signal 9" in screen(app))

    run(test())


def test_side_by_side_along_the_checkpoints() -> None:
    made: list[ScriptedBackend] = []
    another = collected(made)

    async def test() -> None:
        async with opened(ScriptedBackend([["A"]]), (120, 30), another=another) as (app, pilot):
            await send(app, pilot, "Who?")
            await pilot.press("f4")
            await until(pilot, lambda: isinstance(app.screen, Compare))
            await until(pilot, lambda: screen(app).count("said") == 2)
            assert [backend.place for backend in made] == ["tiny:base@20", PLACE], "the end of each stage"
            assert made[0].asked[0].messages[0].content == "Who?"
            await pilot.press("left_square_bracket")
            await until(pilot, lambda: made[0].place == "tiny:base@10")
            await until(pilot, lambda: "tiny:base@10" in screen(app) and len(made[0].asked) == 2)
            await pilot.press("left_square_bracket", "a", "s")
            await until(pilot, lambda: len(made[1].asked) == 2)
            await until(pilot, lambda: screen(app).count("1 token") == 2)
            await pilot.press("tab", "enter")
            await pilot.pause()
            assert contents(app) == ["Who?", "said"] and app.talk.path[1].model == PLACE
            assert app.talk.path[1].rating == 1 and all(backend.closed for backend in made)
            assert app.prompt.has_focus

    run(test())


def test_a_pane_follows_a_run_in_training(monkeypatch: object) -> None:
    import pytest

    patch = pytest.MonkeyPatch()
    patch.setattr("nanochat.tui.chat.compare.FOLLOW_S", 0.1)
    made: list[ScriptedBackend] = []
    another = collected(made)

    async def test() -> None:
        async with opened(ScriptedBackend([["A"]]), (120, 30), another=another) as (app, pilot):
            await send(app, pilot, "Who?")
            await command(app, pilot, "/compare tiny:sft@10 tiny:base@10")
            await until(pilot, lambda: screen(app).count("1 token") == 2)
            for backend in made:
                backend.names = (*backend.names, "tiny:sft@30")
            await pilot.press("f")
            await until(pilot, lambda: "tiny:sft@30" in screen(app))
            assert "following" in screen(app)
            await pilot.press("escape")

    try:
        run(test())
    finally:
        patch.undo()


def test_what_is_compared_where_nobody_says() -> None:
    steps = [f"d4:base@{step}" for step in range(10, 110, 10)]
    assert choice(steps, "d4:base@100") == ["d4:base@10", "d4:base@40", "d4:base@70", "d4:base@100"]
    assert choice([*steps, "d4:mid@5", "d4:sft@7", "d5:sft@9"], "d4:sft@7") == ["d4:base@100", "d4:mid@5", "d4:sft@7"]
    assert choice(["a", "b"], "a") == ["a", "b"] and choice([], "x") == []


def test_the_microscope_forks_at_a_token() -> None:
    told = (token("The", 0, 3), token(" sky", 1, 3), token("\n\nis", 2, 3), token(" [blue]", 6, 3))
    text = "".join(each.text for each in told)
    backend = ScriptedBackend([[text, Tokens(told)], ["The other"]])

    async def test() -> None:
        async with opened(backend, (110, 26)) as (app, pilot):
            await send(app, pilot, "Sky?")
            await pilot.press("f6")
            await until(pilot, lambda: isinstance(app.screen, Microscope) and "token 1 of" in screen(app))
            assert "[blue]" in screen(app) and "100.0%" in screen(app)
            tokens = app.screen.tokens  # type: ignore[attr-defined]
            assert tokens[-4:] == told
            await pilot.press("end", "left", "left")
            await pilot.pause()
            place = len(tokens) - 2
            assert f"token {place} of {len(tokens)}" in screen(app) and "␣other0" in screen(app)
            await pilot.press("shift+right")
            await pilot.pause()
            assert f"token {len(tokens)} of" in screen(app), "the next one below a half"
            await pilot.press("left", "down", "enter")
            await quiet(app, pilot)
            ids = [each.id for each in tokens]
            assert backend.asked[-1].prefix == (*ids[:place], 1001)
            assert contents(app) == ["Sky?", "The other"] and len(app.talk.tree) == 3

    run(test())


def test_the_microscope_asks_where_nothing_was_told(tmp_path: Path) -> None:
    path = tmp_path / "chats.sqlite3"

    async def test() -> None:
        async with opened(ScriptedBackend([["The sky is blue"]]), store=path) as (app, pilot):
            await send(app, pilot, "Sky?")
        async with opened(ScriptedBackend(), (110, 26), store=path) as (app, pilot):
            await app.opened(app.store.chats()[0].id)
            await command(app, pilot, "/logprobs")
            await until(pilot, lambda: "token 1 of 4" in screen(app))
            assert "bits per byte" in screen(app)
            assert app.screen.query_one("#others", OptionList).option_count == 10
            await pilot.press("q")
        async with opened(ScriptedBackend(local=False), store=path) as (app, pilot):
            await app.opened(app.store.chats()[0].id)
            await command(app, pilot, "/logprobs")
            assert "other servers do not tell" in notices(app)

    run(test())


def test_heat_marks_forced_and_special_tokens() -> None:
    from dataclasses import replace

    tokens = (
        token("sure", 0),
        replace(token("tool", 1), forced=True),
        replace(token("<|end|>", 2), special=True),
        token("no", 9),
    )
    text, line = heat(tokens, 0, dark=True, special=True)
    assert text.plain == "suretool⟨<|end|>⟩no" and line == 0
    assert [bool(span.style.dim) for span in text.spans] == [False, True, True, False]  # type: ignore[union-attr]
    assert text.spans[3].style.bgcolor  # type: ignore[union-attr]
    assert heat(tokens, 3, dark=False, special=False)[0].plain == "suretoolno"
    assert heat((token("a\n\nb"), token("c", 1)), 1, dark=True, special=False)[1] == 2
    assert [share(value) for value in (1, 0.5, 0.0021, 1e-9)] == ["100.0%", "50.0%", "0.21%", "0.00%"]
    assert "“␣other0”" in candidate_line(token("x", 0, 1).top[0], token("x")).plain


def test_help_and_palette() -> None:
    async def test() -> None:
        async with opened(size=(120, 40), keymap={"samples": "f8"}) as (app, pilot):
            await pilot.press("f1")
            await pilot.pause()
            text = app.screen.query_one(Static).content.plain  # type: ignore[union-attr]
            assert (
                "/logprobs" in text and "Shift+Enter, Alt+Enter, Ctrl+J" in text and "F8" in text and "F5" not in text
            )
            await pilot.press("escape")
            await pilot.press("ctrl+p")
            await pilot.pause(0.3)
            await pilot.press(*"stats")
            await pilot.pause(0.5)
            assert "/stats" in screen(app)
            await pilot.press("escape", "escape")

    run(test())
