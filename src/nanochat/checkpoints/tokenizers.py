"""Naming a tokenizer: by its own name, by its folder, or by the model that carries it.

pocket              tokenizers/pocket, else the copy in the newest checkpoint of the model pocket
pocket:sft@650      the copy in that checkpoint
./exported/tok      a folder: one with a slash, or one that begins with a dot or a tilde
(nothing)           the newest in tokenizers/, else the one of the newest model
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from nanochat.checkpoints.layout import tags
from nanochat.checkpoints.selector import candidates, describe_place, no_models
from nanochat.checkpoints.store import TOKENIZER
from nanochat.errors import DamagedError, MissingError
from nanochat.runtime.files import translate_os_errors
from nanochat.runtime.paths import NAME, Paths, check_name
from nanochat.tokenizer.tokenizer import HEADER_FILE, RANKS_FILE, Tokenizer


@dataclass(frozen=True, slots=True)
class FoundTokenizer:
    """A tokenizer and where it was: `name` is what a person would call it."""

    name: str
    folder: Path
    tokenizer: Tokenizer


def find_tokenizer(paths: Paths, selector: str | None = None) -> FoundTokenizer:
    """The tokenizer that a selector means; see the table above.

    Raises:
        MissingError: there is none; names that look like it are offered.
        DamagedError: the one that was asked for is damaged; the message names the file.
        UsageError: the selector cannot be read.
        StorageError: a folder or file cannot be read.
    """
    if not selector:
        return _newest(paths)
    if _is_path(selector):
        return _in_folder(Path(selector).expanduser())
    if ":" in selector:
        return _of_model(paths, selector)
    check_name(selector, "tokenizer")
    folder = paths.tokenizer(selector)
    if _holds_tokenizer(folder):
        return FoundTokenizer(selector, folder, Tokenizer.load(folder))
    existing = tags(paths)
    if selector in existing:
        return _of_model(paths, selector)
    names = tokenizer_names(paths)
    close = difflib.get_close_matches(selector, dict.fromkeys([*names, *existing]), n=3, cutoff=0.5)
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    raise MissingError(f"there is no tokenizer {selector!r}{meant}", f"nanochat tokenizer train --name {selector}")


def tokenizer_names(paths: Paths) -> list[str]:
    """The tokenizers below `tokenizers/`, the newest first.

    Raises:
        StorageError: the folder cannot be read.
    """
    root = paths.base / "tokenizers"
    with translate_os_errors(root):
        if not root.exists():
            return []
        found = [path for path in root.iterdir() if NAME.fullmatch(path.name) and _holds_tokenizer(path)]
        found.sort(key=lambda path: path.name)
        return [path.name for path in sorted(found, key=_written, reverse=True)]


def _newest(paths: Paths) -> FoundTokenizer:
    names = tokenizer_names(paths)
    if names:
        return find_tokenizer(paths, names[0])
    try:
        return _of_model(paths, None)
    except MissingError as error:
        if error.message != no_models(paths).message:
            raise
        raise MissingError(
            f"there is no tokenizer in {paths.base / 'tokenizers'} yet", "nanochat tokenizer train"
        ) from None


def _of_model(paths: Paths, selector: str | None) -> FoundTokenizer:
    """The copy in a checkpoint. Weights are not read, so a checkpoint with damaged ones will do."""
    first: DamagedError | MissingError | None = None
    for step_dir in candidates(paths, selector):
        folder = step_dir / TOKENIZER
        try:
            return FoundTokenizer(describe_place(step_dir), folder, Tokenizer.load(folder))
        except (DamagedError, MissingError) as error:
            first = first or error
    assert first is not None  # there is at least one candidate
    raise first


def _in_folder(folder: Path) -> FoundTokenizer:
    """The folder itself, or a checkpoint's."""
    inner = folder / TOKENIZER
    if not _holds_tokenizer(folder) and _holds_tokenizer(inner):
        folder = inner
    return FoundTokenizer(str(folder), folder, Tokenizer.load(folder))


def _is_path(selector: str) -> bool:
    separators = [os.sep, os.altsep or os.sep, "/"]
    return selector.startswith((".", "~")) or any(sign in selector for sign in separators)


def _holds_tokenizer(folder: Path) -> bool:
    """Whether there is a tokenizer, whole or not: a damaged one is to be named, not passed over."""
    with translate_os_errors(folder):
        return any((folder / name).is_file() for name in (HEADER_FILE, RANKS_FILE))


def _written(folder: Path) -> float:
    return max((folder / name).stat().st_mtime for name in (HEADER_FILE, RANKS_FILE) if (folder / name).is_file())
