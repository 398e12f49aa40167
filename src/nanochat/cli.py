"""The `nanochat` command: the list of sub-commands, and the one place that prints errors and exits.

A sub-command is imported when it runs, so `--help`, `--version` and TAB load click and nothing else. An error
that the library raised becomes two lines on stderr and an exit code; anything else is a bug and keeps its
traceback.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from nanochat.errors import NanochatError, OutOfMemoryError

PROGRAM = "nanochat"
COMPLETE_VARIABLE = "_NANOCHAT_COMPLETE"

# name: (place, first line of its help), A group has no place; its commands are "group name".
COMMANDS: dict[str, tuple[str, str]] = {
    "speedrun": (
        "nanochat.commands.speedrun:speedrun",
        "Train a chat model end to end and ask it a few questions.",
    ),
    "data": ("", "Text to train on."),
    "data download": (
        "nanochat.commands.data_download:download",
        "Fetch a data set from the Hugging Face hub, or files by URL.",
    ),
    "data pocket": (
        "nanochat.commands.data:pocket",
        "Write the pocket corpus: true English about a small world.",
    ),
    "data import": ("nanochat.commands.data_import:import_", "Make a data set of your own text."),
    "data list": (
        "nanochat.commands.data_sets:list_",
        "List the data sets: documents, text, shards, size on disk, and what they were made by.",
    ),
    "data show": (
        "nanochat.commands.data_sets:show",
        "Show a data set: totals, shards, and some of its documents with their places.",
    ),
    "data verify": (
        "nanochat.commands.data_sets:verify",
        "Compare data sets with their manifests and read every row group.",
    ),
    "data chat-check": (
        "nanochat.commands.data_chat:chat_check",
        "Check a file of conversations and show how a model sees them.",
    ),
    "data identity": (
        "nanochat.commands.data_identity:identity",
        "Write conversations about who your model is.",
    ),
    "tokenizer": ("", "Vocabularies."),
    "tokenizer train": ("nanochat.commands.tokenizer:train", "Learn a vocabulary from a data set."),
    "tokenizer eval": (
        "nanochat.commands.tokenizer_eval:eval_",
        "Compare a tokenizer's bytes per token with those of GPT-2 and GPT-4.",
    ),
    "tokenizer encode": ("nanochat.commands.tokens:encode", "Print the ids of a text."),
    "tokenizer decode": ("nanochat.commands.tokens:decode", "Print the text of ids."),
    "tokenizer show": ("nanochat.commands.tokens:show", "Show the tokens of a text with their ids."),
    "tokenizer export": (
        "nanochat.commands.tokenizer_export:export",
        "Write a tokenizer for other programs, with the same ids.",
    ),
    "train": ("", "Train one stage of a model."),
    "train base": ("nanochat.commands.train:base", "Pretrain a model on text."),
    "train mid": ("nanochat.commands.train:mid", "Teach a base model the form of a conversation."),
    "train sft": ("nanochat.commands.train:sft", "Fine-tune a model on the answers of conversations."),
    "eval": ("", "Numbers about a model."),
    "eval chat": ("nanochat.commands.eval:chat", "Score a model on tasks, with intervals."),
    "chat": ("nanochat.commands.chat:chat", "Talk to a model."),
    "report": ("nanochat.commands.report:report", "Write the report of a model in Markdown."),
    "models": ("", "What has been trained."),
    "models list": (
        "nanochat.commands.models:list_",
        "List what has been trained, a line for each stage of each model.",
    ),
    "models show": (
        "nanochat.commands.models:show",
        "Show one checkpoint: its shape, losses, evaluations and files, each compared with the manifest.",
    ),
    "models import": (
        "nanochat.commands.models_import:import_",
        "Take over a checkpoint of the reference system, of any era.",
    ),
    "bench": ("", "How fast this machine is."),
    "bench train": ("nanochat.commands.bench:train", "Time training steps of a model on random tokens."),
    "bench infer": ("nanochat.commands.bench:infer", "Time prompts and answers of a model."),
    "bench matmul": ("nanochat.commands.bench:matmul", "Time matrix products, the bound of everything else."),
    "config": ("", "Settings and where they come from."),
    "config show": ("nanochat.commands.config:show", "Show every setting, its value and its origin."),
    "completion": ("nanochat.commands.completion:completion", "Print a shell completion script."),
}

_MEMORY_HINT = "use a smaller model, or close what else is using this memory"
_MEMORY_FLAG = "--device-batch-size"


class LazyGroup(click.Group):
    """A group that knows its commands from `COMMANDS` and imports one only to run it or to show its own help.

    Args:
        path: words that lead to this group, "" for the root.
    """

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.path = path

    def entries(self) -> dict[str, tuple[str, str]]:
        """(place, help) of the commands of this group by their last word, in the order of the table."""
        prefix = f"{self.path} " if self.path else ""
        return {
            name.removeprefix(prefix): entry
            for name, entry in COMMANDS.items()
            if name.startswith(prefix) and " " not in name.removeprefix(prefix)
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, which follows the work, not the alphabet."""
        return list(self.entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports one command."""
        if cmd_name not in self.entries():
            return None
        place, help_line = self.entries()[cmd_name]
        if not place:
            return LazyGroup(f"{self.path} {cmd_name}".strip(), name=cmd_name, help=help_line)
        module, attribute = place.split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands of a help page without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.entries().items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Answers TAB without importing a command."""
        found = [
            CompletionItem(name, help=help_line)
            for name, (_, help_line) in self.entries().items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # 15 ms, only for this

    try:
        click.echo(f"{PROGRAM} {version(PROGRAM)}")
    except PackageNotFoundError:
        click.echo(f"{PROGRAM} (not installed)")
    ctx.exit()


root = LazyGroup(
    "",
    name=PROGRAM,
    help="Train a small ChatGPT-like model of your own and talk to it.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Option(["--base-dir"], metavar="PATH", help="Folder for models, data and downloads."),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and exit.",
        ),
    ],
    callback=lambda base_dir: None,
)


def entry() -> NoReturn:
    """The console script: runs the command of `sys.argv` and exits with its code."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    code = main()
    for name in ("SIGTERM", "SIGUSR1"):  # torch takes half a second to leave: a signal then must not change the answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, or that of the error it printed on stderr.

    Args:
        argv: words after `nanochat`, by default those of this process.

    Raises:
        Exception: a bug, as it was raised.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except NanochatError as error:
        return _fail(error.message, error.hint, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        return error.exit_code
    except click.UsageError as error:
        return _fail(_usage_message(error), _usage_hint(error, args), error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), "", error.exit_code)
    except click.Abort as error:
        if isinstance(error.__cause__ or error.__context__, EOFError):
            return _fail("input ended before an answer", "add --yes, or run it in a terminal", 1)
        return _fail("interrupted", "", 130)
    except KeyboardInterrupt:
        return _fail("interrupted", "", 130)
    except BrokenPipeError:
        if not _stdout_is_closed():
            raise
        return 128 + 13  # as if SIGPIPE had ended us: `nanochat models list | head -1` is no error to talk about
    except OSError as error:
        return _fail_os(error)
    except (MemoryError, RuntimeError) as error:
        from nanochat.runtime.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return _fail_memory(error, args)


def _run(args: list[str]) -> int:
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    try:
        with root.make_context(PROGRAM, args.copy()) as ctx:
            root.invoke(ctx)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return 0


def _fail(message: str, hint: str, code: int) -> int:
    """Prints what happened and what to do next, one line each, and returns the exit code."""
    click.echo(f"error: {_one_line(message)}", err=True)
    if hint:
        click.echo(f"hint: {_one_line(hint)}", err=True)
    return code


def _one_line(text: str) -> str:
    from nanochat.console.words import safe  # names of files and what manifests say may come from strangers

    return safe(" ".join(text.split()))


def _usage_message(error: click.UsageError) -> str:
    """The message in our words: `no such option --dept; did you mean --depth?`."""
    if isinstance(error, click.NoSuchOption):
        return f"no such option {error.option_name}{_suggest(error.possibilities)}"
    if isinstance(error, click.exceptions.NoSuchCommand):
        return f"no such command {error.command_name!r}{_suggest(_close_commands(error))}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        choices = error.param.type.get_missing_message(param=error.param, ctx=error.ctx) or ""
        return f"{_label(error.param)} is not given. {choices}".rstrip(" .")
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_label(error.param)}: {error.message.rstrip('.')}"
    message = _one_line(error.format_message())
    return message[:1].lower() + message[1:].rstrip(".")


def _usage_hint(error: click.UsageError, args: Sequence[str]) -> str:
    name = error.ctx.command_path if error.ctx else f"{PROGRAM} {_command_name(args)}".strip()
    return f"{name} --help"


def _label(param: click.Parameter) -> str:
    """The flag of an option, the word in capitals of an argument."""
    return max(param.opts, key=len) if isinstance(param, click.Option) else (param.name or "").upper()


def _close_commands(error: click.exceptions.NoSuchCommand) -> list[str]:
    from difflib import get_close_matches

    group = error.ctx.command if error.ctx else root
    names = group.list_commands(error.ctx) if error.ctx and isinstance(group, LazyGroup) else []
    return get_close_matches(error.command_name, names)


def _suggest(possibilities: list[str] | None) -> str:
    return f"; did you mean {possibilities[0]}?" if possibilities else ""


def _fail_os(error: OSError) -> int:
    """Errors of the file system that a person can mend; others are bugs and are raised again."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR)
    if not full and not (refused and error.filename):
        raise error
    from nanochat.runtime.files import translate_os_errors

    try:
        with translate_os_errors(Path("the disk")):
            raise error
    except NanochatError as translated:
        return _fail(translated.message, translated.hint, translated.exit_code)


def _fail_memory(error: BaseException, args: Sequence[str]) -> int:
    detail = str(error).strip().split("\n")[0]
    message = f"out of memory: {detail}" if detail else "out of memory"
    return _fail(message, _memory_hint(args), OutOfMemoryError.exit_code)


def _command_name(args: Sequence[str]) -> str:
    """The longest command of the table among these words, "" for none; good enough for a hint."""
    words = " ".join(arg for arg in args if not arg.startswith("-"))
    return max((name for name in COMMANDS if f" {name} " in f" {words} "), key=len, default="")


def _memory_hint(args: Sequence[str]) -> str:
    """Names the flag to lower where the command has it."""
    name = _command_name(args)
    if place := COMMANDS.get(name, ("", ""))[0]:
        module, attribute = place.split(":")
        command: click.Command = getattr(import_module(module), attribute)
        if any(_MEMORY_FLAG in param.opts for param in command.params):
            return f"lower {_MEMORY_FLAG} (half of it first), then --sequence-len or --depth"
    return _MEMORY_HINT


def _stdout_is_closed() -> bool:
    """Whether the reader of our output has gone; if so the rest goes to nowhere, so that exit is quiet."""
    import select

    try:
        stdout = sys.stdout.fileno()
        poll = select.poll()  # not on Windows, where a closed pipe is another error anyway
    except (AttributeError, OSError, ValueError):
        return False
    poll.register(stdout, 0)
    if not poll.poll(0):  # nothing was asked for, so any answer is POLLERR or POLLHUP
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
    return True


def _on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process through `finally` blocks; a stage that can save replaces this while it runs."""
    sys.exit(128 + number)
