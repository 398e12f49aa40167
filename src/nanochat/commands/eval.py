"""`nanochat eval`: numbers about a model."""

from __future__ import annotations

import click

from nanochat.commands.launching import launch_options, ran_elsewhere
from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.config.load import Resolved
from nanochat.runtime.launch.decide import Asked


@click.command()
@click.argument("model", required=False)
@config_options(ChatEvalConfig, "eval.chat")
@progress_options()
@base_dir_option
@launch_options
@json_option
def chat(
    model: str | None, config: Resolved[ChatEvalConfig], base_dir: str | None, launch: Asked, as_json: bool
) -> None:
    """Score a model on tasks, with intervals.

    MODEL is a selector such as pocket:sft; nothing means the newest. A file among the tasks holds conversations
    whose last messages are the right answers; an answer counts when it is the same but for case, white space and a
    final stop, or, where questions mark options with letters, when the right letter is the likeliest.
    """
    value = config.value
    if ran_elsewhere(launch, value.device):
        return
    from nanochat.console.words import safe
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.evaluate import evaluate_chat

    context, _ = open_context(
        resolve_paths(base_dir, {}),
        device=value.device,
        dtype=value.dtype,
        compile="off",
        threads=value.threads,
    )
    with show_progress("eval") as on_event:
        scores = evaluate_chat(model, value, context, on_event)
    if as_json:
        emit_json({score.name: score.to_dict() for score in scores})
        return
    width = max(12, *(len(safe(score.name)) for score in scores))
    click.echo(f"{'task':<{width}} {'accuracy':>8}  {'95% interval':^15} {'n':>5}  {'chance':>6}")
    for score in scores:
        low, high = score.interval
        click.echo(
            f"{safe(score.name):<{width}} {score.accuracy:>8.1%}  {low:>6.1%} - {high:>6.1%} {score.n:>5}  "
            f"{score.chance:>6.0%}"
        )
