"""`nanochat data chat-check`: what a file of conversations holds, and how a model will see it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanochat.commands.models import complete_selector
from nanochat.commands.options import base_dir_option, confirm, emit_json, human_console, json_option, yes_option
from nanochat.commands.tokens import escape_unknown, open_tokenizer, print_tokens, token_views, tokenizer_option
from nanochat.errors import MissingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanochat.runtime.paths import Paths
    from nanochat.tasks.check import FileCheck
    from nanochat.tokenizer.conversation import Conversation
    from nanochat.tokenizer.tokenizer import Tokenizer

NAMED = 20  # bad lines that are printed; --json has a thousand
SHOWN_TOKENS = 400  # of a conversation


@click.command("chat-check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-m",
    "--model",
    metavar="SELECTOR",
    shell_complete=complete_selector,
    help="Model that is to learn from it; the newest by default.",
)
@tokenizer_option
@click.option("-n", "--show", default=3, show_default=True, type=click.IntRange(0), help="Conversations to show.")
@click.option("--sequence-len", type=click.IntRange(1), help="Context in tokens.  [default: the model's]")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the good ones here, as messages.",
)
@base_dir_option
@json_option
@yes_option
def chat_check(
    file: Path,
    model: str | None,
    selector: str | None,
    show: int,
    sequence_len: int | None,
    output: Path | None,
    base_dir: str | None,
    as_json: bool,
    yes: bool,
) -> None:
    """Check a file of conversations and show how a model sees them.

    FILE is JSONL or a JSON array, also .gz, of messages, ShareGPT, Alpaca, or pairs of question and answer. What is
    wrong is named with its line, and the exit code is then 1. Tokens that a model learns to say in sft are
    underlined, or marked + without colours.
    """
    from nanochat.runtime.paths import resolve_paths
    from nanochat.tasks.check import check_file
    from nanochat.tokenizer.render import render

    if model and selector:
        raise UsageError("--model and --tokenizer were given", "leave one of them out: a model carries its tokenizer")
    paths = resolve_paths(base_dir, os.environ)
    name, tokenizer, context = _find(paths, base_dir, model, selector)
    context = sequence_len or context
    if output and output.exists():
        confirm(f"Replace {output}?", yes=yes)
    with _written(output) as on_good:
        check = check_file(
            file,
            tokenizer,
            sequence_len=context,
            keep=show,
            temporary=paths.cache / "conversations",
            on_good=on_good,
        )
    rows = [render(tokenizer, conversation) for conversation in check.first] if tokenizer else []
    if as_json:
        emit_json(
            {
                "file": file,
                **check.to_dict(),
                "sequence_len": context,
                "tokenizer": name,
                "shown": [
                    {**conversation.to_dict(), **({"ids": rows[at][0], "mask": rows[at][1]} if rows else {})}
                    for at, conversation in enumerate(check.first)
                ],
            }
        )
    else:
        escape_unknown(sys.stdout)
        _print_check(file, check, name, context)
        if tokenizer:
            for number, (ids, mask) in enumerate(rows, 1):
                click.echo(f"\nconversation {number}:")
                views = token_views(tokenizer, ids[:SHOWN_TOKENS], mask)
                print_tokens(views, masked=True, legend=number == len(rows))
                if len(ids) > SHOWN_TOKENS:
                    click.echo(f"... {len(ids) - SHOWN_TOKENS:,} more tokens")
    if check.bad or not check.conversations:
        click.get_current_context().exit(1)


def _find(
    paths: Paths, base_dir: str | None, model: str | None, selector: str | None
) -> tuple[str, Tokenizer | None, int | None]:
    """Name, tokenizer and context of what was asked for; else of the newest model, the newest tokenizer, or none."""
    from nanochat.checkpoints.layout import read_json
    from nanochat.checkpoints.selector import candidates, describe_place
    from nanochat.checkpoints.store import CONFIG, TOKENIZER
    from nanochat.tokenizer.tokenizer import Tokenizer

    if selector:
        found = open_tokenizer(selector, base_dir)
        return found.name, found.tokenizer, None
    try:
        step_dir = candidates(paths, model)[0]
    except MissingError:
        if model:
            raise
        try:
            found = open_tokenizer(None, base_dir)
        except MissingError:
            return "", None, None
        return found.name, found.tokenizer, None
    shape = read_json(step_dir / CONFIG) or {}
    return describe_place(step_dir), Tokenizer.load(step_dir / TOKENIZER), shape.get("sequence_len")


@contextmanager
def _written(path: Path | None) -> Iterator[Callable[[Conversation], None] | None]:
    """Writes conversations to a file that takes its name when all are in it; of none there is no file."""
    if path is None:
        yield None
        return
    from nanochat.runtime.files import translate_os_errors
    from nanochat.tasks.formats import to_line

    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as file:
                yield lambda conversation: print(to_line(conversation), end="", file=file)
            if temporary.stat().st_size:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _print_check(file: Path, check: FileCheck, name: str, context: int | None) -> None:
    """Everything that was counted, on stdout; what is wrong, on stderr."""
    from nanochat.console.words import safe

    forms = ", ".join(f"{form} {count:,}" if len(check.formats) > 1 else form for form, count in check.formats.items())
    click.echo(f"{safe(str(file))}: {_count(check.conversations, 'conversation')}" + (f" ({forms})" if forms else ""))
    rows: list[tuple[str, str]] = []
    if check.conversations:
        mean = check.turns / check.conversations
        roles = ", ".join(f"{role} {count:,}" for role, count in check.roles.items())
        rows += [("answers", f"{mean:.1f} each, {check.most_turns} at most"), ("messages", roles)]
        if check.tool_calls:
            rows.append(("tool calls", f"{check.tool_calls:,}"))
    if check.conversations and (tokens := check.tokens):
        mean = tokens.total / check.conversations
        longest = f"longest {tokens.longest:,} (line {tokens.longest_line:,})"
        rows.append(("tokens", f"{tokens.total:,}, {mean:,.0f} each, {longest}; by {name}"))
        rows.append(("trained", f"{tokens.trained:,} in sft, {tokens.trained / tokens.total:.0%}"))
        if context and tokens.cut:
            lost = f", {tokens.lost:,} of them in front, as their answers come later" if tokens.lost else ""
            rows.append(("too long", f"{tokens.cut:,} for the context of {context:,}: training cuts them{lost}"))
        elif context:
            rows.append(("context", f"{context:,}: all fit"))
    elif check.conversations:
        rows.append(("tokens", "not counted: there is no tokenizer yet (nanochat tokenizer train)"))
    for label, text in rows:
        click.echo(f"  {label:<10} {text}")
    if not check.conversations and not check.bad:
        human_console().print("there is no conversation in it", style="red", markup=False, soft_wrap=True)
    if check.bad:
        console = human_console()
        console.print(f"{_count(check.bad, 'bad line')}:", style="red", markup=False, soft_wrap=True)
        for problem in check.problems[:NAMED]:
            console.print(f"  {safe(problem.complaint)}", markup=False, soft_wrap=True)
        if check.bad > NAMED:
            console.print(f"  and {check.bad - NAMED:,} more", markup=False, soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
