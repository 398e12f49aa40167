"""What commands share that may run in several processes: the options, and the start.

    @launch_options
    def base(config, launch: Asked, ...):
        ...                                    # everything that can be refused is refused
        if ran_elsewhere(launch, config.device):
            return

The processes run the same command with the same words, each of them past `ran_elsewhere`.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from nanochat.commands.running import tell
from nanochat.console.log_format import wants_json
from nanochat.errors import NanochatError
from nanochat.runtime.launch.decide import Asked, Torchrun, decide

F = TypeVar("F", bound=Callable[..., Any])


class _Count(click.ParamType):
    """A positive number, or auto for None."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Reads the text of the option."""
        if value == "auto":
            return None
        if not (isinstance(value, int) or value.isdecimal()) or int(value) < 1:
            self.fail(f"expected a whole number from 1 on, or auto, found {value!r}", param, ctx)
        return int(value)


def launch_options(function: F) -> F:
    """Adds the options about processes and gives the command `launch: Asked`."""

    @functools.wraps(function)
    def command(
        *args: Any,
        nproc: int | None,
        nnodes: int | None,
        node_rank: int | None,
        rdzv_endpoint: str | None,
        **params: Any,
    ) -> Any:
        asked = Asked(nproc=nproc, nnodes=nnodes, node_rank=node_rank, endpoint=rdzv_endpoint)
        return function(*args, launch=asked, **params)

    whole = click.IntRange(min=1)
    for option in (
        click.option("--rdzv-endpoint", metavar="HOST:PORT", help="Where machines meet: a free port of machine 0."),
        click.option("--node-rank", type=click.IntRange(min=0), metavar="INT", help="Number of this machine, from 0."),
        click.option("--nnodes", type=whole, metavar="INT", help="Machines that compute together."),
        click.option(
            "--nproc",
            type=_Count(),
            metavar="INT|auto",
            default="auto",
            show_default=True,
            help="Processes on this machine; auto is one for each GPU, 1 is only this one.",
        ),
    ):
        command = option(command)
    return command  # type: ignore[return-value]


def ran_elsewhere(asked: Asked, device: str) -> bool:
    """Run this command in several processes, where that is to be done; True when they have done it.

    Args:
        asked: the options.
        device: auto, cpu, cuda or mps.

    Raises:
        UsageError: the options contradict each other, the environment or the machine.
        NanochatError: what the first process that failed has said, with its exit code.
    """
    decision = decide(asked, os.environ, device, _count_gpus)
    if not isinstance(decision, Torchrun):
        if decision.environ:
            from nanochat.runtime.launch.worker import begin

            os.environ.update(decision.environ)
            begin(os.environ)
        return False
    from nanochat.console.json_lines import write_ending
    from nanochat.runtime.launch.supervise import supervise
    from nanochat.runtime.launch.worker import print_ending

    ctx = click.get_current_context()
    command = decision.command(ctx.find_object(tuple) or ())
    tell(shlex.join(command))
    if decision.nnodes > 1:
        tell(f"machine {decision.node_rank} of {decision.nnodes}, from 0; all meet at {decision.endpoint}")
    ending = supervise(command, decision.nproc, os.environ)
    if ending.trace:
        if wants_json():
            write_ending(ending)
        else:
            print_ending(ending, sys.stderr)
        ctx.exit(ending.exit_code)
    if ending.message:
        error = NanochatError(ending.message, ending.hint)
        error.exit_code = ending.exit_code
        raise error
    if ending.exit_code:
        ctx.exit(ending.exit_code)
    return True


def _count_gpus() -> int:
    """GPUs this process can see; asks the driver and makes no context on any of them."""
    import torch

    return torch.cuda.device_count()
