"""`nanochat tokenizer eval`: bytes per token, beside GPT-2 and GPT-4."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from nanochat.commands.options import base_dir_option, config_options, emit_json, is_plain, json_option
from nanochat.commands.tokens import complete_tokenizer, open_tokenizer
from nanochat.config.evaluate import TokenizerEvalConfig
from nanochat.config.load import Resolved

if TYPE_CHECKING:
    from rich.text import Text

    from nanochat.checkpoints.tokenizers import FoundTokenizer
    from nanochat.data.dataset import DataSet
    from nanochat.evaluation.compression import Compression, Count
    from nanochat.evaluation.vocabularies import Fetched
    from nanochat.runtime.paths import Paths


@click.command("eval")
@click.argument("tokenizer", required=False, shell_complete=complete_tokenizer)
@config_options(TokenizerEvalConfig, "tokenizer.eval")
@base_dir_option
@json_option
def eval_(tokenizer: str | None, config: Resolved[TokenizerEvalConfig], base_dir: str | None, as_json: bool) -> None:
    """Compare a tokenizer's bytes per token with those of GPT-2 and GPT-4.

    TOKENIZER is a name, a folder or a model that carries one; nothing means the newest. The texts are short
    ones of several kinds and languages, and the train and validation text of its data set. A percentage is
    ours against theirs: +10% holds a tenth more bytes in each token.
    """
    from nanochat.evaluation.compression import compare, data_texts
    from nanochat.evaluation.passages import PASSAGES
    from nanochat.evaluation.vocabularies import fetch_vocabularies
    from nanochat.runtime.paths import resolve_paths

    paths = resolve_paths(base_dir, os.environ)
    found = open_tokenizer(tokenizer, base_dir)
    dataset = _dataset(found, config.value.data, paths)
    fetched = fetch_vocabularies(
        paths.cache / "tiktoken",
        on_wait=lambda: click.echo("fetching the vocabularies of GPT-2 and GPT-4...", err=True),
    )
    rows = [compare(name, [text], found.tokenizer, fetched.found) for name, text in PASSAGES.items()]
    if dataset is not None:
        texts = data_texts(dataset, config.value.max_chars)
        rows += [compare(name, drawn, found.tokenizer, fetched.found) for name, drawn in texts.items()]
    if as_json:
        emit_json(_as_json(found, dataset, fetched, rows))
        return
    _print_table(found, fetched, rows)
    if dataset is None:
        click.echo("no data set to compare on; name one with --data", err=True)


def _dataset(found: FoundTokenizer, name: str | None, paths: Paths) -> DataSet | None:
    """The data set asked for, else the one the tokenizer learnt from, where it is still there."""
    from nanochat.checkpoints.layout import read_json
    from nanochat.data.dataset import DataSet
    from nanochat.errors import MissingError, UsageError

    if name is not None:
        return DataSet.open(paths.data(name))
    record = read_json(found.folder / "trained.json") or {}
    settings = record.get("settings")
    learnt = settings.get("data") if isinstance(settings, dict) else None
    try:
        return DataSet.open(paths.data(learnt if isinstance(learnt, str) else "pocket"))
    except (MissingError, UsageError):
        return None


def _as_json(
    found: FoundTokenizer, dataset: DataSet | None, fetched: Fetched, rows: list[Compression]
) -> dict[str, Any]:
    return {
        "tokenizer": found.name,
        "vocab_size": found.tokenizer.vocab_size,
        "data": None if dataset is None else dataset.name,
        "others": {
            **{name: {"vocab_size": other.n_vocab, "missing": None} for name, other in fetched.found.items()},
            **{name: {"vocab_size": None, "missing": reason} for name, reason in fetched.missing.items()},
        },
        "texts": rows,
    }


def _print_table(found: FoundTokenizer, fetched: Fetched, rows: list[Compression]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from nanochat.evaluation.vocabularies import NAMES

    plain = is_plain(sys.stdout, os.environ)
    # in a pipe no line is folded, however long
    console = Console(
        no_color=plain, force_terminal=not plain, highlight=False, width=200 if not sys.stdout.isatty() else None
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="" if plain else "bold")
    table.add_column("text")
    table.add_column("bytes", justify="right")
    table.add_column(Text(f"{_short(found.name)}\n{found.tokenizer.vocab_size:,}"), justify="right")
    for name in NAMES:
        there = fetched.found.get(name)
        table.add_column(f"{name}\n{there.n_vocab:,}" if there else f"{name}\nnot here", justify="right")
        if there:
            table.add_column("\nours", justify="right")
    for row in rows:
        cells: list[str | Text] = [row.name, f"{row.bytes:,}", f"{row.ours.bytes_per_token:.2f}"]
        for name in NAMES:
            cells += _cells(row.others, name, plain)
        table.add_row(*cells)
    console.print(table)
    for name, reason in fetched.missing.items():
        click.echo(f"{name} is not here: {reason}", err=True)


def _cells(others: Mapping[str, Count], name: str, plain: bool) -> list[str | Text]:
    from rich.text import Text

    if name not in others:
        return ["-"]
    count = others[name]
    difference = count.difference or 0.0
    style = "" if plain else "green" if difference >= 0 else "red"
    return [f"{count.bytes_per_token:.2f}", Text(f"{difference:+.1%}", style)]


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"…{name[-23:]}"
