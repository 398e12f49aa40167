"""The dashboard itself: what each key shows, at every size, on logs that grow and on texts that mean harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from runlogs import START, STEP_S, append, started, step, write_run, write_scores
from textual.pilot import Pilot
from textual.widgets import OptionList

from nanochat.runtime.paths import Paths
from nanochat.tui.watch import app as app_module
from nanochat.tui.watch import view
from nanochat.tui.watch.app import WatchApp
from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.model import Model
from nanochat.tui.watch.pages import CurvesPage
from nanochat.tui.watch.widgets import Plot

GOLDEN = Path(__file__).parents[2] / "golden" / "watch"
NOW = START + 200 * STEP_S + 3


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds after the last event, and files are looked at often."""
    monkeypatch.setattr(app_module, "time", SimpleNamespace(time=lambda: NOW, monotonic=time.monotonic))
    monkeypatch.setattr(app_module, "POLL_S", 0.25)  # pilot waits for quiet after every key: more would cost a second
    monkeypatch.setattr(app_module, "PLOT_SHARE", 1.0)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two runs: d4 under way, d5 shorter and worse."""
    write_run(tmp_path / "models" / "d4" / "base")
    write_scores(tmp_path / "models" / "d4" / "base")
    write_run(tmp_path / "models" / "d5" / "base", steps=120, shift=0.25)
    return tmp_path


Opened = tuple[WatchApp, Pilot[None]]


@contextlib.asynccontextmanager
async def opened(
    base: Path, size: tuple[int, int] = (120, 36), other: str | None = None, stage: str | None = None
) -> AsyncIterator[Opened]:
    """The dashboard of d4, once it has read everything."""
    paths = Paths(base=base, cache=base / "cache")
    app = WatchApp(paths, Model(paths.models / "d4", stage), Model(paths.models / other) if other else None, Look())
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.log_shown.step >= 200 and not app.model.left)
        await until(pilot, lambda: not app._stale)
        yield app, pilot


async def until(pilot: Pilot[None], condition: Callable[[], object], timeout: float = 10.0) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, screen(pilot.app)  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
    await pilot.pause()


def screen(app: WatchApp) -> str:
    """What stands on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"


def run(test: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))  # type: ignore[arg-type]


def compare_golden(name: str, text: str, request: pytest.FixtureRequest) -> None:
    file = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden", default=False):
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"{file.name} is not there; make it with pytest --update-golden"
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", [(60, 20), (100, 30), (160, 45), (300, 80)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_curves(size: tuple[int, int], base: Path, request: pytest.FixtureRequest) -> None:
    async def test() -> None:
        async with opened(base, size, other="d5") as (app, _):
            compare_golden(f"curves-{size[0]}x{size[1]}", screen(app), request)

    run(test())


def test_pages(base: Path, request: pytest.FixtureRequest) -> None:
    async def test() -> None:
        async with opened(base, (90, 24)) as (app, pilot):
            for key, name in (("2", "samples"), ("3", "stages"), ("question_mark", "help"), ("c", "compare")):
                await pilot.press(key)
                await pilot.pause()
                compare_golden(name, screen(app), request)
                await pilot.press("escape")
            await pilot.press("4")
            await pilot.pause()
            assert "the disk is slow" in screen(app)

    run(test())


def test_no_size_breaks_it(base: Path) -> None:
    async def test() -> None:
        async with opened(base, (80, 24), other="d5") as (app, pilot):
            for size in ((1, 1), (10, 3), (20, 8), (61, 60), (400, 12)):
                await pilot.resize_terminal(*size)
                await pilot.press("1", "2", "3")
            await pilot.press("question_mark")
            assert app.is_running

    run(test())


def test_plots_are_arranged_for_every_size(base: Path) -> None:
    async def test() -> None:
        async with opened(base, (160, 50)) as (app, pilot):

            async def seen(width: int, height: int) -> list[str]:
                await pilot.resize_terminal(width, height)
                await pilot.pause()
                parts = ("large", "glance", *(f"plot-{metric}" for metric in view.PLOTS))
                return [name for name in parts if app.query_one(f"#{name}").region.area]

            side = ["plot-val_bpb", "plot-lr", "plot-tokens_per_s", "plot-mfu", "plot-memory"]
            assert await seen(160, 50) == ["large", "glance", *side]
            assert await seen(110, 30) == ["large", *side[:3]]
            assert await seen(60, 20) == ["large"]
            assert await seen(60, 34) == ["large", *side[:2]]
            await pilot.press("2", "1")
            assert await seen(160, 50) == ["large", "glance", *side]

    run(test())


def test_keys_of_the_curves(base: Path) -> None:
    async def test() -> None:
        async with opened(base, other="d5") as (app, pilot):

            async def said(*keys: str) -> str:
                await pilot.press(*keys)
                await pilot.pause()
                return screen(app)

            assert "against d5:base at step 120:  loss" in screen(app)
            assert "by tokens" in await said("x")
            assert "at 120k tokens:  loss" in screen(app)
            assert "by training time" in await said("x")
            assert "at 1:00 of training:  loss" in screen(app)
            assert "by step" in await said("x")
            assert "logarithmic" in await said("l")
            assert "logarithmic" not in await said("l")
            assert "smoothed over 20 steps" in await said("s")
            assert "not smoothed" in await said("s")
            assert "smoothed over 4 steps" in await said("s")
            assert "step 100 to step 200" in await said("plus")
            assert "step 150 to step 200" in await said("plus")
            assert "step 100 to step 200" in await said("minus")
            assert "at step 190" in await said("shift+left")
            assert "it has come to step 120" in screen(app)
            assert "at step 189" in await said("left")
            assert "step 100 to step" not in await said("0")
            assert "at step" not in (await said("escape")).split("against")[0]
            large = app.query_one("#large", Plot)
            assert large.metric == "loss"
            await said("m")
            assert large.metric == "val_bpb"

    run(test())


def test_mouse(base: Path) -> None:
    async def test() -> None:
        async with opened(base) as (app, pilot):
            large = app.query_one("#large", Plot)
            middle = (large.size.width // 2, 5)
            await pilot.click(large, offset=middle)
            await pilot.pause()
            assert app.look.cursor == pytest.approx(100, abs=8)
            await pilot.click("#plot-lr", offset=(10, 2), times=2)
            await pilot.pause()
            assert large.metric == "lr"
            await pilot.click("#large", offset=(0, 5))
            assert app.look.cursor != 0, "labels are not a place"

    run(test())


def test_the_wheel(base: Path) -> None:
    from textual.events import MouseScrollDown, MouseScrollUp

    async def test() -> None:
        async with opened(base) as (app, pilot):
            for kind, shown in (
                (MouseScrollUp, 100),
                (MouseScrollUp, 50),
                (MouseScrollDown, 100),
                (MouseScrollDown, 0),
            ):
                await pilot._post_mouse_events([kind], "#large", offset=(30, 5))
                await pilot.pause()
                assert (app.look.span or 0) == pytest.approx(shown)

    run(test())


def test_a_log_that_grows_breaks_and_goes_on(base: Path) -> None:
    folder = base / "models" / "d4" / "base"

    async def test() -> None:
        async with opened(base) as (app, pilot):
            assert "step 200 of 240" in screen(app)
            append(folder / "events.jsonl", *(step(number, 240) for number in range(201, 206)))
            await until(pilot, lambda: "step 205 of 240" in screen(app))
            with (folder / "events.jsonl").open("a") as file:
                file.write('{"event": "StepDone", "step": 206, "to')
            await pilot.pause(0.3)
            with (folder / "events.jsonl").open("a") as file:
                file.write("\n\x00\xff garbage\n[]\n")
            append(folder / "events.jsonl", started(240, resumed_from=150, step=210), step(151, 240))
            await until(pilot, lambda: "step 151 of 240" in screen(app))
            (folder / "finished.json").write_text("{}")
            await until(pilot, lambda: "✓ finished" in screen(app))
            (folder / "events.jsonl").rename(folder / "away")
            await pilot.pause(0.3)
            append(folder / "events.jsonl", started(50), step(7, 50))
            await until(pilot, lambda: "step 7 of 50" in screen(app))

    run(test())


def test_it_moves_on_to_the_next_stage(base: Path) -> None:
    async def test() -> None:
        async with opened(base) as (app, pilot):
            append(base / "models" / "d4" / "sft" / "events.jsonl", started(9, step=300), step(1, 9, time=NOW))
            await until(pilot, lambda: "d4:sft" in screen(app))
            await pilot.press("n")
            await until(pilot, lambda: "d4:base" in screen(app))
            append(base / "models" / "d4" / "sft" / "events.jsonl", step(2, 9, time=NOW))
            await pilot.pause(0.3)
            assert "d4:base" in screen(app), "chosen by hand, it stays"

    run(test())


def test_comparison_and_another_run_are_picked(base: Path) -> None:
    async def test() -> None:
        async with opened(base) as (app, pilot):
            assert "against" not in screen(app)
            await pilot.press("c", "enter")
            await until(pilot, lambda: "against d5:base" in screen(app))
            await pilot.press("c", "up", "enter")
            await until(pilot, lambda: "against" not in screen(app))
            await pilot.press("r")
            picker = app.screen.query_one(OptionList)
            names = [str(picker.get_option_at_index(at).prompt) for at in range(picker.option_count)]
            assert sorted(names) == ["d4:base", "d5:base"]
            picker.highlighted = names.index("d5:base")
            await pilot.press("enter")
            await until(pilot, lambda: "d5:base" in screen(app) and "step 120 of 240" in screen(app))
            await pilot.press("r", "escape")
            assert app.model.tag == "d5"

    run(test())


def test_samples_by_step(base: Path) -> None:
    async def test() -> None:
        async with opened(base, (80, 24)) as (app, pilot):
            await pilot.press("2")
            await until(pilot, lambda: "So is the sea." in screen(app))
            await pilot.press("down")
            await until(pilot, lambda: "grey." in screen(app))
            append(
                base / "models" / "d4" / "base" / "samples.jsonl",
                {"step": 150, "prompt": "The sky is", "answer": " red."},
            )
            await until(pilot, lambda: "step 150" in screen(app))
            assert "grey." in screen(app), "what was chosen stays"

    run(test())


def test_foreign_text_does_not_act(base: Path) -> None:
    folder = base / "models" / "d4" / "base"
    evil = "[bold red]loud[/] [@click=app.quit]go[/] \x1b[31mred\x1b]0;title\x07 \u202eback [/nothing]"
    append(folder / "samples.jsonl", {"step": 200, "prompt": evil, "answer": evil})
    append(folder / "events.jsonl", {"event": "Notice", "time": NOW, "level": "warning", "message": evil})
    (folder / "config.json").write_text('{"data": {"name": "[red]x[/] \\u001b[31m"}, "model": 3}')

    async def test() -> None:
        async with opened(base) as (app, pilot):
            for page in "234":
                await pilot.press(page)
                await pilot.pause()
                text = screen(app)
                assert "[bold red]loud[/] [@click=app.quit]go[/]" in text or "[red]x[/]" in text
                assert not {"\x1b", "\x07", "\u202e"} & set(text)

    run(test())


def test_curves_stand_out_in_both_themes(base: Path) -> None:
    def contrast(app: WatchApp) -> int:
        """The greatest distance of a dot's colour from what is behind it."""
        found = [0]
        for strip in app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                if style and style.color and style.bgcolor and any("\u2800" < char < "\u2900" for char in segment.text):
                    ink, paper = style.color.get_truecolor(), style.bgcolor.get_truecolor()
                    found.append(sum(abs(a - b) for a, b in zip(ink, paper, strict=True)))
        return max(found)

    async def test() -> None:
        async with opened(base) as (app, pilot):
            dark = contrast(app)
            await pilot.press("t")
            await pilot.pause()
            assert app.theme == "textual-light"
            assert min(dark, contrast(app)) > 200

    run(test())


def test_nothing_is_written(base: Path) -> None:
    def tree() -> list[tuple[str, int, int]]:
        return sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in base.rglob("*"))

    before = tree()

    async def test() -> None:
        async with opened(base, other="d5") as (_, pilot):
            await pilot.press("2", "x")

    run(test())
    assert tree() == before


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_it_leaves(key: str, base: Path) -> None:
    async def test() -> None:
        async with opened(base) as (app, pilot):
            await pilot.press(key)
            await pilot.pause()
            assert not app.is_running

    run(test())


def test_plots_take_a_small_share_of_a_core(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the log grows, drawing waits for many times as long as it takes."""
    path = base / "models" / "d4" / "base" / "events.jsonl"
    drawn = []

    async def test() -> None:
        async with opened(base) as (app, pilot):
            monkeypatch.setattr(app_module, "PLOT_SHARE", 1e-6)  # not before: nothing would be drawn while it opens
            real = app.query_one(CurvesPage).draw
            large = app.query_one("#large", Plot)
            large._source = lambda *args: drawn.append(1) or real(*args)  # type: ignore[func-returns-value]
            for number in range(201, 206):
                append(path, step(number, 240))
                await until(pilot, lambda number=number: f"step {number}" in screen(app))  # type: ignore[misc]
            assert not drawn
            await pilot.press("l")
            await pilot.pause()
            assert drawn, "a key is answered at once"

    run(test())


def test_it_starts_without_anything_heavy() -> None:
    code = "import sys, nanochat.tui.watch.app; print(*{'torch', 'numpy', 'pyarrow', 'httpx2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == ""
