"""Writing who a model is: conversations from templates, and of a server where one is given."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nanochat.config.identity import IdentityConfig
from nanochat.runtime.events import OnEvent, StageFinished, StageProgress, StageStarted
from nanochat.tasks.identity import Persona, read_facts, take
from nanochat.tokenizer.conversation import Conversation


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Conversations in the order they are to be written, and where they come from.

    Attributes:
        conversations: as many as the config asks for.
        different: how many say something of their own.
        accepted: of a server.
        rejected: what the server sent and was refused, by reason.
        requests: that were answered.
        gave_up: why the server was not asked to the end; empty where it was.
    """

    conversations: tuple[Conversation, ...]
    different: int
    accepted: int = 0
    rejected: Mapping[str, int]
    requests: int = 0
    gave_up: str = ""


def make_identity(config: IdentityConfig, key: str, on_event: OnEvent) -> Identity:
    """Make the conversations of a config.

    With a URL the server is asked for half of them; whatever it does not give comes from templates too.

    Args:
        config: who the model is, and how many conversations.
        key: for the server; empty for none.
        on_event: told of the progress.

    Raises:
        MissingError, UsageError, StorageError: the facts cannot be read.
        ServerError: the server cannot be asked, or gave nothing that can be used.
    """
    started = time.perf_counter()
    pairs, sentences = read_facts(Path(config.facts)) if config.facts else ((), ())
    persona = Persona(name=config.name, maker=config.maker, pairs=pairs, sentences=sentences)
    if not config.url:
        made = take(persona, config.count, config.seed)
        return Identity(conversations=tuple(made), different=len(set(made)), rejected={})
    from nanochat.runtime.openai import Server, ServerError
    from nanochat.tasks.identity_asked import ask

    wanted = config.count - config.count // 2
    on_event(StageStarted(stage="data", tag=config.name, total_steps=0))

    def progress(accepted: int, rejected: int) -> None:
        on_event(
            StageProgress(
                stage="data", done=accepted, total=wanted, unit="conversations", detail=f"{rejected} rejected"
            )
        )

    server = Server(config.url, model=config.url_model, key=key, timeout_s=config.timeout)
    try:
        asked = ask(server, persona, wanted, config.seed, progress)
    finally:
        server.close()
    if not asked.conversations:
        reasons = ", ".join(f"{reason} {count}" for reason, count in asked.rejected.most_common())
        raise ServerError(
            f"{config.url} sent nothing that can be used ({reasons})", "try another model with --url-model"
        )
    made = [
        *asked.conversations,
        *take(persona, config.count - len(asked.conversations), config.seed, asked.conversations),
    ]
    Random(config.seed).shuffle(made)
    on_event(
        StageFinished(
            stage="data",
            step=0,
            elapsed_s=time.perf_counter() - started,
            summary={"accepted": len(asked.conversations), "rejected": asked.rejected.total()},
        )
    )
    return Identity(
        conversations=tuple(made),
        different=len(set(made)),
        accepted=len(asked.conversations),
        rejected=dict(asked.rejected),
        requests=asked.requests,
        gave_up=asked.gave_up,
    )
