"""What became of imported files, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.importing.losses import Losses
from nanochat.runtime.events import Notice, OnEvent

_NAMED_PLACES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """What became of the files.

    Attributes:
        name: of the data set.
        folder: where it is.
        files: that were read.
        documents: in the data set.
        text_bytes: of these.
        validation_documents: among them.
        shards: written.
        duplicates: left out.
        short: left out as empty or too short.
        lost_rows: left out as nobody could read them.
        lost_files: of a folder, left out as they hold no text or nobody knows in which column.
        lost_parts: of files, that could not be read from some place on.
        bad_characters: replaced by U+FFFD.
        places: of the first losses, with the reason.
        bad_places: of the first replaced characters.
        already: the same had been imported before; only the first six are known then, and the shards.
    """

    name: str
    folder: Path
    files: int
    documents: int
    text_bytes: int
    validation_documents: int
    shards: int
    duplicates: int = 0
    short: int = 0
    lost_rows: int = 0
    lost_files: int = 0
    lost_parts: int = 0
    bad_characters: int = 0
    places: tuple[str, ...] = ()
    bad_places: tuple[str, ...] = ()
    already: bool = False


def tell_passed_over(paths: Sequence[Path], on_event: OnEvent) -> None:
    """Say which files of folders are of no use."""
    some = ", ".join(path.name for path in paths[:3])
    what = f"1 file of another kind is passed over: {some}"
    if len(paths) > 1:
        what = f"{len(paths):,} files of other kinds are passed over: {some}{', ...' if len(paths) > 3 else ''}"
    on_event(Notice(stage="data", level="info", message=what))


def tell_losses(losses: Losses, encoding: str, on_event: OnEvent) -> None:
    """Warn of everything that was left out because it could not be read, and of replaced characters."""

    def warn(message: str) -> None:
        on_event(Notice(stage="data", level="warning", message=message))

    lost = {
        "row|rows": losses.rows,
        "file|files": losses.files,
        "part of a file|parts of files": losses.parts,
    }
    if any(lost.values()):
        what = [_counted(count, *words.split("|")) for words, count in lost.items() if count]
        warn(f"left out: {', '.join(what)}:")
        for place in losses.places[:_NAMED_PLACES]:
            warn(place)
        more = sum(lost.values()) - _NAMED_PLACES
        if more > 0:
            warn(f"and {more:,} more")
    if losses.bad_characters:
        bad = _counted(losses.bad_characters, "character that is", "characters that are")
        warn(
            f"{bad} not {encoding} became U+FFFD, first at {losses.bad_places[0]}; "
            "--encoding says what the files are written in, e.g. latin-1"
        )


def in_words(result: ImportResult) -> str:
    """How much there is, and what was left out on purpose."""
    left_out = [_counted(result.duplicates, "duplicate", "duplicates")] if result.duplicates else []
    left_out += [f"{result.short:,} empty or short"] if result.short else []
    without = f"; left out: {', '.join(left_out)}" if left_out else ""
    return (
        f"{_counted(result.documents, 'document', 'documents')} of {_counted(result.files, 'file', 'files')}, "
        f"{result.validation_documents:,} of them for validation{without}"
    )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
