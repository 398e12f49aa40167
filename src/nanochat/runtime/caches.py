"""Compiled code kept between runs, so that only the first run of a shape waits for the compiler.

torch.compile finds three things again in one folder: its graphs, the differentiated graphs of AOTAutograd and the
machine code made of them (Triton puts its kernels there too). Left to itself torch uses the folder for temporary files,
which is emptied when the machine starts. A first step of the pocket model takes a tenth of the time with a full cache.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from nanochat.runtime.paths import Paths

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
SWITCHES = ("TORCHINDUCTOR_FX_GRAPH_CACHE", "TORCHINDUCTOR_AUTOGRAD_CACHE")


def keep_compiled(paths: Paths, environ: MutableMapping[str, str]) -> Path:
    """Tell torch, through `environ`, to keep compiled code in the cache of `paths`; what a person has set stays.

    Torch reads the folder when it compiles, and the switches when it is imported; both are on by default in the
    versions we support, so an import before this call does no harm. Its compiler writes the temporary folder into the
    environment when it is imported: that one counts as not set.

    Returns:
        The folder in use.
    """
    if FOLDER not in environ or _is_default(Path(environ[FOLDER])):
        environ[FOLDER] = str(paths.cache / "compiled" / _processor())
    for switch in SWITCHES:
        environ.setdefault(switch, "1")
    return Path(environ[FOLDER])


def _is_default(folder: Path) -> bool:
    """Whether torch itself has chosen this folder."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")


def _processor() -> str:
    """A name for this kind of processor: code made for one that can do more would crash on another.

    Clusters share home folders between machines, and torch's own keys know the widest vector unit only.
    """
    features = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a virtual file
            for line in file:
                if line.startswith(("model name", "flags", "Features")):
                    features += line
                if not line.strip():
                    break  # the first core will do
    except OSError:
        pass
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
