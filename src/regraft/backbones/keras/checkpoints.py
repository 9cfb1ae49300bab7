"""Weight files of Keras: all of a file or nothing, and never any code.

Three kinds hold the same tensors. The old ``.h5`` lists the layers in order, under names that
differ from one version of Keras to the next, so they are paired by their place, as Keras does;
``.weights.h5`` and the ``.keras`` archive number the layers of each kind. Of an archive only the
weights are read: its description of the network, which may hold code, is not looked at.
"""

from __future__ import annotations

import contextlib
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.keras.graph import kind_of, stable_names
from regraft.errors import UserError

_WANTED = "give a .h5, .weights.h5 or .keras file that Keras saved for this architecture"
_OLD_PREFIX = "_layer_checkpoint_dependencies/"  # Keras 2.13
_ARCHIVED = "model.weights.h5"
_NEW = re.compile(r"layers/(?:.*/)?vars/\d+")


_Layer = tuple[str, list[str]]
"""A layer of an old file, and the full names of its tensors."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """One tensor of the network, and what the file has for it."""

    name: str
    variable: Any
    found: Any


def load_keras_weights(model: Any, path: Path, *, top: bool) -> None:
    """Load a weight file into a Keras network, or raise and leave the network as it is.

    Parameters
    ----------
    model : keras.Model
        The network.
    path : Path
        The file; what kind it is decides its content.
    top : bool
        Whether the network's last layer with weights is a classifier. Its tensors may be missing
        or of another shape, and are then left as they are: a head is taken off anyway.

    Raises
    ------
    UserError
        It cannot be read, or does not fit; every tensor that is missing, extra or of another shape
        is listed.
    """
    with _opened(path) as (tensors, layers):
        if layers is None:
            slots, extra = _by_number(model, tensors)
        else:
            slots, extra = _by_place(model, tensors, layers)
        head = {id(v) for v in _weighted(model)[-1].weights} if top else set()
        problems = [
            _problem(slot) for slot in slots if not _fits(slot) and id(slot.variable) not in head
        ]
        problems += [f"{name} is extra: the network has no such tensor" for name in extra]
        if problems:
            raise UserError(
                f"checkpoint {path} does not fit {model.name}, which has {len(slots)} tensors: "
                f"{len(problems)} are missing, extra or of another shape; nothing was loaded",
                problems,
            )
        values = [(slot.variable, slot.found[()]) for slot in slots if _fits(slot)]
    for variable, value in values:
        variable.assign(np.asarray(value))


def _weighted(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.weights]


def _problem(slot: _Slot) -> str:
    shape = tuple(slot.variable.shape)
    if slot.found is None:
        return f"{slot.name} is missing, shape {shape}"
    return (
        f"{slot.name} has shape {slot.found.shape} and type {slot.found.dtype}, "
        f"the network wants {shape} and numbers"
    )


def _fits(slot: _Slot) -> bool:
    """Whether the file has a tensor of numbers of the right shape."""
    found = slot.found
    return (
        found is not None
        and tuple(found.shape) == tuple(slot.variable.shape)
        and found.dtype.kind in "fiu"
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], list[_Layer] | None]]:
    """Open a file: its tensors by name and, of the old kind, the layers in order."""
    import h5py

    with contextlib.ExitStack() as stack:
        try:
            source = _weights_in(path, stack)
            yield _index(stack.enter_context(h5py.File(source, "r")), path)
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise UserError(
                f"checkpoint {path} is truncated or damaged ({' '.join(str(error).split())}); "
                "fetch or copy it again"
            ) from error


def _weights_in(path: Path, stack: contextlib.ExitStack) -> Any:
    """Return what HDF5 is to open: the file, or the weights in an archive."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot read checkpoint {path}: {reason}; {_WANTED}") from error
    if head == b"\x89HDF":
        return path
    if head != b"PK\x03\x04":
        raise UserError(f"checkpoint {path} is no weight file of Keras; {_WANTED}")
    archive = stack.enter_context(zipfile.ZipFile(path))
    if _ARCHIVED not in archive.namelist():
        raise UserError(f"checkpoint {path} is a zip file without {_ARCHIVED}; {_WANTED}")
    if archive.testzip() is not None:
        raise UserError(f"checkpoint {path} is damaged: a checksum in it is wrong; copy it again")
    return stack.enter_context(archive.open(_ARCHIVED))


def _index(file: Any, path: Path) -> tuple[dict[str, Any], list[_Layer] | None]:
    """List the tensors. Links that lead out of a file are not followed."""
    import h5py

    tensors: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual:
            raise UserError(f"checkpoint {path} is refused: {name} lies in another file")
        tensors[name.replace(_OLD_PREFIX, "layers/")] = item

    file.visititems(note)
    old = "model_weights/" if "model_weights" in file else ""
    group = file["model_weights"] if old else file
    if names := _names(group, "layer_names"):
        found = {name.removeprefix(old): item for name, item in tensors.items()}
        layers = [
            (name, [f"{name}/{tensor}" for tensor in _names(group[name], "weight_names")])
            for name in names
            if name in group
        ]
        return found, [(name, inside) for name, inside in layers if inside]
    new = {name: item for name, item in tensors.items() if _NEW.fullmatch(name)}
    if not new:
        raise UserError(f"checkpoint {path} holds no weights of layers; {_WANTED}")
    return {name: item for name, item in new.items() if "/seed_generator/" not in name}, None


def _names(group: Any, attribute: str) -> list[str]:
    """Read a list of names; a long one is kept in parts."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode() if isinstance(name, bytes) else str(name) for p in parts for name in p]


def _by_number(model: Any, tensors: Mapping[str, Any]) -> tuple[list[_Slot], list[str]]:
    """Pair tensors of the newer files: layers are numbered, a kind at a time."""
    slots = [
        _Slot(f"{key} ({variable.path})", variable, tensors.get(key))
        for key, variable in _numbered(model.layers, "layers")
    ]
    used = {slot.name.partition(" ")[0] for slot in slots}
    return slots, sorted(tensors.keys() - used)


def _numbered(layers: Sequence[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    counts: Counter[str] = Counter()
    for layer in layers:
        kind = kind_of(layer)
        number = counts[kind]
        counts[kind] += 1
        path = f"{prefix}/{kind}_{number}" if number else f"{prefix}/{kind}"
        if kind == "sequential":
            yield from _numbered(layer.layers, f"{path}/layers")
        else:
            for place, variable in enumerate(layer.weights):
                yield f"{path}/vars/{place}", variable


def _by_place(
    model: Any, tensors: Mapping[str, Any], layers: Sequence[_Layer]
) -> tuple[list[_Slot], list[str]]:
    """Pair tensors of the old files: layer by layer, or by name where their number differs."""
    names = stable_names(model)
    weighted = _weighted(model)
    if len(weighted) - len(layers) in (0, 1):  # all, or all but the classifier
        paired = {id(layer): inside for layer, (_, inside) in zip(weighted, layers, strict=False)}
    else:
        inside_of = dict(layers)
        paired = {id(layer): inside_of.get(names[id(layer)], []) for layer in weighted}
    slots: list[_Slot] = []
    for layer in weighted:
        variables = [*layer.trainable_weights, *layer.non_trainable_weights]
        keys = paired.get(id(layer), [])
        for place, variable in enumerate(variables):
            key = keys[place] if place < len(keys) else ""
            name = f"{names[id(layer)]}/{variable.name}"
            slots.append(_Slot(name, variable, tensors.get(key)))
    read = {key for layer in weighted for key in paired.get(id(layer), [])[: len(layer.weights)]}
    listed = [key for _, inside in layers for key in inside]
    return slots, [key for key in listed if key not in read]
