"""A task of the user's own: one small Python file with a subclass of `Task`.

The file is run in this process, with everything the user may do, and only when it was named.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from nanochat.errors import MissingError, NanochatError, UsageError
from nanochat.tasks.task import Task


def load_task(path: Path, split: str) -> Task:
    """The task that a file defines.

    Its class is made with `split="train"` and so on where it takes that, else without arguments. A file with several
    tasks says `TASK = TheOne`.

    Raises:
        MissingError: no such file.
        UsageError: it cannot be run, or holds no task or several; the message names the line.
    """
    if not path.is_file():
        raise MissingError(f"there is no file {path}", "give a Python file with a subclass of nanochat.tasks.task.Task")
    module = _run(path)
    chosen = _class_of(module, path)
    try:
        takes_split = "split" in inspect.signature(chosen).parameters
        task = chosen(split=split) if takes_split else chosen()
        length = len(task)
        if not getattr(task, "name", ""):
            task.name = path.stem
        if length:
            task[0]
    except NanochatError:
        raise
    except Exception as error:
        raise _failed(path, error) from error
    if not length:
        raise UsageError(f"{path}: {chosen.__name__} has no conversation in its split {split}", "see its __len__")
    return task


def _run(path: Path) -> ModuleType:
    # one name for one place, so that classes of the file are the same however often it is named
    name = f"nanochat_task_{blake2b(str(path.absolute()).encode(), digest_size=8).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file", "its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except NanochatError:
        sys.modules.pop(name, None)
        raise
    except Exception as error:
        sys.modules.pop(name, None)
        raise _failed(path, error) from error
    return module


def _class_of(module: ModuleType, path: Path) -> Any:
    if chosen := getattr(module, "TASK", None):
        if not (inspect.isclass(chosen) and issubclass(chosen, Task)):
            raise UsageError(f"{path}: TASK is no subclass of Task", "write TASK = TheClass")
        return chosen
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Task) and value.__module__ == module.__name__
    ]
    whole = [value for value in own if not inspect.isabstract(value)]
    if len(whole) == 1:
        return whole[0]
    if whole:
        names = ", ".join(value.__name__ for value in whole)
        raise UsageError(f"{path} has several tasks: {names}", f"say which: TASK = {whole[-1].__name__}")
    if own:
        lacking = ", ".join(sorted(own[0].__abstractmethods__))
        raise UsageError(f"{path}: {own[0].__name__} lacks {lacking}", "see docs/tasks.md for an example")
    raise UsageError(f"{path} has no subclass of Task", "from nanochat.tasks.task import Task; see docs/tasks.md")


def _failed(path: Path, error: Exception) -> UsageError:
    """The error of a file of the user's with the line of it that was reached last."""
    own = str(path.absolute())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    lines = lines or ([error.lineno] if isinstance(error, SyntaxError) else [])
    place = f"{path}, line {lines[-1]}" if lines else str(path)
    text = str(error).splitlines()
    return UsageError(f"{place}: {type(error).__name__}: {text[0] if text else ''}", "mend the file")
