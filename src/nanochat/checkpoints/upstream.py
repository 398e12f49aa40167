"""Checkpoints of the reference system: found, told apart by era, and turned into a stage folder of ours.

    {base}/base_checkpoints/d20/model_000650.pt     weights by name, tensors only
                                meta_000650.json    model_config, step, val_bpb, user_config
    {base}/tokenizer/tokenizer.pkl                  one for all models

The era is told by the names and shapes of the weights alone. Every name and shape must be one that our model of that
era has; anything else is refused by name. Left out: the optimizer's state (`optim_*.pt`), whose layout
depends on the number of processes.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.checkpoints.layout import mark_finished, step_dirs, step_of
from nanochat.checkpoints.store import save_checkpoint
from nanochat.config.model import ModelConfig, era_config
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.model.sizes import count_parameters
from nanochat.runtime.files import atomic_write_json, translate_os_errors

if TYPE_CHECKING:
    from torch import Tensor

    from nanochat.tokenizer.tokenizer import Tokenizer

STAGE_FOLDERS = {
    "base_checkpoints": "base",
    "mid_checkpoints": "mid",
    "chatsft_checkpoints": "sft",
    "chatrl_checkpoints": "rl",
}
DEFAULT_BATCH = 2**19  # tokens a step, where the meta does not say

_MODEL_FILE = re.compile(r"model_(\d+)\.pt")
_META_KEYS = ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd", "window_pattern")
_COPY_HINT = "copy the checkpoint again"
_UNKNOWN_HINT = "only eras A to D are read; this checkpoint is of another design"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamCheckpoint:
    """A checkpoint of the reference system, read and found to be of a known era; tensors are on the CPU."""

    folder: Path
    step: int
    era: str
    model_config: ModelConfig
    model_state: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def val_bpb(self) -> float | None:
        """Bits per byte that the reference system measured."""
        value = self.meta.get("val_bpb")
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_upstream(folder: Path, *, softcap: float = 15.0) -> UpstreamCheckpoint:
    """Read the newest checkpoint of a folder; no code in it is run.

    Args:
        folder: where `model_*.pt` and `meta_*.json` are.
        softcap: bound of the logits; 20 in checkpoints of 2 to 9 March 2026, which look like all others.

    Raises:
        MissingError: no folder, no weights or no meta in it.
        DamagedError: a file is cut short, or holds anything but tensors or JSON.
        UsageError: unknown keys in weights or meta, or weights that do not fit the meta; named.
        StorageError: a file cannot be read.
    """
    path = _newest(folder)
    step = int(_MODEL_FILE.fullmatch(path.name)[1])  # type: ignore[index]
    meta = _read_meta(folder / f"meta_{path.stem.removeprefix('model_')}.json")
    state = {name.removeprefix("_orig_mod."): tensor for name, tensor in _read_tensors(path).items()}
    era, config = _identify(path, {name: tuple(tensor.shape) for name, tensor in state.items()}, meta["model_config"])
    config = replace(config, softcap=softcap)
    _check_weights(path, state, config)
    return UpstreamCheckpoint(folder=folder, step=step, era=era, model_config=config, model_state=state, meta=meta)


def save_imported(checkpoint: UpstreamCheckpoint, tokenizer: Tokenizer, stage_dir: Path) -> Path:
    """Write a checkpoint and its tokenizer as a finished stage of ours.

    Returns:
        The step folder.

    Raises:
        UsageError: the stage has checkpoints already.
        StorageError: the disk says no.
    """
    present = step_dirs(stage_dir)
    if present:
        place = f"{stage_dir.parent.name}:{stage_dir.name}"
        raise UsageError(f"{place} exists already (step {step_of(present[0])})", "choose another --tag")
    user = checkpoint.meta.get("user_config")
    batch = user.get("total_batch_size") if isinstance(user, Mapping) else None
    train = {"step": checkpoint.step, "val_bpb": checkpoint.val_bpb}
    counts = count_parameters(checkpoint.model_config)
    saved = save_checkpoint(
        stage_dir,
        checkpoint.step,
        model_state=checkpoint.model_state,
        model_config=checkpoint.model_config,
        tokenizer=tokenizer,
        state={
            "train": train,
            "total_batch_size": batch if isinstance(batch, int) and batch > 0 else DEFAULT_BATCH,
        },
    )
    atomic_write_json(
        stage_dir / "config.json",
        {
            "stage": stage_dir.name,
            "tag": stage_dir.parent.name,
            "model": checkpoint.model_config.to_dict(),
            "parameters": {"total": counts.total} | asdict(counts),
            "imported": {"era": checkpoint.era, "folder": str(checkpoint.folder), "meta": checkpoint.meta},
        },
    )
    mark_finished(stage_dir, train)
    return saved


def find_tokenizer(folder: Path) -> Path:
    """The `tokenizer.pkl` that belongs to a checkpoint folder: beside it, or where the reference system keeps it.

    Raises:
        MissingError: there is none.
    """
    parents = folder.absolute().parents
    places = [folder, *(parent / "tokenizer" for parent in parents[:2])]
    for place in places:
        if (place / "tokenizer.pkl").is_file():
            return place / "tokenizer.pkl"
    raise MissingError(
        f"there is no tokenizer.pkl in {' or '.join(str(place) for place in places)}",
        "--tokenizer PATH names the one the model was trained with",
    )


def stage_of(folder: Path) -> str:
    """The stage a checkpoint folder belongs to, by the name of the folder around it; else base."""
    return STAGE_FOLDERS.get(folder.absolute().parent.name, "base")


def _newest(folder: Path) -> Path:
    with translate_os_errors(folder):
        if not folder.is_dir():
            raise MissingError(f"there is no folder {folder}", "nanochat models import DIR, where model_*.pt is")
        found = {int(match[1]): path for path in folder.iterdir() if (match := _MODEL_FILE.fullmatch(path.name))}
    if not found:
        raise MissingError(
            f"there is no model_*.pt in {folder}", "nanochat models import DIR, such as base_checkpoints/d20"
        )
    return found[max(found)]


def _read_meta(path: Path) -> dict[str, Any]:
    """The meta, with a `model_config` whose keys are all known."""
    with translate_os_errors(path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise MissingError(f"there is no {path.name} in {path.parent}", _COPY_HINT) from None
    try:
        meta = json.loads(data)
        shape = meta["model_config"]
        numbers = {name: int(shape[name]) for name in _META_KEYS if name != "window_pattern"}
        unknown = set(shape) - set(_META_KEYS)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} is not the meta of a checkpoint ({error})", _COPY_HINT) from None
    if unknown:
        raise UsageError(f"{path}: model_config has unknown keys: {', '.join(sorted(unknown))}", _UNKNOWN_HINT)
    windows = {"window_pattern": str(shape["window_pattern"])} if "window_pattern" in shape else {}
    return {**meta, "model_config": {**numbers, **windows}}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a `.pt` file; anything else in it is refused by torch's own restricted reader."""
    import pickle

    import torch

    with translate_os_errors(path):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise DamagedError(f"{path} holds more than tensors, or is damaged; it was not read", _COPY_HINT) from None
        except (RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # torch seeks before the start of a stub
                raise
            reason = (str(error).splitlines() or ["no reason given"])[0][:200]
            raise DamagedError(f"{path} is damaged ({reason})", _COPY_HINT) from None
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise DamagedError(f"{path} is not a mapping from names to tensors", _COPY_HINT)
    return {str(name): tensor for name, tensor in state.items()}


def _identify(path: Path, shapes: Mapping[str, tuple[int, ...]], shape: Mapping[str, Any]) -> tuple[str, ModelConfig]:
    """Era and config, from names and shapes of the weights and the sizes in the meta."""
    windows = {"window_pattern": "L"} if "window_pattern" not in shape else {}
    gate = next((sizes for name, sizes in shapes.items() if name.endswith(".attn.ve_gate.weight")), None)
    if "resid_lambdas" not in shapes:
        rows = shapes.get("transformer.wte.weight", (0,))[0]
        multiple = 1 if rows == shape["vocab_size"] else 64  # padded from December 2025 on
        plain = {name: value for name, value in shape.items() if name != "window_pattern"}
        return "A", era_config("A", **plain, vocab_multiple=multiple)
    if "smear_lambda" in shapes:
        return "D", era_config("D", **{**windows, **shape})
    if gate is None:  # 11 to 16 January 2026
        return "B", era_config("B", **{**windows, **shape}, value_embeds=False)
    width = gate[-1]
    era = {32: "B", 12: "C"}.get(width)
    if era is None:
        raise UsageError(f"{path}: ve_gate reads {width} channels; era B has 32, era C 12", _UNKNOWN_HINT)
    return era, era_config(era, **{**windows, **shape})


def _check_weights(path: Path, state: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Refuse what our model of this config does not have, lacks, or has in another shape."""
    import torch

    from nanochat.model.gpt import GPT

    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in GPT(config).state_dict().items()}
    if unknown := set(state) - set(expected):
        raise UsageError(f"{path} has unknown keys: {_some(unknown)}", _UNKNOWN_HINT)
    if missing := set(expected) - set(state):
        raise UsageError(f"{path} lacks the keys {_some(missing)}", _UNKNOWN_HINT)
    for name, shape in expected.items():
        found = tuple(state[name].shape)
        if found != shape:
            raise UsageError(
                f"{path}: {name} is {_times(found)}, by the meta it must be {_times(shape)}",
                "the meta belongs to another checkpoint, or the design is unknown",
            )


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
