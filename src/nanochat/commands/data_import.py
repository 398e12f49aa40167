"""`nanochat data import`: files of one's own as a data set."""

from __future__ import annotations

import os

import click

from nanochat.commands.options import base_dir_option, config_options, confirm, emit_json, json_option, yes_option
from nanochat.commands.running import progress_options, show_progress
from nanochat.config.importing import ImportConfig
from nanochat.config.load import Resolved


@click.command("import")
@click.argument("path", nargs=-1, required=True, type=click.Path())
@config_options(ImportConfig, "data.import")
@click.option("--replace", is_flag=True, help="Put it in the place of another data set of that name; asks first.")
@yes_option
@progress_options()
@base_dir_option
@json_option
def import_(
    path: tuple[str, ...],
    config: Resolved[ImportConfig],
    replace: bool,
    yes: bool,
    base_dir: str | None,
    as_json: bool,
) -> None:
    """Make a data set of your own text.

    PATH: files (txt, md, jsonl, json, csv, tsv, parquet; also .gz, .bz2, .xz, .zst), folders with all that is in
    them, patterns in quotes such as 'notes/*.md', and data sets of the Hugging Face hub as hf:owner/name.

    Equal documents are kept once, and the order is shuffled. Rows that cannot be read are left out, counted and named.
    """
    from nanochat.runtime.context import RunContext
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.importing import import_texts

    context = RunContext(paths=resolve_paths(base_dir, {}))
    with show_progress("data") as progress:

        def ask(question: str) -> None:
            with progress.paused():
                confirm(question, yes=yes)

        may_replace = ask if replace else None
        result = import_texts(config.value, path, context, progress, replace=may_replace, environ=os.environ)
    if as_json:
        emit_json(result)
    else:
        click.echo(result.folder)
