"""`nanochat data download`: shards of web text, or files from anywhere."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import click

from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress, tell
from nanochat.config.download import DownloadConfig
from nanochat.config.load import Resolved
from nanochat.errors import UsageError

if TYPE_CHECKING:
    from nanochat.stages.download_plan import DownloadPlan


@click.command("download")
@click.argument("url", nargs=-1)
@config_options(DownloadConfig, "data.download")
@click.option("--dry-run", is_flag=True, help="Print the plan and end.")
@progress_options()
@base_dir_option
@json_option
def download(
    url: tuple[str, ...], config: Resolved[DownloadConfig], dry_run: bool, base_dir: str | None, as_json: bool
) -> None:
    """Fetch a data set from the Hugging Face hub, or files by URL.

    Files that are no shards (text, jsonl, csv, parquet with other columns) are fetched and imported.

    Shards are fetched in parallel, checked against the hub's SHA-256, and go on where an earlier run stopped. The
    last shard of a source is for validation and always comes too. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE count.
    """
    from nanochat.config.importing import ImportConfig
    from nanochat.runtime.context import RunContext
    from nanochat.runtime.hub import hub_from_environment
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.download import check_disk
    from nanochat.stages.download import download as run
    from nanochat.stages.download_plan import plan_download
    from nanochat.stages.importing import command, import_texts

    hub = hub_from_environment(os.environ)
    context = RunContext(paths=resolve_paths(base_dir, {}))
    plan = plan_download(config.value, context, hub, url)
    if dry_run:
        if as_json:
            emit_json(plan_values(plan))
        else:
            click.echo(plan_text(plan))
        return
    tell(plan_text(plan))
    check_disk(plan)
    with show_progress("data") as on_event:
        done = run(plan, config.value, hub, on_event)
        folder = done.folder
        if plan.manifest is None:
            column = config.value.column
            settings = ImportConfig(name=plan.name, column="" if column == "text" else column)
            try:
                folder = import_texts(settings, done.files, context, on_event, made_by=plan.made_by).folder
            except UsageError as error:
                import_it = command(settings, [done.folder])
                raise UsageError(error.message, f"{error.hint}; the files are there: {import_it}") from error
    if as_json:
        emit_json({**dataclasses.asdict(done), "folder": folder})
    else:
        click.echo(folder)


def plan_text(plan: DownloadPlan) -> str:
    """The plan as a person reads it before the run."""
    from nanochat.console.words import size

    there = sum(file.there for file in plan.files)
    files = [f"{len(plan.files):,}"]
    if validation := sum(file.split == "val" for file in plan.files):
        files.append(f"{validation} of them for validation")
    if there:
        files.append("all there" if there == len(plan.files) else f"{there:,} there already")
    about = "" if plan.sizes_known else "at least "
    rows = (
        ("source", plan.what),
        ("files", ", ".join(files)),
        ("size", f"{about}{size(plan.total_bytes)}, {about}{size(plan.fetch_bytes)} still to come"),
        ("disk", f"{size(plan.free_bytes)} free"),
        ("folder", str(plan.folder)),
    )
    return "\n".join([f"nanochat data download: {plan.name}", *(f"  {name:<7} {text}" for name, text in rows)])


def plan_values(plan: DownloadPlan) -> dict[str, object]:
    """The plan for programs."""
    return {
        "name": plan.name,
        "source": plan.what,
        "folder": plan.folder,
        "files": plan.files,
        "total_bytes": plan.total_bytes,
        "fetch_bytes": plan.fetch_bytes,
        "free_bytes": plan.free_bytes,
        "to_import": plan.manifest is None,
    }
