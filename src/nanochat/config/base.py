"""Settings that every command shares."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.config.fields import option


@dataclass(frozen=True, kw_only=True, slots=True)
class GlobalConfig:
    """Keys at the top of a configuration file, before its first table."""

    base_dir: str | None = option(
        None, "Folder for models, data and downloads, instead of the user's own.", parse="path"
    )
