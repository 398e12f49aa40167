"""The names of tasks; light enough to be read at every TAB."""

from __future__ import annotations

import os

from nanochat.pocket.conversations import KINDS

CHATCORE = ("arc_easy", "arc_challenge", "mmlu", "gsm8k", "humaneval")
"""The tasks whose mean is ChatCORE; SpellingBee counts too where it is asked."""

DESCRIPTIONS: dict[str, str] = {
    "smoltalk": "conversations of several turns, to train on",
    "mmlu": "multiple choice in 57 subjects",
    "arc_easy": "multiple choice: science at school, the easier part",
    "arc_challenge": "multiple choice: science at school, the harder part",
    "gsm8k": "word problems, answered with the calculator",
    "humaneval": "functions to write, graded by running them",
    "spellingbee": "letters to count in a word",
    "simplespelling": "words to spell",
}
"""The tasks that need data, each in a few words."""


CORE = "core"
"""The bundle of CORE's questions, which `nanochat eval base` asks: fetched as task data is, but no task here."""


def is_file(name: str) -> bool:
    """Whether a task is a file of the user's: what has a suffix or a slash."""
    return "." in name or "/" in name or os.sep in name


def canonical(name: str) -> str:
    """A task's name as the tables here have it: `ARC-Easy` is `arc_easy`. A file's is left as it is."""
    plain = name.lower().replace("-", "_")
    return plain if plain in DESCRIPTIONS or plain in KINDS else name


def is_task(name: str) -> bool:
    """Whether it names one of ours, not a file."""
    return canonical(name) in (*DESCRIPTIONS, *KINDS)
