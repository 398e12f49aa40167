"""`nanochat tokenizer encode`, `decode` and `show`: text to ids, ids to bytes, and both for the eye."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from click.shell_completion import CompletionItem

from nanochat.commands.options import base_dir_option, emit_json, is_plain, json_option
from nanochat.errors import MissingError, UsageError

if TYPE_CHECKING:
    from nanochat.checkpoints.tokenizers import FoundTokenizer
    from nanochat.console.tokens import TokenView
    from nanochat.tokenizer.conversation import Conversation
    from nanochat.tokenizer.tokenizer import Tokenizer

F = TypeVar("F", bound=Callable[..., Any])

_ID = re.compile(r"[0-9]{1,18}")


def complete_tokenizer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers tokenizers and models by name, and files where a path is begun."""
    from nanochat.commands.models import complete_selector
    from nanochat.errors import NanochatError
    from nanochat.runtime.paths import resolve_paths

    if incomplete.startswith((".", "~", "/")):
        return [CompletionItem(incomplete, type="dir")]
    try:
        root = resolve_paths(ctx.params.get("base_dir"), os.environ).base / "tokenizers"
        names = sorted(path.name for path in root.iterdir() if path.is_dir())
    except (NanochatError, OSError):
        names = []
    items = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return items + [item for item in complete_selector(ctx, param, incomplete) if item.value not in names]


def tokenizer_option(function: F) -> F:
    """Adds `--tokenizer` and gives the command `selector: str | None`, for `open_tokenizer`."""
    return click.option(
        "-t",
        "--tokenizer",
        "selector",
        metavar="NAME",
        shell_complete=complete_tokenizer,
        help="Name, folder, or model that carries it; the newest by default.",
    )(function)


def open_tokenizer(selector: str | None, base_dir: str | None) -> FoundTokenizer:
    """The tokenizer that `--tokenizer` means."""
    from nanochat.checkpoints.tokenizers import find_tokenizer
    from nanochat.runtime.paths import resolve_paths

    return find_tokenizer(resolve_paths(base_dir, os.environ), selector)


@click.command()
@click.argument("text", required=False)
@tokenizer_option
@base_dir_option
@json_option
def encode(text: str | None, selector: str | None, base_dir: str | None, as_json: bool) -> None:
    """Print the ids of a text.

    Without TEXT, or with -, it is read from standard input, to the last byte: echo adds a line break, printf
    does not. No text becomes a special token. With --json: {"ids": [...], "tokens": [...]}.
    """
    tokenizer = open_tokenizer(selector, base_dir).tokenizer
    ids = tokenizer.encode(_read_text(text))
    if as_json:
        emit_json({"ids": ids, "tokens": _texts(tokenizer, ids)})
    else:
        click.echo(" ".join(map(str, ids)))


@click.command()
@click.argument("ids", nargs=-1)
@tokenizer_option
@base_dir_option
@json_option
def decode(ids: tuple[str, ...], selector: str | None, base_dir: str | None, as_json: bool) -> None:
    """Print the text of ids.

    IDS are separated by blanks or commas; without any they are read from standard input, where the JSON of
    encode is understood too. Into a pipe or a file go exactly the bytes of the tokens; on a terminal, control
    characters are shown as escapes. A special token gives its name.
    """
    tokenizer = open_tokenizer(selector, base_dir).tokenizer
    wanted = _parse_ids(" ".join(ids) if ids else _read_stdin().decode("utf-8", "replace"))
    _check_ids(wanted, tokenizer)
    data = tokenizer.decode_bytes(wanted)
    if as_json:
        text = data.decode("utf-8", "replace")
        emit_json({"ids": wanted, "tokens": _texts(tokenizer, wanted), "text": text})
    elif sys.stdout.isatty():
        _print_safely(data)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@click.command()
@click.argument("text", required=False)
@click.option("--conversation", metavar="FILE", help="Show a conversation (JSON) as it is trained on; - is stdin.")
@tokenizer_option
@base_dir_option
@json_option
def show(text: str | None, conversation: str | None, selector: str | None, base_dir: str | None, as_json: bool) -> None:
    """Show the tokens of a text with their ids.

    Without TEXT, or with -, it is read from standard input. Without colours it is one token a line. With
    --conversation, FILE holds {"messages": [{"role": "user", "content": "Hi"}, ...]}; tokens that a model
    learns to say are underlined, or marked + without colours. Control characters, direction marks and
    incomplete characters are shown as escapes.
    """
    if text is not None and conversation is not None:
        raise UsageError("a text and --conversation were given", "leave one of them out")
    found = open_tokenizer(selector, base_dir)
    mask: list[int] | None = None
    if conversation is None:
        ids = found.tokenizer.encode(_read_text(text))
    else:
        from nanochat.tokenizer.render import render

        ids, mask = render(found.tokenizer, _read_conversation(conversation))
    if as_json:
        value = {"ids": ids, "tokens": _texts(found.tokenizer, ids)}
        emit_json(value if mask is None else {**value, "mask": mask})
        return
    print_tokens(token_views(found.tokenizer, ids, mask), masked=mask is not None)
    size = sum(map(found.tokenizer.token_bytes().__getitem__, ids))
    click.echo(_summary(found.name, ids, mask, size), err=True)


def _texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    from nanochat.console.tokens import token_text

    return [token_text(tokenizer.decode_bytes([token])) for token in ids]


def token_views(tokenizer: Tokenizer, ids: Sequence[int], mask: Sequence[int] | None) -> list[TokenView]:
    """The tokens of ids, with the mask of what is trained where there is one."""
    from nanochat.console.tokens import TokenView

    specials = {tokenizer.special(name) for name in tokenizer.special_tokens}
    texts = _texts(tokenizer, ids)
    return [
        TokenView(token, texts[at], token in specials, None if mask is None else bool(mask[at]))
        for at, token in enumerate(ids)
    ]


def print_tokens(tokens: list[TokenView], *, masked: bool, legend: bool = True) -> None:
    """Tokens on stdout, in colour or a line each; the legend says what the marks of the mask mean."""
    from nanochat.console.tokens import LEGEND_STYLES, coloured_lines, plain_lines

    escape_unknown(sys.stdout)
    if is_plain(sys.stdout, os.environ):
        sys.stdout.write("".join(f"{line}\n" for line in plain_lines(tokens)))
        if masked and legend:
            click.echo("+ trained: the model learns to say it", err=True)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(force_terminal=True, highlight=False)
    for line in coloured_lines(tokens, console.width):
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    if masked and legend:
        trained, given, special = LEGEND_STYLES
        words = Text().append("trained", trained).append("  ").append("given", given).append("  ")
        console.print(Text("\n").append(words.append("special", special)))


def _summary(name: str, ids: Sequence[int], mask: Sequence[int] | None, size: int) -> str:
    parts = [f"{len(ids):,} token{'' if len(ids) == 1 else 's'}"]
    if mask is not None:
        parts.append(f"{sum(mask):,} trained")
    else:
        parts.append(f"{size:,} byte{'' if size == 1 else 's'}")
        parts.append(f"{size / len(ids):.2f} bytes a token" if ids else "")
    return ", ".join(filter(None, parts)) + f" ({name})"


def _print_safely(data: bytes) -> None:
    """On a terminal: lines stay lines, everything that could act on it becomes an escape."""
    from nanochat.console.tokens import token_text, visible

    escape_unknown(sys.stdout)
    sys.stdout.write("".join(f"{visible(line)}\n" for line in token_text(data).removesuffix("\n").split("\n")))


def escape_unknown(stream: TextIO) -> None:
    """A stream that has no é shows which character it was; `click.echo` would send it UTF-8."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


# reading


def _read_stdin() -> bytes:
    if sys.stdin.isatty():
        click.echo("reading from the terminal; end with Ctrl-D", err=True)
    return sys.stdin.buffer.read()


def _read_text(text: str | None) -> str:
    """TEXT, or standard input.

    Raises:
        UsageError: it is not UTF-8; the byte is named.
    """
    if text is None or text == "-":
        return _utf8(_read_stdin(), "standard input")
    try:
        data = text.encode("utf-8", "surrogateescape")  # as Python keeps bytes of an argument that are not UTF-8
    except UnicodeEncodeError:
        raise UsageError("TEXT holds half of a surrogate pair", "give it on standard input, as UTF-8") from None
    return _utf8(data, "TEXT")


def _utf8(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{what} is not UTF-8: byte 0x{data[error.start]:02X} at position {error.start}",
            "convert it first, as with iconv -f LATIN1 -t UTF-8",
        ) from None


def _parse_ids(text: str) -> list[int]:
    """Ids between blanks, commas and brackets, or in the JSON that encode printed.

    Raises:
        UsageError: something that is no id; it is named, with its place.
    """
    if text.lstrip().startswith("{"):
        try:
            listed = json.loads(text)["ids"]
        except (ValueError, KeyError, RecursionError):
            raise UsageError("this JSON holds no list of ids", 'give ids, or {"ids": [...]}') from None
        words = [json.dumps(item) for item in listed] if isinstance(listed, list) else [json.dumps(listed)]
    else:
        words = re.sub(r"[\s,\[\]]+", " ", text).split()
    for position, word in enumerate(words, 1):
        if not _ID.fullmatch(word):
            shown = ascii(word if len(word) <= 40 else f"{word[:40]}...")
            raise UsageError(f"{shown} is not a token id (number {position} of {len(words)})", "ids are 0, 1, 2, ...")
    return [int(word) for word in words]


def _check_ids(ids: Sequence[int], tokenizer: Tokenizer) -> None:
    for position, token in enumerate(ids, 1):
        if token >= tokenizer.vocab_size:
            raise UsageError(
                f"token id {token} (number {position} of {len(ids)}) is not in the vocabulary "
                f"(0 to {tokenizer.vocab_size - 1})",
                "were these ids made by another tokenizer? name it with --tokenizer",
            )


def _read_conversation(file: str) -> Conversation:
    """A conversation from a JSON file: an object with messages, or the list of them.

    Raises:
        MissingError: no such file.
        UsageError: not UTF-8, not JSON; the line is named.
        ConversationError: no conversation.
    """
    from pathlib import Path

    from nanochat.runtime.files import translate_os_errors
    from nanochat.tokenizer.conversation import Conversation

    path = Path(file)
    if file == "-":
        data, file = _read_stdin(), "standard input"
    else:
        with translate_os_errors(path):
            if not path.exists():
                raise MissingError(
                    f"there is no file {file}", 'write one: {"messages": [{"role": "user", "content": "Hi"}]}'
                )
            data = path.read_bytes()
    try:
        value = json.loads(_utf8(data, file))
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}", "one conversation a file, an object with messages") from None
    except RecursionError:
        raise UsageError(f"{file} is nested too deeply", "one conversation a file") from None
    return Conversation.from_dict({"messages": value} if isinstance(value, list) else value)
