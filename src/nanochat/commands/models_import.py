"""`nanochat models import`: a checkpoint of the reference system becomes a model of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanochat.commands.options import base_dir_option, emit_json, json_option
from nanochat.config.stages import STAGES

if TYPE_CHECKING:
    from nanochat.tokenizer.tokenizer import Tokenizer


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--tag", help="Name of the model.  [default: that of DIR]")
@click.option(
    "--stage", type=click.Choice(STAGES), help="Stage of the model.  [default: by the folder DIR is in, else base]"
)
@click.option(
    "--tokenizer",
    "tokenizer_path",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="tokenizer.pkl, its folder, or a tokenizer of ours.  [default: the one near DIR]",
)
@click.option(
    "--softcap", default=15.0, show_default=True, help="Bound of the logits; 20 in models of 2 to 9 March 2026."
)
@base_dir_option
@json_option
def import_(
    folder: Path,
    tag: str | None,
    stage: str | None,
    tokenizer_path: Path | None,
    softcap: float,
    base_dir: str | None,
    as_json: bool,
) -> None:
    """Take over a checkpoint of the reference system, of any era.

    DIR holds model_*.pt and meta_*.json, as base_checkpoints/d20 does; the newest step is taken. Nothing in it is
    run: weights are read as tensors only, and of the pickled tokenizer nothing but a tiktoken Encoding. DIR stays as
    it is.
    """
    from nanochat.checkpoints.selector import describe_place
    from nanochat.checkpoints.upstream import find_tokenizer, read_upstream, save_imported, stage_of
    from nanochat.config.model import ERAS
    from nanochat.errors import UsageError
    from nanochat.runtime.paths import resolve_paths

    if not 0 < softcap < float("inf"):
        raise UsageError(f"softcap ({softcap:g}) must be above 0", "try --softcap 15")
    stage_dir = resolve_paths(base_dir, os.environ).model_dir(tag or folder.absolute().name, stage or stage_of(folder))
    checkpoint = read_upstream(folder, softcap=softcap)
    tokenizer = _read_tokenizer(tokenizer_path or find_tokenizer(folder))
    known = checkpoint.model_config.vocab_size
    if tokenizer.vocab_size != known:
        click.echo(
            f"warning: the tokenizer has {tokenizer.vocab_size:,} tokens, the model {known:,}: "
            "it is not the one the model was trained with",
            err=True,
        )
    path = save_imported(checkpoint, tokenizer, stage_dir)
    if as_json:
        emit_json(
            {
                "model": describe_place(path),
                "era": checkpoint.era,
                "folder": path,
                "val_bpb": checkpoint.val_bpb,
                "parameters": sum(tensor.numel() for tensor in checkpoint.model_state.values()),
                "vocab_size": known,
                "tokenizer_vocab_size": tokenizer.vocab_size,
            }
        )
        return
    click.echo(f"{describe_place(path)}  era {checkpoint.era} ({ERAS[checkpoint.era]})")
    click.echo(path)


def _read_tokenizer(path: Path) -> Tokenizer:
    """A pickle of the reference system, the folder of one, or a tokenizer folder of ours."""
    from nanochat.tokenizer.pickled import read_pickled_tokenizer
    from nanochat.tokenizer.tokenizer import HEADER_FILE, Tokenizer

    if (path / HEADER_FILE).is_file():
        return Tokenizer.load(path)
    return read_pickled_tokenizer(path / "tokenizer.pkl" if path.is_dir() else path)
