"""`nanochat data identity`: conversations about who a model is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from nanochat.commands.options import config_options, confirm, emit_json, json_option, yes_option
from nanochat.commands.running import progress_options, show_progress, tell
from nanochat.config.identity import IdentityConfig
from nanochat.config.load import Resolved
from nanochat.errors import UsageError


@click.command()
@config_options(IdentityConfig, "data.identity")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default="identity.jsonl",
    show_default=True,
    help="Where to write them; - is stdout.",
)
@progress_options()
@json_option
@yes_option
def identity(config: Resolved[IdentityConfig], output: Path, as_json: bool, yes: bool) -> None:
    """Write conversations about who your model is.

    They come from templates, the same for the same seed. With --url a server is asked for half of them, in more
    varied wordings; its key is read from OPENAI_API_KEY. What it sends is checked: JSON, roles, the right name, no
    other model's. Train on the file with: nanochat train sft --data pocket,identity.jsonl:2
    """
    from nanochat.console.words import safe
    from nanochat.runtime.files import atomic_write_text, translate_os_errors
    from nanochat.stages.identity import make_identity
    from nanochat.tasks.formats import to_line

    to_stdout = str(output) == "-"
    if to_stdout and as_json:
        raise UsageError("--json and -o - would both write to stdout", "give a file with -o, or leave out --json")
    asked = bool(config.value.url) and not to_stdout and output.exists()
    if asked:  # before others have worked for it
        confirm(f"Replace {output}?", yes=yes)
    with show_progress("data") as on_event:
        made = make_identity(config.value, os.environ.get("OPENAI_API_KEY", "").strip(), on_event)
    text = "".join(to_line(conversation) for conversation in made.conversations)
    if to_stdout:
        sys.stdout.write(text)
    else:
        with translate_os_errors(output):
            same = output.is_file() and output.read_bytes() == text.encode()
        if not same:
            if output.exists() and not asked:
                confirm(f"Replace {output}, which holds something else?", yes=yes)
            atomic_write_text(output, text)
    repeated = len(made.conversations) - made.different
    if repeated:
        tell(f"there are no more than {made.different:,} different ones; they repeat", "warning")
    if config.value.url:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in made.rejected.items())
        refused = f", rejected {sum(made.rejected.values()):,}" + (f" ({reasons})" if reasons else "")
        tell(f"{safe(config.value.url)}: accepted {made.accepted:,}{refused}")
        if made.gave_up:
            tell(f"stopped asking: {safe(made.gave_up)}; templates fill the rest", "warning")
    if as_json:
        emit_json(
            {
                "file": output,
                "conversations": len(made.conversations),
                "different": made.different,
                "accepted": made.accepted,
                "rejected": made.rejected,
                "requests": made.requests,
                "gave_up": made.gave_up,
            }
        )
    elif not to_stdout:
        click.echo(output)
