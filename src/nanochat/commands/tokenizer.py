"""`nanochat tokenizer`: vocabularies."""

from __future__ import annotations

from pathlib import Path

import click

from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress
from nanochat.config.data import TokenizerConfig
from nanochat.config.load import Resolved


@click.command()
@click.argument("source", nargs=-1, type=click.Path())
@config_options(TokenizerConfig, "tokenizer.train")
@progress_options()
@base_dir_option
@json_option
def train(source: tuple[str, ...], config: Resolved[TokenizerConfig], base_dir: str | None, as_json: bool) -> None:
    """Learn a vocabulary from a data set.

    SOURCE: files, folders or patterns in quotes to learn from in its place, of the kinds that data import reads.
    """
    from nanochat.runtime.context import RunContext
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.prepare import make_tokenizer

    paths = resolve_paths(base_dir, {})
    with show_progress("tokenizer") as on_event:
        places = tuple(Path(place) for place in source)
        tokenizer = make_tokenizer(config.value, RunContext(paths=paths), on_event, places)
    folder = paths.tokenizer(config.value.name)
    if as_json:
        emit_json({"folder": str(folder), "vocab_size": tokenizer.vocab_size, "sha256": tokenizer.fingerprint})
    else:
        click.echo(folder)
