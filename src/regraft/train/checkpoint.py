"""Where a training that was interrupted goes on: one file, replaced at one stroke, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from regraft.files import flush, staged, storage_error
from regraft.frozen.files import forget_checkpoint

_NOTE = "regraft"
_ADVICE = "free some space, or set REGRAFT_CACHE to a folder on another disk"


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """What a checkpoint holds.

    Parameters
    ----------
    tensors : Mapping of str to torch.Tensor
        Weights, averages, and what the optimiser keeps.
    note : Mapping
        Everything else, as JSON values.
    """

    tensors: Mapping[str, torch.Tensor]
    note: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that always holds a whole checkpoint, or does not exist.

    Parameters
    ----------
    path : Path
        The file; its name says everything that decides the training.
    """

    path: Path

    def save(self, saved: Saved) -> None:
        """Replace what is there.

        Raises
        ------
        UserError
            It cannot be written.
        """
        tensors = {name: tensor.cpu().contiguous() for name, tensor in saved.tensors.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A folder of its own: safetensors begins another file beside the one that it is given.
            with staged(self.path) as folder:
                place = folder / self.path.name
                save_file(tensors, place, {_NOTE: json.dumps(saved.note)})
                flush(place)
                place.replace(self.path)
            flush(self.path.parent)
        except (OSError, SafetensorError) as error:
            cause = error if isinstance(error, OSError) else OSError(str(error))
            raise storage_error(self.path, cause, _ADVICE) from error

    def load(self) -> Saved | None:
        """Return what is there; None where nothing is, or nothing that can be read."""
        try:
            with safe_open(self.path, framework="pt") as file:
                note = json.loads((file.metadata() or {})[_NOTE])
                names = file.keys()
                return Saved({name: file.get_tensor(name) for name in names}, note)
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def remove(self) -> None:
        """Delete it, and what killed writers left."""
        forget_checkpoint(self.path)
