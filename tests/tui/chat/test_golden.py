"""What the main screens look like, at two sizes: the whole text of each and its picture, to be read when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_pilot import command, opened, run, screen, send, until
from scripted_chat import ScriptedBackend, token
from svg_screens import picture
from textual.pilot import Pilot
from textual.widgets import TextArea

from nanochat.engine.events import Tokens
from nanochat.errors import MissingError
from nanochat.tui.chat.app import ChatApp

GOLDEN = Path(__file__).parents[2] / "golden" / "chat"
ANSWER = """The sky is **blue** because air scatters short waves more.

1. Light comes in.
2. Blue goes *everywhere*.

```python
def scattering(wavelength):
    return wavelength ** -4
```

| colour | share |
|---|---|
| blue | 9 |
| red | 1 |
"""
TOLD = tuple(token(word, at % 7, 5) for at, word in enumerate(["The", " sky", " is", " blue", ".\n", "日本", " 🦊"]))
SIZES = [(72, 24), (140, 40)]


def backend() -> ScriptedBackend:
    return ScriptedBackend([[ANSWER, ("700/450", "1.5556"), "So it is."], ["No, it is grey.\n", Tokens(TOLD)]])


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing blinks, and there are colours."""
    monkeypatch.setattr(TextArea, "cursor_blink", False)
    monkeypatch.delenv("NO_COLOR", raising=False)


async def compare(name: str, app: ChatApp, pilot: Pilot[None], request: pytest.FixtureRequest) -> None:
    """Text and picture are those of the golden files; nothing in them goes away by itself."""
    await until(pilot, lambda: all(worker.is_finished for worker in app.workers))
    app.clear_notifications()
    await pilot.pause()
    for file, shown in ((f"{name}.txt", screen(app)), (f"{name}.svg", picture(app))):
        path = GOLDEN / file
        if request.config.getoption("--update-golden", default=False):
            path.write_text(shown, encoding="utf-8")
        assert path.exists(), f"{file} is not there; make it with pytest --update-golden"
        assert shown == path.read_text(encoding="utf-8"), file


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_screens(size: tuple[int, int], request: pytest.FixtureRequest) -> None:

    async def test() -> None:
        async with opened(backend(), size) as (app, pilot):

            async def is_golden(name: str) -> None:
                await compare(f"{name}-{size[0]}x{size[1]}", app, pilot, request)

            async def back() -> None:
                await pilot.press("escape")
                await pilot.pause()

            await pilot.pause()
            await is_golden("welcome")
            await send(app, pilot, "Why is the sky blue?")
            await is_golden("answer")
            await command(app, pilot, "/retry")
            await pilot.press("f3", "escape", *"/t")
            await pilot.pause()
            await is_golden("conversation")
            app.prompt.clear_all()
            await pilot.press("f3", "f6")
            await until(pilot, lambda: "token 1 of" in screen(app))
            await pilot.press("right", "right")
            await pilot.pause()
            await is_golden("tokens")
            await back()
            await pilot.press("f5")
            await until(pilot, lambda: screen(app).count("tok/s") >= 4 or size[0] < 100)
            await pilot.pause(0.2)
            await is_golden("samples")
            await back()
            await pilot.press("f4")
            await until(pilot, lambda: screen(app).count("1 token") == 2)
            await is_golden("compare")
            await back()
            await pilot.press("f1")
            await pilot.pause()
            await is_golden("help")

    run(test())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_there_is_no_model(size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    trouble = MissingError("there is no model in /models yet", "nanochat speedrun pocket")

    async def test() -> None:
        async with opened(ScriptedBackend(trouble=trouble, place="the newest model"), size, theme="light") as (
            app,
            pilot,
        ):
            await until(pilot, lambda: app.trouble)
            await compare(f"no-model-{size[0]}x{size[1]}", app, pilot, request)

    run(test())
