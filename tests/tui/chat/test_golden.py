"""What the main screens look like, at two sizes: the whole text of each, to be read when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_pilot import command, opened, run, screen, send, until
from scripted_chat import ScriptedBackend, token
from textual.pilot import Pilot

from nanochat.engine.events import Tokens
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


def compare(name: str, app: ChatApp, request: pytest.FixtureRequest) -> None:
    file, text = GOLDEN / f"{name}.txt", screen(app)
    if request.config.getoption("--update-golden", default=False):
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"{file.name} is not there; make it with pytest --update-golden"
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_screens(size: tuple[int, int], request: pytest.FixtureRequest) -> None:
    name = f"{size[0]}x{size[1]}"

    async def back(app: ChatApp, pilot: Pilot[None]) -> None:
        await pilot.press("escape")
        await pilot.pause()

    async def test() -> None:
        async with opened(backend(), size) as (app, pilot):
            await pilot.pause()
            compare(f"welcome-{name}", app, request)
            await send(app, pilot, "Why is the sky blue?")
            await command(app, pilot, "/retry")
            await pilot.press("f3", "escape", *"/t")
            await pilot.pause()
            compare(f"conversation-{name}", app, request)
            app.prompt.clear_all()
            await pilot.press("f3", "f6")
            await until(pilot, lambda: "token 1 of" in screen(app))
            await pilot.press("right", "right")
            await pilot.pause()
            compare(f"tokens-{name}", app, request)
            await back(app, pilot)
            await pilot.press("f5")
            await until(pilot, lambda: screen(app).count("tok/s") >= 4 or size[0] < 100)
            await pilot.pause(0.2)
            compare(f"samples-{name}", app, request)
            await back(app, pilot)
            await pilot.press("f4")
            await until(pilot, lambda: screen(app).count("1 token") == 2)
            compare(f"compare-{name}", app, request)
            await back(app, pilot)
            await pilot.press("f1")
            await pilot.pause()
            compare(f"help-{name}", app, request)

    run(test())
