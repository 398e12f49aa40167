"""`nanochat eval`: numbers about a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nanochat.commands.launching import launch_options, ran_elsewhere
from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.config.load import Resolved
from nanochat.runtime.launch.decide import Asked

if TYPE_CHECKING:
    from nanochat.evaluation.chat import TaskScore


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

    MODEL is a selector such as pocket:sft; nothing means the newest. Tasks are those of the pocket world, mmlu,
    arc_easy, arc_challenge, gsm8k, humaneval, spellingbee, simplespelling, or files: conversations whose last messages
    are the right answers, or a Python file with a task. What a task needs from the hub is fetched by nanochat data
    tasks.

    With --num-samples N every problem is answered N times: the accuracy is the mean, pass@k the chance that one of k
    answers is right.
    """
    value = config.value
    if ran_elsewhere(launch, value.device):
        return
    from nanochat.console.words import safe
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.evaluate import CORE_NAME, evaluate_chat

    context, _ = open_context(
        resolve_paths(base_dir, {}),
        device=value.device,
        dtype=value.dtype,
        compile="off",
        threads=value.threads,
    )
    with show_progress("eval") as on_event:
        found = evaluate_chat(model, value, context, on_event)
    scores, core = found.tasks, found.core
    if as_json:
        emit_json({score.name: score.to_dict() for score in scores} | ({CORE_NAME: core.to_dict()} if core else {}))
        return
    width = max(12, *(len(safe(score.name)) for score in scores))
    click.echo(f"{'task':<{width}} {'accuracy':>8}  {'95% interval':^15} {'n':>5}  {'chance':>6}")
    for score in scores:
        low, high = score.interval
        click.echo(
            f"{safe(score.name):<{width}} {score.accuracy:>8.1%}  {low:>6.1%} - {high:>6.1%} {score.n:>5}  "
            f"{score.chance:>6.0%}"
        )
        for k, (value_at, low, high) in score.pass_at.items():
            if k > 1:
                click.echo(f"{f'  pass@{k}':<{width}} {value_at:>8.1%}  {low:>6.1%} - {high:>6.1%}")
        if len(score.groups) > 1:
            click.echo(_groups(score))
    if core:
        click.echo(f"{CORE_NAME:<{width}} {core.value:>8.3f}  {core.low:>6.3f} - {core.high:>6.3f}")


def _groups(score: TaskScore) -> str:
    """The parts of a task, best first, two a line."""
    from nanochat.console.words import safe

    ordered = sorted(score.groups.items(), key=lambda item: -item[1][0] / item[1][1])
    names = [safe(name.replace("_", " ")) for name, _ in ordered]
    width = max(map(len, names))
    cells = [
        f"{name:<{width}} {right / count:>6.1%} of {count:>3}"
        for name, (_, (right, count)) in zip(names, ordered, strict=True)
    ]
    half = (len(cells) + 1) // 2
    rows = [(cells[at], *cells[at + half : at + half + 1]) for at in range(half)]
    return "\n".join(f"  {'   '.join(row)}" for row in rows)
