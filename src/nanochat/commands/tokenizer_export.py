"""`nanochat tokenizer export`: a tokenizer for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from nanochat.commands.options import base_dir_option, confirm, emit_json, json_option, yes_option
from nanochat.commands.tokens import complete_tokenizer, open_tokenizer


@click.command()
@click.argument("tokenizer", required=False, shell_complete=complete_tokenizer)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["hf", "tiktoken"]),
    required=True,
    help="hf for transformers and tokenizers, tiktoken for a list of ranks.",
)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write into.",
)
@yes_option
@base_dir_option
@json_option
def export(tokenizer: str | None, layout: str, output: Path, yes: bool, base_dir: str | None, as_json: bool) -> None:
    """Write a tokenizer for other programs, with the same ids.

    TOKENIZER is a name, a folder or a model that carries one; nothing means the newest. hf writes what
    AutoTokenizer.from_pretrained(DIR) reads, with a chat template; tiktoken writes ranks and a README that
    loads them. transformers takes the name of a special token in a text for that token, unless it is given
    split_special_tokens=True; the chat template takes it for text.
    """
    from nanochat.tokenizer.export import FORMATS, check_folder, write_files

    found = open_tokenizer(tokenizer, base_dir)
    files = FORMATS[layout](found.tokenizer)
    replaced = check_folder(output, files)
    if replaced:
        confirm(f"Replace {', '.join(replaced)} in {output}?", yes=yes)
    write_files(output, files)
    if as_json:
        emit_json({"folder": str(output), "format": layout, "files": list(files), "tokenizer": found.name})
    else:
        click.echo(output)
