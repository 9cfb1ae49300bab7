"""Which files make up a network file, and what they are not.

OpenVINO answers a picture or a cut-off download with pages of its own source lines, so what can be
told from the bytes is told here first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from regraft.backbones.spelling import user_path
from regraft.errors import UserError

_READS = (
    "ONNX (.onnx), TFLite (.tflite), a TensorFlow SavedModel folder or frozen graph (.pb), "
    "OpenVINO IR (.xml beside its .bin), PaddlePaddle (.pdmodel beside its .pdiparams)"
)
_TORCH = (".pth", ".pt", ".th", ".ckpt", ".safetensors", ".bin")
_GRAPHS = {".bin": ".xml", ".pdiparams": ".pdmodel"}  # beside files that hold only weights
_KERAS = (".h5", ".hdf5", ".keras")
_PROTOBUF = (".onnx", ".pb", ".pdmodel")
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself"),
    (b"<!DOCTYPE html", "a web page"),
)
_VARINT, _SIZED = 0, 2  # wire types of protocol buffers; below, those of a fixed size
_FIXED = {1: 8, 5: 4}
# An entry of ONNX's external_data: the key "location" and, in the next field, its value's length.
_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """A network file and what belongs to it.

    Parameters
    ----------
    path : Path
        The file or SavedModel folder that OpenVINO is given.
    kind : {"onnx", "tflite", "savedmodel", "pb", "xml", "pdmodel"}
        What it is.
    files : tuple of Path
        Every file that decides what the network computes, the named one first.
    """

    path: Path
    kind: str
    files: tuple[Path, ...]

    def sha256(self) -> str:
        """Hash the file, or the names and contents where there are several."""
        if len(self.files) == 1:
            return _hash(self.files[0])
        root = self.path if self.path.is_dir() else self.path.parent
        whole = hashlib.sha256()
        for file in self.files:
            whole.update(f"{file.relative_to(root).as_posix()}\n{_hash(file)}\n".encode())
        return whole.hexdigest()


def find_network(name: str) -> NetworkPath:
    """Find the files of a network and check that they can be one.

    Parameters
    ----------
    name : str
        The path as the user typed it.

    Returns
    -------
    NetworkPath

    Raises
    ------
    UserError
        There is no such file, it is no network file, or a part of it is missing.
    """
    path = user_path(name)
    try:
        if path.is_dir():
            return _saved_model(path)
        if not path.is_file():
            raise UserError(f"file: must name a network file that exists, got {name}")
        return _single(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _saved_model(folder: Path) -> NetworkPath:
    if not (folder / "saved_model.pb").is_file():
        inside = sorted(
            entry.name
            for entry in folder.iterdir()
            if entry.suffix in (".onnx", ".tflite", ".xml", ".pdmodel", ".pb")
        )
        advice = (
            f"name one of the files in it: {', '.join(inside)}"
            if inside
            else f"name a file or folder that is one: {_READS}"
        )
        raise UserError(
            f"file: {folder} is a folder without saved_model.pb, so no TensorFlow SavedModel; "
            f"{advice}"
        )
    _check_protobuf(folder / "saved_model.pb")
    files = tuple(sorted(file for file in folder.rglob("*") if file.is_file()))
    return NetworkPath(folder, "savedmodel", files)


def _single(path: Path) -> NetworkPath:
    suffix = path.suffix.lower()
    graph = path.with_suffix(_GRAPHS.get(suffix, suffix))
    if suffix in _GRAPHS and graph.is_file():
        raise UserError(f"file: {path} holds only weights; name {graph} instead")
    if suffix in _TORCH:
        raise UserError(
            f"file: {path} holds weights and no graph that runs; name its architecture before it: "
            f"--backbone timm:NAME@{path} (or torchvision:NAME@{path})"
        )
    if suffix in _KERAS:
        raise UserError(
            f"file: {path} is Keras's own format, which OpenVINO does not read; name its "
            f"architecture before it, --backbone keras:NAME@{path}, or export it in Keras: "
            "model.export('folder')"
        )
    if suffix == ".json":
        raise UserError(
            f"file: {path} is no network file that OpenVINO reads; if it is PaddlePaddle's, save "
            "it with FLAGS_enable_pir_api=0 as .pdmodel, or convert it with paddle2onnx"
        )
    _check_signature(path)
    if suffix in _PROTOBUF:
        _check_protobuf(path)
    elif suffix == ".tflite":
        with path.open("rb") as file:
            if file.read(8)[4:] != b"TFL3":
                raise _no_network(path, "it does not begin as TFLite files do")
    elif suffix == ".xml":
        with path.open("rb") as file:
            if b"<net" not in file.read(4096):
                raise _no_network(path, "it does not begin as OpenVINO's XML files do")
    else:
        raise _no_network(path, f"its name ends in {suffix or 'nothing'}")
    return NetworkPath(path, suffix[1:], (path, *_companions(path, suffix)))


def _companions(path: Path, suffix: str) -> Sequence[Path]:
    if suffix == ".onnx":
        return [_present(path, path.parent / name) for name in _external_data(path)]
    if suffix == ".xml":
        return [_present(path, path.with_suffix(".bin"))]
    if suffix == ".pdmodel":
        return [_present(path, path.with_suffix(".pdiparams"))]
    return []


def _external_data(path: Path) -> list[str]:
    data = path.read_bytes()
    names = {data[m.end() : m.end() + m.group(1)[0]] for m in _EXTERNAL.finditer(data)}
    return sorted(name.decode("utf-8", "replace") for name in names)


def _present(path: Path, companion: Path) -> Path:
    if not companion.is_file():
        raise UserError(
            f"file: the weights of {path} are missing: put {companion.name} into the same folder"
        )
    return companion


def _check_signature(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(32)
    if not start:
        raise _no_network(path, "it is empty")
    for signature, what in _SIGNATURES:
        if start.startswith(signature):
            raise _no_network(path, f"it is {what}")


def _check_protobuf(path: Path) -> None:
    """Walk over the outermost fields: they fill the file exactly, unless it was cut short."""
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            tag = _varint(file)
            field, wire = tag >> 3, tag & 7
            if field == 0 or (wire not in _FIXED and wire not in (_VARINT, _SIZED)):
                raise _no_network(path, "its bytes are no protocol buffer")
            value = _varint(file) if wire in (_VARINT, _SIZED) else 0
            file.seek(value if wire == _SIZED else _FIXED.get(wire, 0), 1)
            if file.tell() > size:
                raise _no_network(path, "it is cut short (fetch it again) or no protocol buffer")
    if not size:
        raise _no_network(path, "it is empty")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return 0
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
    return value


def _no_network(path: Path, why: str) -> UserError:
    return UserError(f"file: {path} is not a network file: {why}; regraft reads {_READS}")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
