"""`nanochat watch`: a run on a dashboard, from its files."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from nanochat.commands.models import complete_selector
from nanochat.commands.options import base_dir_option, emit_json, json_option

if TYPE_CHECKING:
    from nanochat.runtime.paths import Paths
    from nanochat.tui.watch.model import Model

_ASCII = str.maketrans("│┤•×−", "||*x-")
_ONCE_LINES = 24  # of curves where the height of no terminal is known


@click.command()
@click.argument("model", required=False, shell_complete=complete_selector)
@click.option("--with", "other", metavar="MODEL", shell_complete=complete_selector, help="Another run to compare with.")
@click.option(
    "--by",
    "axis",
    type=click.Choice(["step", "tokens", "time"]),
    default="step",
    help="What curves are drawn over and runs compared at.",
    show_default=True,
)
@click.option("--once", is_flag=True, help="Print one picture and stop; for scripts and pipes.")
@base_dir_option
@json_option
def watch(model: str | None, other: str | None, axis: str, once: bool, base_dir: str | None, as_json: bool) -> None:
    """Watch a run: curves, speed, samples, pipeline.

    MODEL is TAG or TAG:STAGE; without one it is the run that changed last. Only the files of the run are read,
    so it may be finished, under way, or on another machine whose folder is mounted here.
    """
    from nanochat.errors import UsageError
    from nanochat.runtime.paths import resolve_paths
    from nanochat.tui.watch.looking import Look

    drawable = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if not once and not as_json and not drawable:
        raise UsageError("there is no terminal to draw on", "nanochat watch --once, or nanochat report")
    paths = resolve_paths(base_dir, os.environ)
    watched = _find(paths, model)
    compared = _find(paths, other) if other else None
    look = Look(axis=axis)  # type: ignore[arg-type]
    if not once and not as_json:
        from nanochat.tui.watch.app import WatchApp

        app = WatchApp(paths, watched, compared, look)
        app.run()
        if app.return_code:  # it broke: Textual has printed the trace
            raise SystemExit(app.return_code)
        return
    import time

    from nanochat.tui.watch.summary import picture, values

    watched.catch_up()
    if watched.problem:
        from nanochat.errors import StorageError

        raise StorageError(watched.problem, "check that you may read the folder of the run")
    beside = None
    if compared:
        compared.catch_up()
        beside = compared.beside(watched.shown)
    if as_json:
        emit_json(values(watched, beside, look, time.time()))
        return
    import shutil

    width, height = shutil.get_terminal_size((100, _ONCE_LINES + 12))
    for line in picture(watched, beside, look, time.time(), width, max(12, height - 12)):
        click.echo(_plain(line.plain).rstrip())


def _find(paths: Paths, text: str | None) -> Model:
    """The model that a selector means.

    Raises:
        UsageError: the selector cannot be read, or names a step.
        MissingError: there is no such model.
    """
    from nanochat.checkpoints.selector import no_models, parse_selector, require_tag
    from nanochat.errors import UsageError
    from nanochat.report.collect import newest_tag
    from nanochat.tui.watch.model import Model

    selector = parse_selector(text)
    if selector.step is not None:
        raise UsageError(
            f"{text} is one checkpoint; a run is watched as a whole", f"nanochat watch {selector.tag}:{selector.stage}"
        )
    tag = selector.tag or newest_tag(paths.models)
    if tag is None:
        raise no_models(paths)
    require_tag(paths, tag)
    return Model(paths.models / tag, selector.stage)


def _plain(text: str) -> str:
    """Text for a stream that may not be able to show our signs."""
    from nanochat.console.words import to_ascii

    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        dots = "".join("*" if "\u2800" < char <= "\u28ff" else char for char in to_ascii(text).translate(_ASCII))
        return dots.encode(encoding, "replace").decode(encoding)
    return text
