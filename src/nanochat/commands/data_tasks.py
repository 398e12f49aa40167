"""`nanochat data tasks`: the data that tasks need."""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem

from nanochat.commands.models import table
from nanochat.commands.options import base_dir_option, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress


def complete_task(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the tasks that need data."""
    from nanochat.tasks.names import CORE, DESCRIPTIONS

    names = ("all", "chatcore", CORE, *DESCRIPTIONS)
    return [CompletionItem(name, help=DESCRIPTIONS.get(name)) for name in names if name.startswith(incomplete)]


@click.command("tasks")
@click.argument("name", nargs=-1, shell_complete=complete_task)
@progress_options()
@base_dir_option
@json_option
def tasks(name: tuple[str, ...], base_dir: str | None, as_json: bool) -> None:
    """Fetch the data of tasks from the Hugging Face hub; without a NAME list what is there.

    NAME is a task, chatcore for those of ChatCORE, core for the 22 tasks of CORE that eval base asks, words for the
    list that the spelling tasks use, or all. Files of the hub are checked against its SHA-256. HF_ENDPOINT, HF_TOKEN
    and HF_HUB_OFFLINE count.
    """
    from nanochat.runtime.context import RunContext
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.task_data import fetch_task_data, list_task_data
    from nanochat.tasks.hub import Places

    context = RunContext(paths=resolve_paths(base_dir, {}))
    if name:
        with show_progress("data") as on_event:
            found = fetch_task_data(name, context, on_event, os.environ)
    else:
        found = list_task_data(Places.of(context.paths))
    if as_json:
        emit_json(found)
        return
    rows = [("TASK", "FROM", "THERE", "WHAT")]
    for task in found:
        there = ", ".join(split for split, path in task.splits.items() if path) or "-"
        rows.append((task.name, task.source, there, task.description))
    click.echo(table(rows, left=4))
