"""Reading a weight file for a named architecture: all of it or nothing, and never any code.

What a file is decides its content, not its name. PyTorch's own files are pickles, which can hold
code; they are read by PyTorch's reader that takes tensors only.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.errors import UserError

if TYPE_CHECKING:
    import torch

_CONTAINERS = ("state_dict", "model", "model_state_dict", "model_ema", "net", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
# Nothing is computed from it; older files lack it, and those in half precision hold it as a float.
_COUNTS = "num_batches_tracked"
_NESTING = 4  # containers in containers; a file may be built to hold itself
_LONGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
_WANTED = "give a .safetensors or .pth file with a network's state_dict"


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a weight file.

    Training programs wrap them: a container under ``state_dict``, ``model``,
    ``model_state_dict``, ``model_ema``, ``net`` or ``params`` is opened, and what lies beside it
    (epoch, optimiser) is left alone. The prefixes ``module.``, ``_orig_mod.``, ``model.`` and
    ``backbone.`` are taken off where every name has the same one.

    Parameters
    ----------
    path : Path
        A safetensors file, or what ``torch.save`` wrote, in its present or its old format.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU.

    Raises
    ------
    UserError
        It is missing, damaged, something else, holds code, or holds no tensor.
    """
    head = _head(path)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= _LONGEST_HEADER:
        return _without_prefix(_read_safetensors(path))
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
    elif other := _other_kind(head):
        raise UserError(f"checkpoint {path} {other}; {_WANTED}")
    return _without_prefix(_named_tensors(_read_torch(path), path))


def load_into(
    network: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    *,
    path: Path,
    head: Sequence[str],
) -> None:
    """Load tensors into a network, all of them or, if one does not fit, none.

    Parameters
    ----------
    network : torch.nn.Module
        Takes the values; floating-point tensors are converted to its own types.
    tensors : mapping of str to torch.Tensor
        From `read_checkpoint`.
    path : Path
        Where they come from, for the message.
    head : sequence of str
        Paths of the modules of the network's head. Their tensors may be missing, extra or of
        another shape, and are then left as they are: a head is taken off anyway.

    Raises
    ------
    UserError
        Lists every tensor that is missing, extra or does not fit; the network is untouched.
    """
    import torch

    wanted: dict[str, torch.Tensor] = network.state_dict()
    fitting: dict[str, torch.Tensor] = {}
    missing, extra, unfit = [], [], []
    for name, target in wanted.items():
        found = tensors.get(name)
        problem = None if found is None else _misfit(name, found, target)
        if found is not None and problem is None:
            fitting[name] = found
        elif _belongs(name, head) or name.endswith(_COUNTS):
            continue
        elif problem is not None:
            unfit.append(problem)
        else:
            missing.append(f"{name} is missing, shape {tuple(target.shape)}")
    for name in tensors.keys() - wanted.keys():
        if not _belongs(name, head):
            extra.append(f"{name} is extra: the network has no such tensor")
    if missing or extra or unfit:
        raise UserError(
            f"checkpoint {path} does not fit the network ({type(network).__name__}, "
            f"{len(wanted)} tensors): {len(missing)} missing, {len(extra)} extra, {len(unfit)} "
            f"that do not fit; {_guess(missing, extra, unfit, fitting)}; nothing was loaded",
            [*missing, *sorted(extra), *unfit],
        )
    _check_finite(fitting, path)
    with torch.no_grad():
        for name, found in fitting.items():
            wanted[name].copy_(found)


def _check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse weights with which nothing can be computed."""
    import torch

    odd = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if odd:
        raise UserError(
            f"checkpoint {path} must hold finite numbers: its training went wrong, or the file is "
            "damaged; nothing was loaded",
            [f"{name} holds NaN or infinite values" for name in odd],
        )


def _head(path: Path) -> bytes:
    """Read the first bytes of a file that ought to be a checkpoint."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot read checkpoint {path}: {reason}; {_WANTED}") from error
    if not head:
        raise UserError(f"checkpoint {path} is empty; fetch or copy it again")
    return head


def _other_kind(head: bytes) -> str | None:
    """Recognise what people save under a checkpoint's name by mistake."""
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: run `git lfs pull` where it comes from"
    if head.lstrip().startswith(b"<"):
        return "is a web page (HTML or XML): the download went to a page, not to the file"
    if head.startswith(b"\x89HDF"):
        return "is an HDF5 file, as Keras writes: name it after a network of Keras, keras:NAME@FILE"
    return None


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"checkpoint {path} is truncated or damaged ({error}); fetch or copy it again"
        ) from error
    if not tensors:
        raise UserError(f"checkpoint {path} holds no tensor; {_WANTED}")
    return tensors


def _check_zip(path: Path) -> None:
    """Refuse what is no checkpoint, and a damaged one: PyTorch does not compare the checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [Path(name).name for name in archive.namelist()]
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise UserError(
            f"checkpoint {path} is truncated or damaged ({error}); fetch or copy it again"
        ) from error
    if "constants.pkl" in names:
        raise UserError(f"checkpoint {path} is a TorchScript program, not weights; {_WANTED}")
    if "data.pkl" not in names:
        raise UserError(f"checkpoint {path} is a zip file, but none of PyTorch; {_WANTED}")
    if damaged is not None:
        raise UserError(
            f"checkpoint {path} is damaged: the checksum of {damaged} in it is wrong; "
            "fetch or copy it again"
        )


def _read_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader lets through whatever odd bytes make it raise
        asked_for = re.search(r"GLOBAL (\S+)", str(error))
        if asked_for:
            raise UserError(
                f"checkpoint {path} is refused: it is a pickle that holds more than tensors "
                f"({asked_for.group(1)}), and to read that would run code from the file; where "
                "you trust it, save its state_dict as safetensors with the program that wrote it, "
                "and give that file"
            ) from error
        raise UserError(
            f"checkpoint {path} cannot be read: it is truncated or damaged, or neither "
            "safetensors nor a file of torch.save (any other pickle is refused, for it can hold "
            f"code); {_WANTED}"
        ) from error


def _named_tensors(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    """Take the state_dict out of the containers around it."""
    import torch

    for _ in range(_NESTING):
        if not isinstance(loaded, Mapping):
            break
        inner = (loaded.get(key) for key in _CONTAINERS)
        deeper = [
            value
            for value in inner
            if isinstance(value, Mapping)
            and any(isinstance(item, torch.Tensor | Mapping) for item in value.values())
        ]
        if not deeper:
            break
        loaded = deeper[0]
    items = loaded.items() if isinstance(loaded, Mapping) else ()
    tensors = {
        name: value.detach()
        for name, value in items
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise UserError(
            f"checkpoint {path} holds no named tensor, but a {type(loaded).__name__}; {_WANTED}"
        )
    return tensors


def _without_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take off what wrappers put before every name; they may be nested."""
    for prefix in _PREFIXES * 2:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _belongs(name: str, modules: Sequence[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _misfit(name: str, found: torch.Tensor, target: torch.Tensor) -> str | None:
    if found.shape != target.shape:
        return f"{name} has shape {tuple(found.shape)}, the network wants {tuple(target.shape)}"
    if found.dtype.is_floating_point != target.dtype.is_floating_point or found.is_complex():
        return f"{name} has type {found.dtype}, the network wants {target.dtype}"
    return None


def _guess(
    missing: Sequence[str], extra: Sequence[str], unfit: Sequence[str], fitting: Mapping[str, Any]
) -> str:
    """Suggest what the file might be."""
    if not fitting:
        return "it is probably of another architecture, or of another library's names"
    if missing and not extra and not unfit:
        return "it is probably a trunk only, or a part of a network"
    if extra and not missing and not unfit:
        return "it is probably of a network that has this one as a part"
    if unfit and not missing and not extra:
        return "it is probably of another size or version of this architecture"
    return "it is probably of another architecture"
