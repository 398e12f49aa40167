"""What the screen looks like and listens to elsewhere: few colours or none, narrow and wide, other scripts, the mouse,
the clipboard.
"""

from __future__ import annotations

import base64
import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from chat_pilot import command, contents, notices, opened, quiet, run, screen, send, until
from scripted_chat import ScriptedBackend
from svg_screens import picture

from nanochat.tui.chat.app import ChatApp
from nanochat.tui.chat.clipboard import copy

REPOSITORY = Path(__file__).parents[3]
ANSWER = (
    "Some *text*, `code` and http://evil.example\n\n```python\nprint('x')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)
SCRIPTS = "日本語の文章です。漢字かな交じり文。 👩‍🚀🦊 שלום עולם مرحبا بالعالم e\u0301tude"


def colours(app: ChatApp) -> set[str]:
    return set(re.findall(r'fill="(#\w{6})"', picture(app)))


def test_no_color_leaves_greys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with opened(ScriptedBackend([[ANSWER, ("1+1", "2")]]), (120, 30)) as (app, pilot):
            await send(app, pilot, "Hi")
            await pilot.press("f3")
            await pilot.pause()
            found.append({colour for colour in colours(app) if len({colour[1:3], colour[3:5], colour[5:]}) > 1})

    found: list[set[str]] = []
    run(test())
    monkeypatch.setenv("NO_COLOR", "1")
    run(test())
    assert found[0] and not found[1], found


def first_frame(base: Path, **environ: str) -> bytes:
    """What the command writes to a terminal until its screen is there."""
    pid, terminal = pty.fork()
    if pid == 0:
        kept = {name: value for name, value in os.environ.items() if name not in ("COLORTERM", "NO_COLOR", "TMUX")}
        paths = {"NANOCHAT_BASE_DIR": str(base), "PYTHONPATH": str(REPOSITORY / "src")}
        os.chdir(base)
        os.execve(sys.executable, [sys.executable, "-m", "nanochat", "chat"], {**kept, **paths, **environ})
    seen, deadline = b"", time.monotonic() + 60
    try:
        while b"an edit is a branch" not in seen and b"every edit" not in seen:
            assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], seen
            seen += os.read(terminal, 65536)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return seen


def test_a_terminal_of_sixteen_colours_gets_no_others(tmp_path: Path) -> None:
    seen = first_frame(tmp_path, TERM="xterm")
    codes = {int(code) for found in re.findall(rb"\x1b\[([\d;]*)m", seen) for code in found.split(b";") if code}
    assert codes and codes <= {0, *range(1, 10), *range(30, 38), *range(40, 48), *range(90, 98), *range(100, 108)}
    assert codes & set(range(30, 108)), "and it does get colours"


@pytest.mark.parametrize("name", ["ansi-dark", "ansi-light"])
def test_the_sixteen_colours_of_the_terminal(name: str) -> None:
    async def test() -> None:
        async with opened(ScriptedBackend([[ANSWER, ("1+1", "2")]]), (90, 30), theme=name) as (app, pilot):
            await send(app, pilot, "Hi")
            assert app.theme == name and app.native_ansi_color
            strips = app.screen._compositor.render_strips()
            styles = [segment.style for strip in strips for segment in strip if segment.style]
            used = [colour for style in styles for colour in (style.color, style.bgcolor) if colour is not None]
            own = {colour.name for colour in used if not (colour.is_default or colour.is_system_defined)}
            assert used and not own, own

    run(test())


@pytest.mark.parametrize("width", [60, 300])
def test_narrow_wide_and_other_scripts(width: int) -> None:
    backend = ScriptedBackend([[f"{SCRIPTS}\n\n- {SCRIPTS * 4}\n\n```\n{SCRIPTS}\n```\n", (SCRIPTS, SCRIPTS)]])

    async def test() -> None:
        async with opened(backend, (width, 40)) as (app, pilot):
            await send(app, pilot, SCRIPTS)
            for key in ("", "f2", "f3"):
                await pilot.press(*filter(None, [key]))
                await pilot.pause()
                strips = app.screen._compositor.render_strips()
                assert {strip.cell_length for strip in strips} == {width}, key
                if key and width < 100:  # the panes leave it little room
                    continue
                shown = "".join("".join(segment.text for segment in strip) for strip in strips)
                for word in ("日本語", "🦊", "שלום", "مرحبا", "e\u0301"):
                    assert word in shown or word in re.sub(r"\W", "", shown), (key, word)

    run(test())


def test_the_mouse() -> None:
    backend = ScriptedBackend([[ANSWER, ("1+1", "2")], ["second\n\n" * 60]])

    async def test() -> None:
        async with opened(backend, (110, 40)) as (app, pilot):
            await send(app, pilot, "Hi")
            turn = app.transcript.turns[1]
            rows = [line.index("http://evil") for line in screen(app).split("\n") if "http://evil" in line]
            at = next(y for y, line in enumerate(screen(app).split("\n")) if "http://evil" in line)
            await pilot.click(offset=(rows[0] + 3, at))
            assert app.focused is turn and not app.screen.get_style_at(rows[0] + 3, at).link, "it is text"
            at = next(y for y, line in enumerate(screen(app).split("\n")) if "▸ tool" in line)
            await pilot.click(offset=(6, at))
            await pilot.pause()
            assert "expression" in screen(app)
            await pilot.click("#prompt", offset=(5, 1))
            assert app.prompt.has_focus
            app.prompt.put("hello")
            await pilot.click("#prompt", offset=(4, 1))
            assert app.prompt.cursor_location == (0, 2)
            app.prompt.put("")
            await command(app, pilot, "/retry")
            await pilot.pause()
            end = app.transcript.scroll_y
            await pilot._post_mouse_events([_scroll_up()], app.transcript)  # pilots have no wheel
            await until(pilot, lambda: 0 < app.transcript.scroll_y < end)
            x = screen(app).rstrip("\n").split("\n")[-1].index("branches")
            await pilot.click("#keys", offset=(x, 0))
            await until(pilot, lambda: "› Hi" in screen(app))
            row = next(y for y, line in enumerate(screen(app).split("\n")) if "Some *text*" in line[:40])
            await pilot.click(offset=(8, row))
            await until(pilot, lambda: contents(app)[1].startswith("Some"))
            await pilot.click("#keys", offset=(screen(app).rstrip("\n").split("\n")[-1].index("help"), 0))
            await until(pilot, lambda: len(app.screen_stack) == 2)

    run(test())


def _scroll_up() -> Any:
    from textual.events import MouseScrollUp

    return MouseScrollUp


def test_the_palette_runs_a_command() -> None:
    async def test() -> None:
        async with opened() as (app, pilot):
            await send(app, pilot, "Hi")
            await pilot.press("ctrl+p")
            await until(pilot, lambda: len(app.screen_stack) == 2)
            await pilot.press(*"stats")
            await until(pilot, lambda: "/stats" in screen(app) and "/tool" not in screen(app))
            await pilot.press("enter")
            await until(pilot, lambda: "50 tok/s" in notices(app))
            await quiet(app, pilot)

    run(test())


def test_the_clipboard_is_the_terminals_and_a_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    assert copy("nobody is there") == ""
    program = tmp_path / "xclip"
    program.write_text(f"#!/bin/sh\n/bin/cat > {tmp_path}/copied\n")
    program.chmod(0o700)
    written: list[str] = []

    async def test() -> None:
        async with opened(ScriptedBackend([["Grüße \x1b[2J"]])) as (app, pilot):
            await send(app, pilot, "Hi")
            monkeypatch.setattr(app._driver, "write", written.append)
            await command(app, pilot, "/copy")
            assert "copied the answer, 11 characters, by xclip too" in notices(app)

    run(test())
    text = "Grüße ^[[2J"
    assert f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a" in written
    assert (tmp_path / "copied").read_text(encoding="utf-8") == text
    monkeypatch.setattr("nanochat.tui.chat.clipboard.TIMEOUT_S", 0.1)
    program.write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    assert copy("a program that hangs is not waited for") == ""
