"""`nanochat slurm`: batch scripts that run a command on a cluster."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from nanochat.commands.options import base_dir_option, config_of, config_options, confirm, yes_option
from nanochat.config.load import Resolved
from nanochat.config.slurm import SlurmConfig
from nanochat.errors import Interrupted, MissingError, NanochatError, UsageError

RUNNABLE = ("train", "speedrun", "eval")
# options of those commands that make no sense in a job: SLURM starts the processes, and a plan needs no GPUs
_PROCESSES = ("nproc", "nnodes", "node_rank", "rdzv_endpoint")


class PassingCommand(click.Command):
    """A command whose words after the first are those of another one; TAB among them asks that one."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offers what the inner command offers, and our own options before it begins."""
        words = list(ctx.params.get("words") or ())
        if not words:
            return super().shell_complete(ctx, incomplete)
        return _complete_inner(ctx, words, incomplete)


def _complete_inner(ctx: click.Context, words: list[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import ShellComplete

    root = ctx.find_root()
    return ShellComplete(root.command, {}, root.info_name or "", "").get_completions(words, incomplete)


def _complete_words(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    words = list(ctx.params.get("words") or ())
    found = _complete_inner(ctx, words, incomplete)
    return found if words else [item for item in found if item.value in RUNNABLE]


@click.command(cls=PassingCommand, context_settings={"allow_interspersed_args": False})
@click.argument(
    "words",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="COMMAND...",
    shell_complete=_complete_words,
)
@config_options(SlurmConfig, "slurm")
@click.option("--setup", "more_setup", multiple=True, metavar="LINE", help="A line of shell that comes first; several.")
@click.option(
    "--sbatch", "more_sbatch", multiple=True, metavar="KEY=VALUE", help="A further option of sbatch, as mem=0; several."
)
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Write the files here, not to stdout.")
@click.option("--submit", is_flag=True, help="Run prepare.sh here and submit the job; needs --output.")
@yes_option
@base_dir_option
def slurm(
    words: tuple[str, ...],
    config: Resolved[SlurmConfig],
    more_setup: tuple[str, ...],
    more_sbatch: tuple[str, ...],
    output: Path | None,
    submit: bool,
    yes: bool,
    base_dir: str | None,
) -> None:
    """Write batch scripts that run a command on a SLURM cluster.

    COMMAND is train base, mid, sft or rl, speedrun, eval base or eval chat, with all its options; options of this
    command come before it. prepare.sh makes data and tokenizer on the login node, the other script is the job. It
    saves ahead of the time limit, queues itself again and goes on, until the run is done.

    \b
    nanochat slurm --nodes 4 --partition gpu --output jobs train base --depth 20 --data climbmix --device-batch-size 8
    bash jobs/prepare.sh && sbatch jobs/train.sbatch
    """
    from nanochat.stages.slurm import Job, scripts

    if submit and output is None:
        raise UsageError("--submit needs a folder for the scripts", "add --output DIR")
    settings = dataclasses.replace(
        config.value,
        setup="\n".join(filter(None, (config.value.setup, *more_setup))),
        sbatch="\n".join(filter(None, (config.value.sbatch, *more_sbatch))),
    )
    ctx = click.get_current_context()
    inner, inner_words = parse_inner(ctx.find_root(), words)
    folder = _given(inner, "base_dir") or base_dir
    job = Job(
        words=inner_words,
        config=_inner_config(inner),
        base_dir=str(Path(folder).absolute()) if folder else None,
        venv=_this_venv() if settings.venv == "auto" else settings.venv,
    )
    files = scripts(job, settings)
    if output is None:
        click.echo("\n".join(f"# ==> {name} <==\n{text}" for name, text in files.items()), nl=False)
        return
    _write(output, files, yes)
    paths = [output / name for name in files]
    click.echo("\n".join(map(str, paths)))
    run = [["bash", str(path)] for path in paths[:-1]] + [["sbatch", str(paths[-1])]]
    if submit:
        _submit(run)
    else:
        click.echo(f"Next:  {' && '.join(map(shlex.join, run))}", err=True)


def parse_inner(root: click.Context, words: Sequence[str]) -> tuple[click.Context, tuple[str, ...]]:
    """The parsed context of the command that the words are, and the words without a `--` behind its name.

    Raises:
        UsageError: no command that a job can run.
        click.UsageError: as that command itself.
    """
    if words[0] not in RUNNABLE:
        raise UsageError(
            f"a job cannot run {words[0]!r}", "nanochat slurm train base, mid, sft or rl, speedrun, eval base or chat"
        )
    ctx, rest = root, list(words)
    while True:
        assert isinstance(ctx.command, click.Group)
        if not rest:
            raise click.exceptions.NoArgsIsHelpError(ctx)
        name, command, rest = ctx.command.resolve_command(ctx, rest)
        assert command is not None
        if not isinstance(command, click.Group):
            break
        ctx = click.Context(command, info_name=name, parent=ctx)
    path = words[: len(words) - len(rest)]
    if rest[:1] == ["--"]:
        rest = rest[1:]
    try:
        return command.make_context(name, rest.copy(), parent=ctx), (*path, *rest)
    except click.UsageError as error:  # one without a context would be taken for one of this command
        error.ctx = error.ctx or click.Context(command, info_name=name, parent=ctx)
        raise


def _inner_config(ctx: click.Context) -> Any:
    """The configuration of the inner command; of a speedrun its recipe.

    Raises:
        UsageError: settings that cannot work, or that are not for a job.
    """
    from nanochat.config.speedrun import PRESETS

    for name in _PROCESSES:
        if _given(ctx, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"in a job SLURM starts the processes, not {flag}", "use --nodes and --tasks-per-node")
    if _given(ctx, "dry_run"):
        raise UsageError("--dry-run needs no job", f"run {ctx.command_path} --dry-run here")
    config = config_of(ctx)
    preset = ctx.params.get("preset")
    return PRESETS[preset](config) if preset else config


def _given(ctx: click.Context, name: str) -> Any:
    """The value of an option that was typed, else None."""
    return ctx.params.get(name) if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE else None


def _this_venv() -> str | None:
    """The virtual environment of this process."""
    inside = sys.prefix != sys.base_prefix and (Path(sys.prefix) / "bin" / "activate").is_file()
    return sys.prefix if inside else None


def _write(folder: Path, files: Mapping[str, str], yes: bool) -> None:
    """Write the scripts; those that are there and differ may have been edited, so they are asked for."""
    from nanochat.runtime.files import atomic_write_text, translate_os_errors

    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        there = [name for name in files if (folder / name).exists()]
        changed = [name for name in there if (folder / name).read_text(encoding="utf-8") != files[name]]
    if changed:
        confirm(f"Replace {' and '.join(changed)} in {folder}?", yes=yes)
    for name, text in files.items():
        atomic_write_text(folder / name, text)


def _submit(commands: Sequence[Sequence[str]]) -> None:
    """Prepare here, then hand the job to SLURM.

    Raises:
        MissingError: there is no sbatch.
        Interrupted: the preparation was stopped.
        NanochatError: a command failed; what it said stands above.
    """
    if not shutil.which("sbatch"):
        raise MissingError("there is no sbatch here", "run this on a login node of the cluster")
    for command in commands:
        code = subprocess.run(command, check=False).returncode
        line = shlex.join(command)
        if code == Interrupted.exit_code:
            raise Interrupted(f"{line} was stopped; nothing was submitted", "the same command goes on")
        if code:
            raise NanochatError(f"{line} ended with code {code}; nothing was submitted", "mend what it says above")
