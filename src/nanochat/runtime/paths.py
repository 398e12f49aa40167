"""Where things live on disk. Resolved once from arguments and environment, then passed along; never global."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from nanochat.errors import UsageError
from nanochat.runtime.files import translate_os_errors

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """The folders of one installation.

    `base` holds what cost time or money (models, tokenizers, data sets of one's own); `cache` what can be fetched
    again. They differ because a cache cleaner must not eat a model.
    """

    base: Path
    cache: Path

    @property
    def models(self) -> Path:
        """All models, one folder a tag."""
        return self.base / "models"

    def model_dir(self, tag: str, stage: str) -> Path:
        """The folder of one stage of one model."""
        return self.models / check_name(tag, "tag") / stage

    def data(self, name: str) -> Path:
        """The folder of the data set `name`."""
        return self.base / "data" / check_name(name, "data set")

    def tokenizer(self, name: str) -> Path:
        """The folder of the tokenizer `name`."""
        return self.base / "tokenizers" / check_name(name, "tokenizer")

    @property
    def tasks(self) -> Path:
        """Downloaded task data."""
        return self.cache / "tasks"

    def downloads(self, name: str) -> Path:
        """Files that were fetched to be imported."""
        return self.cache / "downloads" / check_name(name, "data set")


def check_name(name: str, what: str) -> str:
    """`name` itself when it can be a folder name.

    Raises:
        UsageError: it has characters that could leave the folder or confuse a selector.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a {what}",
            "use letters, digits, dot, dash and underscore, starting with a letter or digit",
        )
    return name


def resolve_paths(base_dir: str | None, environ: Mapping[str, str]) -> Paths:
    """Folders from `--base-dir`, else NANOCHAT_BASE_DIR, else the user's own data and cache folders.

    Raises:
        StorageError: something that is no folder, or that may not be looked into, stands there.
    """
    root = base_dir or environ.get("NANOCHAT_BASE_DIR")
    if root:
        base = Path(root).expanduser().absolute()
        with translate_os_errors(base), suppress(FileNotFoundError):
            next(base.iterdir(), None)  # else everything in it would only seem to be missing
        return Paths(base=base, cache=base / "cache")
    return Paths(
        base=Path(platformdirs.user_data_dir("nanochat", appauthor=False)),
        cache=Path(platformdirs.user_cache_dir("nanochat", appauthor=False)),
    )
