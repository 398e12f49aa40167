"""Task data of the hub: which sets there are, and where their files lie on this machine. Nothing is fetched here.

    {folder}/{owner}--{name}/{subset}/{split}/00000.parquet, manifest.json     as `nanochat data tasks` leaves them
    {folder}/datasets--{owner}--{name}/snapshots/{commit}/...                  as huggingface_hub does
    {folder}/{name}/{subset}/{split}-00000-of-00001.parquet                    a clone of the repository
    {folder}/{name}/{split}.jsonl                                              anything by hand: parquet, JSON, .gz

`--task-data` names a folder that is looked at first, the downloads come next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.errors import MissingError, UsageError
from nanochat.runtime.files import translate_os_errors
from nanochat.runtime.paths import Paths
from nanochat.tasks.rows import Rows, open_rows

MANIFEST = "manifest.json"
WORDS = "words"
WORDS_FILE = "words_alpha.txt"
WORDS_URL = f"https://raw.githubusercontent.com/dwyl/english-words/refs/heads/master/{WORDS_FILE}"
_SUFFIXES = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz")


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSet:
    """A set of the hub.

    Attributes:
        repo: owner and name.
        subset: configuration.
        splits: our name of each split, and the hub's.
        columns: what is read of a row.
        inside: folder of the files in the repository; "" is the subset's name.
    """

    repo: str
    subset: str
    splits: dict[str, str]
    columns: tuple[str, ...]
    inside: str = ""

    @property
    def folder(self) -> str:
        """Name of the folder of its downloads."""
        return self.repo.replace("/", "--")

    def files_of(self, split: str) -> str:
        """Pattern of the files of a split of the hub in the repository."""
        return f"{self.inside or self.subset}/{split}-*.parquet"


_ARC_COLUMNS = ("question", "choices", "answerKey")
SETS: dict[str, HubSet] = {
    "smoltalk": HubSet(
        repo="HuggingFaceTB/smol-smoltalk",
        subset="default",
        splits={"train": "train", "test": "test"},
        columns=("messages",),
        inside="data",
    ),
    "mmlu": HubSet(
        repo="cais/mmlu",
        subset="all",
        splits={"train": "auxiliary_train", "val": "validation", "test": "test", "dev": "dev"},
        columns=("question", "subject", "choices", "answer"),
    ),
    "arc_easy": HubSet(
        repo="allenai/ai2_arc",
        subset="ARC-Easy",
        splits={"train": "train", "val": "validation", "test": "test"},
        columns=_ARC_COLUMNS,
    ),
    "arc_challenge": HubSet(
        repo="allenai/ai2_arc",
        subset="ARC-Challenge",
        splits={"train": "train", "val": "validation", "test": "test"},
        columns=_ARC_COLUMNS,
    ),
    "gsm8k": HubSet(
        repo="openai/gsm8k",
        subset="main",
        splits={"train": "train", "test": "test"},
        columns=("question", "answer"),
    ),
    "humaneval": HubSet(
        repo="openai/openai_humaneval",
        subset="openai_humaneval",
        splits={"test": "test"},
        columns=("prompt", "canonical_solution", "test", "entry_point"),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where task data is looked for.

    Attributes:
        downloads: what `nanochat data tasks` has fetched.
        scratch: for what is unpacked or converted.
        given: a folder of the user's, looked at first.
    """

    downloads: Path
    scratch: Path
    given: Path | None = None

    @classmethod
    def of(cls, paths: Paths, given: str = "") -> Places:
        """The places of an installation.

        Raises:
            MissingError: the folder that was named is not there.
        """
        folder = Path(given).expanduser() if given else None
        if folder and not folder.is_dir():
            raise MissingError(f"there is no folder {folder} (--task-data)", "check its name, or leave out --task-data")
        return cls(downloads=paths.tasks, scratch=paths.cache / "conversations", given=folder)

    @property
    def folders(self) -> tuple[Path, ...]:
        """In the order in which they are looked at."""
        return (self.given, self.downloads) if self.given else (self.downloads,)


def find_files(name: str, split: str, places: Places) -> list[Path]:
    """The files of a split, in order; empty where there are none.

    Args:
        name: of one of `SETS`.
        split: as the set calls it.
        places: where to look.

    Raises:
        UsageError: no such split.
    """
    about = SETS[name]
    if split not in about.splits:
        known = ", ".join(sorted(about.splits.keys() - {"dev"}))
        raise UsageError(f"{name} has no split {split}; it has {known}", "choose another split, or leave the task out")
    hub_split = about.splits[split]
    inside, (_, short) = about.inside or about.subset, about.repo.split("/")
    bases = [f"{about.repo}/{inside}", f"{short}/{inside}", f"datasets--{about.folder}/snapshots/*/{inside}"]
    stems = [f"{name}/{hub_split}", f"{short}/{hub_split}", f"{name}_{hub_split}"]
    stems += [f"{name}/*"] if len(about.splits) == 1 else []
    patterns = [
        f"{about.folder}/{about.subset}/{hub_split}/*.parquet",
        *(f"{base}/{hub_split}-*.parquet" for base in bases),
        *(f"{stem}{suffix}" for stem in stems for suffix in _SUFFIXES),
    ]
    for folder in places.folders:
        for pattern in patterns:
            with translate_os_errors(folder):
                found = sorted(folder.glob(pattern))
            if found and _is_whole(found):
                # of several commits the one that was fetched last, of JSON one file
                newest = max(found, key=lambda path: path.stat().st_mtime_ns).parent
                found = [path for path in found if path.parent == newest]
                return found if found[0].suffix == ".parquet" else found[:1]
    return []


def find_rows(name: str, split: str, places: Places) -> Rows:
    """The rows of a split.

    Raises:
        MissingError: there are none on this machine; the hint is the command that fetches them.
        UsageError: no such split.
        DamagedError, StorageError: they cannot be read.
    """
    files = find_files(name, split, places)
    if not files:
        where = f"in {places.given} or among the downloads" if places.given else f"in {places.downloads}"
        raise MissingError(
            f"the {SETS[name].splits[split]} split of {name} ({SETS[name].repo}) is not there: nothing of it {where}",
            f"nanochat data tasks {name}, or name a folder that has it with --task-data",
        )
    return open_rows(files, SETS[name].columns, places.scratch)


def find_words(places: Places) -> Path:
    """The file of English words.

    Raises:
        MissingError: it is not there; the hint is the command that fetches it.
    """
    for folder in places.folders:
        for name in (f"{WORDS}/{WORDS_FILE}", f"{WORDS}/{WORDS_FILE}.gz", WORDS_FILE):
            if (folder / name).is_file():
                return folder / name
    raise MissingError(
        f"the list of English words ({WORDS_FILE}) is not in {places.downloads}",
        f"nanochat data tasks {WORDS}, or name a folder that has it with --task-data",
    )


def _is_whole(files: Sequence[Path]) -> bool:
    """Whether all is there that the manifest beside them names; what has none is taken as it is."""
    manifest = files[0].parent / MANIFEST
    if not manifest.is_file():
        return True
    try:
        names = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(names, list) and {str(name) for name in names} <= {path.name for path in files}
