"""Batch scripts for SLURM: what the login node does first, and the job that runs a command on the compute nodes.

Pure: a job and settings in, texts out. Each GPU has one task, and each task is one process of the run: it learns from
SLURM's environment which. The signal ahead of the time limit goes to the tasks. They save and leave with code 75, and
the script then queues its own job again, so a run goes on until it is done. What SLURM does with signals and exit
codes, and why the script is as it is:

- a signal to a step reaches the tasks themselves and none of their children, so no shell stands around `nanochat`;
- with `--kill-on-bad-exit` the first task that leaves with a code has the others sent SIGTERM, and SIGKILL after
  KillWait (30 s): too little for a save, and srun's code would be that of the signal. So it is off, also where the
  cluster has it on. Processes notice themselves when one is gone; `--wait` ends what still hangs long after that;
- srun leaves with the highest code, and with 128 + signal when any task was killed by one: a 75 means that nobody was;
- 128 + SIGUSR1 means that the signal came while a process was still starting, when there was nothing to save;
- `scancel`, and a time limit that came too early, send SIGTERM to the script too. It then waits for srun, which would
  kill the tasks if it got that signal itself, and does not queue the job again.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.config.conversations import AUTO, Ingredient, parse_ingredients, recipe_of
from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.config.evaluate_base import BaseEvalConfig
from nanochat.config.fields import options_of
from nanochat.config.mixture import parse_mixture
from nanochat.config.rl import RlConfig
from nanochat.config.slurm import SlurmConfig
from nanochat.config.speedrun import Recipe
from nanochat.config.train import BaseTrainConfig, ChatTrainConfig, MidTrainConfig
from nanochat.data.sources import SOURCES, shards_for
from nanochat.errors import UsageError
from nanochat.runtime.paths import check_name
from nanochat.tasks.names import CHATCORE, CORE, DESCRIPTIONS, canonical, is_file, is_task
from nanochat.training.horizon import base_horizon

PREPARE = "prepare.sh"
HANGING_S = 300  # after the first task has left; a save of the largest models takes less, and so does noticing a death


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What the compute nodes are to run.

    Attributes:
        words: of the command line, after `nanochat`.
        config: of that command; of a speedrun its recipe.
        base_dir: folder for models and data; None for the user's own.
        venv: virtual environment to activate; None for no such thing.
    """

    words: tuple[str, ...]
    config: Any
    base_dir: str | None = None
    venv: str | None = None

    @property
    def tag(self) -> str:
        """Name of the model that is trained, "" where none is."""
        config = self.config.base if isinstance(self.config, Recipe) else self.config
        return str(getattr(config, "tag", ""))

    @property
    def resumes(self) -> bool:
        """Whether the same command goes on where it was stopped."""
        return bool(self.tag)


@dataclass(frozen=True, slots=True)
class Preparation:
    """A command for the login node; one with `unless` is passed over where that succeeds."""

    words: tuple[str, ...]
    unless: tuple[str, ...] = ()
    quiet: bool = False


CORE_BUNDLE = Preparation(("data", "tasks", CORE))


def scripts(job: Job, config: SlurmConfig) -> dict[str, str]:
    """The files by name: `prepare.sh` where there is something to prepare, and the batch script.

    Raises:
        UsageError: the command would be refused for its sizes or names.
    """
    if job.tag:
        check_name(job.tag, "tag")
    _check_batches(job.config, config.processes)
    preparations = prepare(job.config)
    files = {PREPARE: _prepare_script(job, config, preparations)} if preparations else {}
    return {**files, f"{job.words[0]}.sbatch": _batch_script(job, config)}


def _check_batches(config: Any, processes: int) -> None:
    """See that a step can be shared by so many processes, before the job has waited in a queue for hours."""
    if isinstance(config, Recipe):
        sequence_len = config.base.sequence_len
        steps = [(stage.total_batch_size, stage.device_batch_size) for stage in (config.base, config.mid, config.sft)]
        hint = "use a smaller --nodes or --gpus-per-node"
    elif isinstance(config, BaseTrainConfig) and not config.source:
        sequence_len = config.sequence_len
        batch_tokens = base_horizon(config, config.model(TokenizerConfig().vocab_size)).batch_tokens
        steps = [(batch_tokens, config.device_batch_size)]
        hint = "lower --device-batch-size, --nodes or --gpus-per-node, or set --total-batch-size"
    else:
        return  # the sizes are those of a model that may not be there yet
    for batch_tokens, rows in steps:
        if batch_tokens % (max(1, rows) * sequence_len * processes):
            raise UsageError(
                f"a step of {batch_tokens} tokens cannot be shared by {processes} processes "
                f"that take {max(1, rows)} rows of {sequence_len} tokens at a time",
                hint,
            )


def prepare(config: Any) -> list[Preparation]:
    """What a command needs before it can run without network. Every step does nothing where it is done.

    Raises:
        UsageError: sizes that cannot work, or a name that cannot be one.
    """
    if isinstance(config, Recipe):
        core = [CORE_BUNDLE] if config.base.core_every and not config.base.core_bundle else []
        return [_made(config.data), _made(config.tokenizer), *core]
    if isinstance(config, BaseTrainConfig):
        tokens = None
        if not config.source:
            tokens = base_horizon(config, config.model(TokenizerConfig().vocab_size)).tokens
        data = [_data_set(name, tokens and tokens * share) for name, share in parse_mixture(config.data)]
        core = [CORE_BUNDLE] if config.core_every and not config.core_bundle else []
        return [*data, *core] if config.source else [*data, _tokenizer(config), *core]
    if isinstance(config, ChatTrainConfig):
        return _conversations(config)
    if isinstance(config, RlConfig):
        words = _words(config.task)
        return [*_fetched(words, config), *_looked_at(filter(is_file, words))]
    if isinstance(config, ChatEvalConfig):
        return _fetched(_words(config.tasks), config)
    if isinstance(config, BaseEvalConfig):
        if config.hf and not Path(config.hf).expanduser().is_dir():
            raise UsageError(
                f"{config.hf} would be fetched from a hub, and machines that compute have no network",
                "download it first, with `hf download`, and give its folder: --hf DIR",
            )
        texts = parse_mixture(config.data) if config.data and "bpb" in config.parts else ()
        core = [CORE_BUNDLE] if "core" in config.parts and not config.bundle else []
        return [*(_data_set(name, None) for name, _ in texts), *core]
    return []


def _conversations(config: ChatTrainConfig) -> list[Preparation]:
    """What fetches the tasks of a mixture and looks at its files. Where `data` is auto the model will say: nothing."""
    parts: list[Ingredient] = []
    if config.mixture or config.data != AUTO:
        stage = "mid" if isinstance(config, MidTrainConfig) else "sft"
        parts += recipe_of(config.data, config.mixture, stage).parts
    parts += parse_ingredients(config.val_data, "val_data") if config.val_data else ()
    asked = _words(config.eval_tasks)
    files = [part.name for part in parts if not part.is_pocket and not is_task(part.name)]
    return [
        *_fetched([*(part.name for part in parts), *asked], config),
        *_looked_at([*files, *filter(is_file, asked)]),
    ]


def _words(names: str) -> list[str]:
    """The tasks and files of a list with commas; `chatcore` is several."""
    words = [word.strip() for word in names.split(",") if word.strip()]
    return [name for word in words for name in (CHATCORE if word == "chatcore" else (word,))]


def _looked_at(names: Iterable[str]) -> list[Preparation]:
    """What looks at files, those in Python aside."""
    files = [str(Path(name).expanduser()) for name in names if not name.endswith(".py")]
    return [Preparation(("data", "chat-check", file)) for file in dict.fromkeys(files)]


def _fetched(names: Iterable[str], config: ChatTrainConfig | ChatEvalConfig | RlConfig) -> list[Preparation]:
    """What fetches the data of those that are tasks of the hub, unless a folder is named that has it."""
    tasks = [task for name in names if (task := canonical(name)) in DESCRIPTIONS]
    return [Preparation(("data", "tasks", *dict.fromkeys(tasks)))] if tasks and not config.task_data else []


def _data_set(name: str, tokens: float | None) -> Preparation:
    """What brings a data set for so many tokens; None for as many as there are."""
    there = ("data", "show", "-n", "0", check_name(name, "data set"))
    if name in SOURCES and tokens is not None:
        shards = min(len(shards_for(tokens)), SOURCES[name].last)
        return Preparation(("data", "download", "--source", name, "-n", str(shards)))
    if name == PocketDataConfig().name:
        return Preparation(("data", "pocket"), unless=there)
    return Preparation(there, quiet=True)  # one's own: where it is not there, the error names what makes it


def _tokenizer(config: BaseTrainConfig) -> Preparation:
    """What makes the tokenizer; one of this name that is there stays, whatever it was learnt from."""
    name = check_name(config.tokenizer, "tokenizer")
    words = ("tokenizer", "train", "--name", name, "--data", config.data)
    return Preparation(words, unless=("tokenizer", "encode", "--tokenizer", name, "x"))


def _made(config: PocketDataConfig | TokenizerConfig) -> Preparation:
    """The command that makes exactly this, as the pipeline would."""
    words = ["data", "pocket"] if isinstance(config, PocketDataConfig) else ["tokenizer", "train"]
    for spec in options_of(type(config)):
        value = getattr(config, spec.name)
        if value != spec.default:
            words += [spec.flags[-1], spec.to_text(value)]
    return Preparation(tuple(words))


def _prepare_script(job: Job, config: SlurmConfig, preparations: Sequence[Preparation]) -> str:
    lines = [
        "#!/usr/bin/env bash",
        "# Made by nanochat slurm, for the login node before the job is submitted. Again, it does what is missing.",
        "",
        *_surroundings(job, config),
    ]
    for step in preparations:
        lines.append("")
        command = _command(step.words) + (" >/dev/null" if step.quiet else "")
        if step.unless:
            lines += [f"if ! {_command(step.unless)} >/dev/null 2>&1; then", f"    {command}", "fi"]
        else:
            lines.append(command)
    return "\n".join(lines) + "\n"


def _batch_script(job: Job, config: SlurmConfig) -> str:
    lines = [
        "#!/usr/bin/env bash",
        "# Made by nanochat slurm. Submitted again, it goes on.",
        *(f"#SBATCH --{line}" for line in _directives(job, config)),
        "",
        *_surroundings(job, config),
        "export HF_HUB_OFFLINE=1",
        "",
    ]
    # srun of SLURM 22.05 and later does not take the cores of a task over from sbatch
    options = f"--cpus-per-task={config.cpus_per_task} --kill-on-bad-exit=0 --wait={HANGING_S}"
    srun = f"srun {options} \\\n    {_command(job.words)}"
    lines += _until_done(srun, config.max_requeues) if job.resumes else [srun]
    return "\n".join(lines) + "\n"


def _directives(job: Job, config: SlurmConfig) -> list[str]:
    """Options of sbatch, quoted as its own reader of these lines expects: like a shell's words."""
    name = config.job_name or re.sub(r"[^\w.-]", "-", f"nanochat-{job.tag or '-'.join(job.words[:2])}", flags=re.ASCII)
    options = [
        ("job-name", name),
        ("nodes", str(config.nodes)),
        ("ntasks-per-node", str(config.tasks)),
        ("gpus-per-node", config.gpus if config.gpus_per_node else ""),
        ("cpus-per-task", str(config.cpus_per_task)),
        ("time", config.time),
        ("partition", config.partition),
        ("account", config.account),
        ("output", config.log),
        ("open-mode", "append"),  # else the log of what ran before the job was queued again is gone
        ("signal", f"USR1@{config.save_before}" if job.resumes else ""),
    ]
    lines = [f"{key}={shlex.quote(value)}" for key, value in options if value]
    for extra in config.sbatch_options:
        key, equals, value = extra.partition("=")
        lines.append(key + equals + (shlex.quote(value) if equals else ""))
    return [*lines, "requeue"]


def _surroundings(job: Job, config: SlurmConfig) -> list[str]:
    """Shell options and the environment. `set -u` comes late: modules and conda read variables that are not set."""
    # of shellcheck: a file that is sourced cannot be read here, and a $ in quotes is meant
    lines = ["# shellcheck disable=SC1091,SC2016", "set -eo pipefail", *config.setup_lines]
    if job.venv:
        lines.append(f"source {shlex.quote(f'{job.venv}/bin/activate')}")
    lines.append("set -u")
    if job.base_dir:
        lines.append(f"export NANOCHAT_BASE_DIR={shlex.quote(job.base_dir)}")
    return lines


def _until_done(srun: str, max_requeues: int) -> list[str]:
    """Run; when stopped with everything saved, queue this job again."""
    return [
        "# SIGTERM to this script: someone ends the job. It waits for what is being saved and is not queued again.",
        "ended=0",
        "trap 'ended=1' TERM",
        "",
        "code=0",
        f"{srun} || code=$?",
        "",
        "# 75: stopped, and everything is saved; 128 + SIGUSR1: stopped before there was anything to save",
        'if [ "$code" -ne 75 ] && [ "$code" -ne "$((128 + $(kill -l USR1)))" ]; then',
        '    exit "$code"',
        "fi",
        "restarts=${SLURM_RESTART_COUNT:-0}",
        'if [ "$ended" -eq 1 ]; then',
        '    echo "The job was ended; sbatch with the same script goes on." >&2',
        f'elif [ "$restarts" -ge {max_requeues} ]; then',
        f'    echo "Queued again {max_requeues} times already; sbatch with the same script goes on." >&2',
        "else",
        '    echo "Stopped before the end: queueing job $SLURM_JOB_ID again." >&2',
        '    scontrol requeue "$SLURM_JOB_ID" || echo "That failed; sbatch with the same script goes on." >&2',
        "fi",
        "exit 75",
    ]


def _command(words: Sequence[str]) -> str:
    return shlex.join(["nanochat", *words])
