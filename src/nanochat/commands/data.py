"""`nanochat data`: text to train on."""

from __future__ import annotations

import click

from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress
from nanochat.config.data import PocketDataConfig
from nanochat.config.load import Resolved


@click.command()
@config_options(PocketDataConfig, "data.pocket")
@progress_options()
@base_dir_option
@json_option
def pocket(config: Resolved[PocketDataConfig], base_dir: str | None, as_json: bool) -> None:
    """Write the pocket corpus: true English about a small world."""
    from nanochat.runtime.context import RunContext
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.prepare import make_pocket_data

    context = RunContext(paths=resolve_paths(base_dir, {}))
    with show_progress("data") as on_event:
        shards = make_pocket_data(config.value, context, on_event)
    if as_json:
        emit_json({"name": config.value.name, "shards": [str(path) for path in shards]})
    else:
        click.echo(shards[0].parent)
