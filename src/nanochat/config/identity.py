"""The dials of an identity: who a model is to say it is."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.config.fields import REQUIRED, option
from nanochat.errors import UsageError

MAX_NAME = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityConfig:
    """Conversations about who a model is."""

    name: str = option(REQUIRED, "what the model is called")
    maker: str = option("", "who trained it, as in 'Grace Hopper'")
    facts: str = option("", "file with a fact a line: 'key: value', or a sentence in the first person", parse="path")
    count: int = option(1000, "conversations to write", flag=("-n", "--count"), parse="count")
    seed: int = option(0, "another seed gives other conversations")
    url: str = option("", "OpenAI-compatible server that is asked for half of them, in wordings of its own")
    url_model: str = option("", "model of that server; by default its first")
    timeout: float = option(120.0, "longest wait for one answer of the server", unit="seconds")

    def __post_init__(self) -> None:
        for field, value in (("name", self.name), ("maker", self.maker)):
            if (
                value != value.strip()
                or len(value) > MAX_NAME
                or not value.isprintable()
                or (not value and field == "name")
            ):
                raise UsageError(
                    f"{field} ({value[: MAX_NAME + 1]!a}) must be 1 to {MAX_NAME} visible characters",
                    f"try --{field} Ada",
                )
        if self.count < 1:
            raise UsageError(f"count ({self.count}) must be at least 1", "try -n 1000")
        if not self.timeout > 0:
            raise UsageError(f"timeout ({self.timeout:g}) must be above 0 seconds", "try --timeout 120")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise UsageError(
                f"url ({self.url!a}) must begin with http:// or https://", "try --url http://localhost:8080"
            )
