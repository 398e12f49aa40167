"""Saving and loading a checkpoint.

    step_000123/
        model.safetensors       weights under their state-dict names
        optimizer.safetensors   optimizer state, flat; absent in a checkpoint that is only to be used
        model.json              ModelConfig
        state.json              step, loader position, random state: what a resume needs
        tokenizer/              the model's own copy
        manifest.json           sizes and SHA-256, written last

A save happens in a hidden folder beside the final name, is forced to disk, and appears by one rename: a power
cut leaves the old checkpoints and no half of a new one. A load compares every file it uses with the manifest
first. Nothing here unpickles. torch is imported inside the functions, so that listing models stays quick.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.checkpoints.layout import hidden_name, remove_leftovers, step_dirs, step_name, step_of
from nanochat.checkpoints.manifest import check_file, read_manifest, verify, write_manifest
from nanochat.config.model import ModelConfig
from nanochat.errors import DamagedError, NanochatError, UsageError
from nanochat.runtime.files import fsync_dir, translate_os_errors

if TYPE_CHECKING:
    from torch import Tensor

    from nanochat.tokenizer.tokenizer import Tokenizer

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
CONFIG = "model.json"
STATE = "state.json"
TOKENIZER = "tokenizer"

OnNotice = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A loaded checkpoint; tensors are on the CPU."""

    path: Path
    step: int
    model_config: ModelConfig
    model_state: dict[str, Tensor]
    optimizer_state: dict[str, Tensor] | None
    state: dict[str, Any]
    tokenizer: Tokenizer

    def forget_tensors(self) -> None:
        """Let go of weights and momenta, once a model and an optimizer have copies.

        They are a file in memory: kept, they would hold its room on the disk too, long after it was pruned.
        """
        self.model_state.clear()
        if self.optimizer_state:
            self.optimizer_state.clear()


def save_checkpoint(
    stage_dir: Path,
    step: int,
    *,
    model_state: Mapping[str, Tensor],
    model_config: ModelConfig,
    tokenizer: Tokenizer,
    state: Mapping[str, Any],
    optimizer_state: Mapping[str, Tensor] | None = None,
    keep: int = 2,
    best: int | None = None,
) -> Path:
    """Write a checkpoint, then prune the stage to the newest `keep` and the best.

    A checkpoint of the same step is replaced. On any failure before the new one has its name, Ctrl-C included, nothing
    of it stays and the old ones are as they were; one after that leaves the new one and, at worst, too many old ones.

    Args:
        stage_dir: folder of the stage; made when absent.
        step: optimizer steps done.
        model_state: weights by state-dict name, any device and dtype.
        model_config: shape of the model.
        tokenizer: the tokenizer the weights belong to.
        state: JSON values that a resume needs.
        optimizer_state: tensors by name, or None.
        keep: how many checkpoints to keep, this one included; at least 1.
        best: a step that is kept besides, however old.

    Returns:
        The step folder.

    Raises:
        StorageError: disk full, no permission, read-only, a failing device.
        UsageError: `keep` below 1.
    """
    if keep < 1:
        raise UsageError(f"keep ({keep}) must be at least 1", "keep 2, so that a damaged one has a predecessor")
    final = stage_dir / step_name(step)
    temporary = stage_dir / hidden_name(step, "tmp")
    with translate_os_errors(stage_dir):
        stage_dir.mkdir(parents=True, exist_ok=True)
        remove_leftovers(stage_dir)
        if (
            temporary.exists()
        ):  # of a former life with our process id, as in a container, and not to be deleted: say why
            shutil.rmtree(temporary)
        try:
            temporary.mkdir()
            _write_json(temporary / CONFIG, model_config.to_dict())
            _write_json(temporary / STATE, dict(state))
            _write_tensors(temporary / MODEL, model_state)
            if optimizer_state is not None:
                _write_tensors(temporary / OPTIMIZER, optimizer_state)
            tokenizer.save(temporary / TOKENIZER)
            write_manifest(temporary, step)
            _swap_in(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_dir(stage_dir)
        _prune(stage_dir, step, keep, best)
    return final


def load_checkpoint(step_dir: Path, *, with_optimizer: bool = False) -> Checkpoint:
    """Read a checkpoint whose files are all as the manifest says.

    Args:
        step_dir: a step folder.
        with_optimizer: read the optimizer state too; it stays None when the checkpoint has none.

    Raises:
        MissingError: there is no such folder.
        DamagedError: a file is not what was saved; the message names it, and nothing of it has been used.
        StorageError: a file cannot be read.
    """
    from safetensors.torch import load_file

    from nanochat.tokenizer.tokenizer import Tokenizer

    manifest = read_manifest(step_dir)
    wanted = files_for_use(step_dir)
    if with_optimizer and OPTIMIZER in manifest.files:
        wanted.append(OPTIMIZER)
    for name in wanted:
        check_file(step_dir, manifest, name)
    with translate_os_errors(step_dir):
        return Checkpoint(
            path=step_dir,
            step=manifest.step,
            model_config=ModelConfig.from_dict(json.loads((step_dir / CONFIG).read_bytes())),
            model_state=load_file(step_dir / MODEL),
            optimizer_state=load_file(step_dir / OPTIMIZER) if OPTIMIZER in wanted else None,
            state=json.loads((step_dir / STATE).read_bytes()),
            tokenizer=Tokenizer.load(step_dir / TOKENIZER),
        )


def files_for_use(step_dir: Path) -> list[str]:
    """Names of the files that a model needs to answer: all but the optimizer's."""
    listed = read_manifest(step_dir).files
    tokenizer = [name for name in listed if name.startswith(f"{TOKENIZER}/")]
    return [CONFIG, STATE, MODEL, *(tokenizer or [f"{TOKENIZER}/tokenizer.json"])]


def latest_valid(stage_dir: Path, on_notice: OnNotice | None = None) -> Path | None:
    """The newest checkpoint of a stage whose every file is whole, the optimizer's included.

    Args:
        stage_dir: folder of the stage; may be absent.
        on_notice: told, in one line each, about the damaged ones that were passed over.
    """
    for step_dir in step_dirs(stage_dir):
        try:
            verify(step_dir)
            return step_dir
        except DamagedError as error:
            if on_notice:
                on_notice(f"{error.message}; going back to the checkpoint before it")
    return None


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """safetensors.save_file with ordinary OSErrors and ordinary permissions."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(_separate(tensors), path)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number:
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise
    shutil.copymode(path.with_name(CONFIG), path)  # the library makes files that only their owner can read


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors that share no memory, as safetensors wants them."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        if tensor.numel() and tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        separate[name] = tensor
    return separate


def _swap_in(temporary: Path, final: Path) -> None:
    """Give the new folder its name. An existing one steps aside and comes back if the rename fails."""
    if not final.exists():
        temporary.rename(final)
        return
    aside = final.with_name(hidden_name(step_of(final), "old"))
    final.rename(aside)
    try:
        temporary.rename(final)
    except BaseException:
        aside.rename(final)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _prune(stage_dir: Path, saved: int, keep: int, best: int | None) -> None:
    """Leave the checkpoint just saved, the newest `keep` - 1 before it, and the best.

    Those of a later step (a run that went back) are deleted only when damaged: a whole one may be all that is
    left of hours of work.
    """
    older = [path for path in step_dirs(stage_dir) if step_of(path) < saved]
    later = [path for path in step_dirs(stage_dir) if step_of(path) > saved]
    outlived = [path for path in older[keep - 1 :] if step_of(path) != best]
    for path in [*outlived, *(p for p in later if _is_damaged(p))]:
        gone = path.with_name(hidden_name(step_of(path), "gone"))
        path.rename(gone)  # one step out of sight, so that no reader meets half a folder
        shutil.rmtree(gone, ignore_errors=True)


def _is_damaged(step_dir: Path) -> bool:
    try:
        verify(step_dir)
    except DamagedError:
        return True
    except NanochatError:  # unreadable or of a newer version: not ours to judge
        return False
    return False
