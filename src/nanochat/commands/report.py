"""`nanochat report`: what was trained and how good it is, from the run's own files."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nanochat.commands.models import complete_selector
from nanochat.commands.options import base_dir_option, emit_json, json_option


@click.command()
@click.argument("tag", required=False, shell_complete=complete_selector)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="Write to a file, not to stdout.")
@base_dir_option
@json_option
def report(tag: str | None, out: Path | None, base_dir: str | None, as_json: bool) -> None:
    """Write the report of a model in Markdown.

    TAG is the name of a model; without one it is the one that changed last. A run that is still going on can
    be reported too: what is not there yet is said.
    """
    from nanochat.checkpoints.selector import no_models, parse_selector, require_tag
    from nanochat.errors import UsageError
    from nanochat.report.collect import collect, newest_tag
    from nanochat.report.markdown import to_markdown
    from nanochat.runtime.files import atomic_write_text
    from nanochat.runtime.paths import resolve_paths

    if as_json and out:
        raise UsageError("--json goes to stdout, --out writes Markdown", "leave one of them out")
    paths = resolve_paths(base_dir, os.environ)
    name = parse_selector(tag).tag or newest_tag(paths.models)
    if name is None:
        raise no_models(paths)
    require_tag(paths, name)
    found = collect(paths.models / name)
    if as_json:
        emit_json(found)
    elif out:
        atomic_write_text(out, to_markdown(found))
        click.echo(f"wrote {out}", err=True)
    else:
        click.echo(to_markdown(found), nl=False)
