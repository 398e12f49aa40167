"""`nanochat speedrun`: the whole pipeline in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanochat.commands.launching import launch_options, ran_elsewhere
from nanochat.commands.options import base_dir_option, config_options
from nanochat.commands.running import chosen, progress_options, show_progress, tell
from nanochat.config.load import Resolved
from nanochat.config.speedrun import PRESETS, SpeedrunConfig
from nanochat.runtime.events import Notice
from nanochat.runtime.launch.decide import Asked

if TYPE_CHECKING:
    from nanochat.runtime.context import RunContext
    from nanochat.stages.speedrun import Plan

QUESTIONS = (
    "What is the capital of Japan?",
    "What is 23 plus 58?",
    "How many times does the letter 'e' appear in 'cheese'?",
    "What is the opposite of cold?",
    "Tom has 14 apples, buys 9 more and gives 5 away. How many are left?",
    "Who are you?",
)


@click.command()
@click.argument("preset", type=click.Choice(sorted(PRESETS)), default="pocket")
@config_options(SpeedrunConfig, "speedrun")
@progress_options(training=True)
@base_dir_option
@launch_options
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
def speedrun(preset: str, config: Resolved[SpeedrunConfig], base_dir: str | None, launch: Asked, dry_run: bool) -> None:
    """Train a chat model end to end and ask it a few questions.

    Stopped anywhere, the same command goes on where it was.
    """
    value = config.value
    recipe = PRESETS[preset](value)
    if not dry_run and ran_elsewhere(launch, value.device):
        return
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.speedrun import AFTER, BEFORE, check_disk, make_plan
    from nanochat.stages.speedrun import speedrun as run

    context, lacking = open_context(
        resolve_paths(base_dir, {}),
        device=value.device,
        dtype=value.dtype,
        compile=value.compile,
        threads=value.threads,
    )
    recipe = recipe.for_processes(context.world_size)
    plan = make_plan(recipe, context)
    text = plan_text(preset, recipe.base.tag, plan, context, chosen().price_per_hour)
    if dry_run:
        click.echo(text)
        return
    tell(text)
    check_disk(plan, context.paths.base)
    with show_progress(*BEFORE, *recipe.trained, *AFTER, paths=context.paths) as on_event:
        for line in lacking:
            on_event(Notice(stage="base", level="warning", message=line))
        report = run(recipe, plan, context, on_event)
    if context.processes.first:
        _ask(context, f"{recipe.base.tag}:{recipe.trained[-1]}")
    tell(f"Report:  {report}")
    tell("Go on with:  nanochat chat")


def plan_text(preset: str, tag: str, plan: Plan, context: RunContext, price_per_hour: float | None = None) -> str:
    """The plan as a person reads it before the run."""
    from nanochat.console.words import money

    cost = "" if price_per_hour is None else f", {money(plan.minutes / 60 * price_per_hour)}"
    compiled = "compiled" if context.compile else "not compiled"
    each = f" in each of {context.world_size} processes" if context.world_size > 1 else ""
    rows = (
        (
            "model",
            f"{tag}: {plan.parameters / 1e6:.1f}M parameters, {plan.matrix_parameters / 1e6:.1f}M in matrices",
        ),
        ("training", f"{plan.tokens / 1e6:.1f}M tokens, {plan.flops:.2g} FLOPs"),
        ("machine", f"{context.device}, {context.dtype}, {compiled}, {context.threads_text}{each}"),
        ("time", f"about {plan.minutes:.0f} minutes{cost}"),
        ("memory", f"about {plan.memory_bytes / 2**30:.1f} GiB"),
        ("disk", f"about {plan.disk_bytes / 1e6:.0f} MB of {plan.free_disk_bytes / 1e9:.0f} GB free"),
        ("folder", str(context.paths.base)),
    )
    return "\n".join([f"nanochat speedrun {preset}", *(f"  {name:<9} {text}" for name, text in rows)])


def _ask(context: RunContext, selector: str) -> None:
    """Let the finished model answer a few questions on stdout."""
    from nanochat.config.chat import GREEDY
    from nanochat.engine.events import TurnFinished
    from nanochat.engine.load import load_engine
    from nanochat.engine.session import Session
    from nanochat.runtime.safe_text import safe_text

    engine, _ = load_engine(
        context.paths,
        selector,
        device=context.device,
        on_notice=lambda line: click.echo(f"notice: {line}", err=True),
    )
    for question in QUESTIONS:
        session = Session(engine, GREEDY)
        answer = next(event.text for event in session.ask(question) if isinstance(event, TurnFinished))
        click.echo(f"\n> {question}\n{safe_text(answer)}")
    click.echo()
