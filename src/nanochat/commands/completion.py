"""`nanochat completion`: what a shell needs to answer TAB.

The scripts in `completions/` are made with it: `nanochat completion bash > completions/nanochat.bash`.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish", "powershell")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell completion script.

    \b
    bash         nanochat completion bash > ~/.local/share/bash-completion/completions/nanochat
    zsh          nanochat completion zsh > "${fpath[1]}/_nanochat"
    fish         nanochat completion fish > ~/.config/fish/completions/nanochat.fish
    powershell   nanochat completion powershell >> $PROFILE
    """
    cls = get_completion_class(shell)
    assert cls is not None, f"click knows no {shell}"
    program = ctx.find_root().command
    name = program.name or ""
    click.echo(cls(program, {}, name, f"_{name}_COMPLETE".upper()).source().rstrip("\n"))
