"""`nanochat data list`, `show` and `verify`: what there is to train on, and whether it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from nanochat.commands.models import table
from nanochat.commands.options import base_dir_option, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress

if TYPE_CHECKING:
    from nanochat.data.listing import DataSetDetails, FoundDocument

_SHOWN_CHARS = 500  # of a document, unless all of it was asked for


def complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the data sets that exist."""
    from nanochat.errors import NanochatError
    from nanochat.runtime.paths import NAME, resolve_paths

    try:
        folder = resolve_paths(ctx.params.get("base_dir"), os.environ).base / "data"
        names = sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name))
    except (NanochatError, OSError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("list")
@base_dir_option
@json_option
def list_(base_dir: str | None, as_json: bool) -> None:
    """List the data sets: documents, text, shards, size on disk, and what they were made by.

    A star marks one that is not whole; nanochat data verify says what is wrong.
    """
    from nanochat.console.words import safe, short, size
    from nanochat.data.listing import list_data_sets
    from nanochat.errors import MissingError
    from nanochat.runtime.paths import resolve_paths

    paths = resolve_paths(base_dir, os.environ)
    found = list_data_sets(paths)
    if as_json:
        emit_json(found)
        return
    if not found:
        raise MissingError(
            f"there is no data set in {paths.base / 'data'}", "nanochat data import PATH, or nanochat data pocket"
        )
    rows = [("NAME", "FROM", "DOCUMENTS", "TEXT", "SHARDS", "ON DISK")]
    for entry in found:
        documents = "-" if entry.documents is None else short(entry.documents)
        text = "-" if entry.text_bytes is None else size(entry.text_bytes)
        name = entry.name if entry.state == "ok" else f"{entry.name}*"
        rows.append((name, safe(entry.source) or "-", documents, text, str(len(entry.shards)), size(entry.size_bytes)))
    click.echo(table(rows, left=2))


@click.command()
@click.argument("name", shell_complete=complete_name)
@click.option("--search", metavar="TEXT", help="Show documents that have this in them, as it is written.")
@click.option("-n", "count", type=click.IntRange(min=0), default=3, help="Documents to show.", show_default=True)
@click.option("--seed", type=int, default=0, help="Another seed shows other documents.", show_default=True)
@click.option("--full", is_flag=True, help=f"Show whole documents, not {_SHOWN_CHARS} characters of each.")
@base_dir_option
@json_option
def show(name: str, search: str | None, count: int, seed: int, full: bool, base_dir: str | None, as_json: bool) -> None:
    """Show a data set: totals, shards, and some of its documents with their places.

    A place is shard, row group and row.
    """
    from nanochat.data.listing import choose_documents, describe, open_folder
    from nanochat.data.listing import search as find
    from nanochat.errors import UsageError
    from nanochat.runtime.paths import resolve_paths

    if search == "":
        raise UsageError("--search is given no text", "leave it out for documents at random")
    folder = open_folder(resolve_paths(base_dir, os.environ), name)
    details = describe(folder)
    found = list(islice(find(folder, search), count)) if search else choose_documents(folder, count, seed)
    if as_json:
        emit_json({"data_set": details, "documents": found})
        return
    if not search:
        click.echo("\n".join(_page(details)))
    for number, document in enumerate(found):
        if number or not search:
            click.echo()
        click.echo("\n".join(_document(document, len(search or ""), full)))
    if search and not found and count:
        click.echo("no document has it", err=True)


@click.command()
@click.argument("name", nargs=-1, shell_complete=complete_name)
@click.option("--repair", is_flag=True, help="Download damaged files again, where they came from a server.")
@click.option("--adopt", is_flag=True, help="Write a manifest for sound shards that have none.")
@progress_options()
@base_dir_option
@json_option
def verify(name: tuple[str, ...], repair: bool, adopt: bool, base_dir: str | None, as_json: bool) -> None:
    """Compare data sets with their manifests and read every row group.

    NAME: data sets to look at, by default all of them. What is damaged is named by file and row group, with exit
    code 1.
    """
    from nanochat.console.words import safe
    from nanochat.errors import DamagedError
    from nanochat.runtime.context import RunContext
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.verifying import verify_data

    context = RunContext(paths=resolve_paths(base_dir, os.environ))
    with show_progress("data") as on_event:
        results = verify_data(name, context, on_event, repair=repair, adopt=adopt, environ=os.environ)
    if as_json:
        emit_json(results)
    else:
        for result in results:
            for line in result.lines():
                click.echo(f"{'  ' if line.startswith('  ') else ''}{safe(line)}")
    bad = [result for result in results if result.verified.damage]
    if bad:
        count = sum(len({item.file for item in result.verified.damage}) for result in bad)
        names = ", ".join(result.verified.name for result in bad)
        raise DamagedError(f"{count} file{'' if count == 1 else 's'} of {names} damaged", bad[0].way_out)


def _page(details: DataSetDetails) -> Iterable[str]:
    from nanochat.console.words import safe, size

    def count(number: int | None) -> str:
        return "-" if number is None else f"{number:,}"

    def text(number: int | None) -> str:
        return "-" if number is None else size(number)

    held_out = next((shard for shard in details.shards if shard.name == details.validation), None)
    yield f"{details.name}  {'' if details.state == 'ok' else f'({details.state})'}".rstrip()
    yield str(details.folder)
    yield ""
    yield f"documents   {count(details.documents)}"
    yield f"text        {text(details.text_bytes)}"
    yield f"on disk     {size(details.size_bytes)}"
    if held_out:
        yield f"validation  {safe(held_out.name)}: {count(held_out.documents)} documents, {text(held_out.text_bytes)}"
    if details.made_by:
        yield f"made by     {safe(details.made_by)}"
    yield ""
    rows = [
        ("SHARD", "STATE", "DOCUMENTS", "TEXT", "ON DISK"),
        *(
            (safe(shard.name), shard.state, count(shard.documents), text(shard.text_bytes), size(shard.size_bytes))
            for shard in details.shards
        ),
    ]
    yield table(rows, left=2)


def _document(document: FoundDocument, matched: int, full: bool) -> Iterable[str]:
    """A line with the place, then the text, or the part of it around what was looked for; safe for a terminal."""
    from nanochat.console.words import safe

    text = document.text
    before = len(text.encode()[: document.at].decode("utf-8", "replace"))
    start = 0 if full else max(0, before - _SHOWN_CHARS // 3)
    end = len(text) if full else max(start + _SHOWN_CHARS, before + matched)
    yield f"{safe(document.shard)} row group {document.row_group} row {document.row}  ({len(text):,} characters)"
    shown = f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
    yield from (f"  {safe(line)}".rstrip() for line in shown.splitlines())
