"""The `nanochat` command: the list of sub-commands, and the one place that prints errors and exits.

A sub-command is imported when it runs, so `--help`, `--version` and TAB load click and nothing else. An error
that the library raised becomes two lines on stderr and an exit code; anything else is a bug and keeps its
traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from nanochat.console.failures import failure, memory_failure, os_failure, stdout_is_closed, usage_failure
from nanochat.console.log_format import LOG_FORMAT, named_in, wants_json
from nanochat.errors import NanochatError
from nanochat.runtime.launch.ending import Ending
from nanochat.runtime.sharing import share_cores

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
    "data tasks": (
        "nanochat.commands.data_tasks:tasks",
        "Fetch the data of tasks from the Hugging Face hub; without a NAME list what is there.",
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
    "train rl": ("nanochat.commands.train:rl", "Let a model practise: what is paid well becomes likelier."),
    "eval": ("", "Numbers about a model."),
    "eval base": (
        "nanochat.commands.eval_base:base",
        "Measure a model: bits per byte, CORE with intervals, samples.",
    ),
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
    "models diff": ("nanochat.commands.models_diff:diff", "Compare what two models scored on the same questions."),
    "models import": (
        "nanochat.commands.models_import:import_",
        "Take over a checkpoint of the reference system, of any era.",
    ),
    "watch": ("nanochat.commands.watch:watch", "Watch a run: curves, speed, samples, pipeline."),
    "slurm": ("nanochat.commands.slurm:slurm", "Write batch scripts that run a command on a SLURM cluster."),
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
    """The console script: runs the command of `sys.argv` and exits with its code.

    One of several processes tells its end to whoever started it, see `runtime.launch.worker`.
    """
    _on_signals(_leave)
    share_cores(os.environ)
    if _is_worker():
        from nanochat.runtime.launch.worker import begin

        begin(os.environ)
    try:
        ending = _run(sys.argv[1:])
    except SystemExit as stop:
        ending = Ending(exit_code=stop.code if isinstance(stop.code, int) else 1)
    except Exception as error:
        if not _is_worker() and not wants_json():
            raise
        ending = _bug(error)
    _on_signals(signal.SIG_IGN)  # torch takes half a second to leave: a signal then must not change the answer
    if not _is_worker():  # asked again: SLURM's tasks learn in the command that they are
        sys.exit(_tell(ending))
    from nanochat.runtime.launch.worker import part

    sys.exit(part(os.environ, ending))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, or that of the error it printed on stderr.

    Args:
        argv: words after `nanochat`, by default those of this process.

    Raises:
        Exception: a bug, as it was raised; where stderr is for programs it is printed too.
    """
    try:
        return _tell(_run(list(sys.argv[1:] if argv is None else argv)))
    except Exception as error:
        if not wants_json():
            raise
        return _tell(_bug(error))


def _is_worker() -> bool:
    """Whether this is one of several processes."""
    if "RANK" not in os.environ:
        return False
    from nanochat.runtime.processes import is_worker

    return is_worker(os.environ)


def _bug(error: Exception) -> Ending:
    from nanochat.runtime.launch.worker import ending_of

    return ending_of(error)


def _tell(ending: Ending) -> int:
    if wants_json() and (ending.message or ending.trace):
        from nanochat.console.json_lines import write_ending

        write_ending(ending)
        return ending.exit_code
    for label, line in (("error", ending.message), ("hint", ending.hint)):
        if line:
            click.echo(f"{label}: {line}", err=True)
    return ending.exit_code


def _run(args: list[str]) -> Ending:
    """Runs one command; how it ended, in words where there is something to say."""
    LOG_FORMAT.set(named_in(args))
    try:
        code = _invoke(args)
        sys.stdout.flush()
        return Ending(exit_code=code)
    except NanochatError as error:
        return failure(error.message, error.hint, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        return Ending(exit_code=error.exit_code)
    except click.UsageError as error:
        return usage_failure(error, f"{PROGRAM} {_command_name(args)}".strip())
    except click.ClickException as error:
        return failure(error.format_message(), "", error.exit_code)
    except click.Abort as error:
        if isinstance(error.__cause__ or error.__context__, EOFError):
            return failure("input ended before an answer", "add --yes, or run it in a terminal", 1)
        return failure("interrupted", "", 130)
    except KeyboardInterrupt:
        return failure("interrupted", "", 130)
    except BrokenPipeError:
        if not stdout_is_closed():
            raise
        # as if SIGPIPE had ended us: `nanochat models list | head -1` is no error to talk about
        return Ending(exit_code=128 + 13)
    except OSError as error:
        return os_failure(error)
    except (MemoryError, RuntimeError) as error:
        from nanochat.runtime.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return memory_failure(error, _memory_hint(args))


def _invoke(args: list[str]) -> int:
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    try:
        with root.make_context(PROGRAM, args.copy(), obj=tuple(args)) as ctx:  # the words, to start them elsewhere
            root.invoke(ctx)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return 0


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


def _on_signals(handler: Any) -> None:
    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handler)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process through `finally` blocks; a stage that can save replaces this while it runs."""
    sys.exit(128 + number)
