"""A trained model on disk: a folder of plain files with a SHA-256 for each.

==================== ==========================================================
``config.json``      what timm needs to load the network, and a ``regraft`` object
``model.safetensors``  weights of the network
``network.xml/.bin``   or a copy of a network file
``head.safetensors``   weights of the head
``familiar.safetensors``  what tells unlike pictures, where those of training are enough for that
``frozen.xml/.bin``  the frozen graph for the inference engine
``README.md``        the model card
``SHA256SUMS``       sums of all the others, for ``sha256sum -c`` too
``report.html``      a page about it, where one was asked for; nothing reads it
==================== ==========================================================

Nothing in a bundle is code or a pickle. This module reads and verifies the files and
knows nothing of what they mean beyond the format version; `regraft.bundle.writing` writes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from regraft.bundle.fields import Fields
from regraft.errors import UserError
from regraft.files import mend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT_VERSION: Final = 1
CONFIG: Final = "config.json"
MODEL: Final = "model.safetensors"
HEAD: Final = "head.safetensors"
FAMILIAR: Final = "familiar.safetensors"
GRAPH: Final = "frozen.xml"
GRAPH_WEIGHTS: Final = "frozen.bin"
NETWORK: Final = "network.xml"
NETWORK_WEIGHTS: Final = "network.bin"
CARD: Final = "README.md"
SUMS: Final = "SHA256SUMS"
REPORT: Final = "report.html"
REQUIRED: Final = (CONFIG, HEAD, GRAPH, GRAPH_WEIGHTS, CARD)
ONE_OF: Final = (MODEL, NETWORK)

_MAX_CONFIG_BYTES: Final = 32 << 20
_MAX_SUMS_BYTES: Final = 1 << 20
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
_SUM_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_RESTORE: Final = "copy the bundle again from where it came from, or train it again"


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """An opened bundle: its settings, read and checked, and the way to its files.

    Parameters
    ----------
    path : Path
        The folder.
    config : Mapping
        ``config.json`` as it is.
    sums : Mapping of str to str
        SHA-256 (hex) by file name.
    """

    path: Path
    config: Mapping[str, Any]
    sums: Mapping[str, str]

    @property
    def settings(self) -> Fields:
        """The ``regraft`` object of ``config.json``, with typed access."""
        return Fields(self.config, str(self.path / CONFIG)).child("regraft")

    def verify(self, names: Iterable[str]) -> None:
        """Check the contents of some files against their sums.

        Raises
        ------
        UserError
            A file was edited, cut short, or cannot be read; all of them are named.
        """
        wrong = [name for name in names if file_sum(self.file(name)) != self.sums[name]]
        if wrong:
            raise _damaged(self.path, wrong)

    def file(self, name: str) -> Path:
        """Return the path of a listed file.

        Raises
        ------
        UserError
            The bundle lists no such file.
        """
        if name not in self.sums:
            raise UserError(f"{self.path} lists no {name} in {SUMS}; {_RESTORE}")
        return self.path / name

    def read(self, name: str) -> bytes:
        """Return the contents of a file, checked against its sum.

        Raises
        ------
        UserError
            It was edited, cut short, or cannot be read.
        """
        data = _read(self.file(name))
        if hashlib.sha256(data).hexdigest() != self.sums[name]:
            raise _damaged(self.path, [name])
        return data

    def tensors(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of a safetensors file, checked against its sum.

        Raises
        ------
        UserError
            It was edited, cut short, or cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.read(name)
        try:
            return load(data)
        except (SafetensorError, KeyError) as error:
            raise UserError(f"{self.path / name} is no safetensors file: {error}") from error


def open_bundle(path: str | Path) -> BundleFiles:
    """Open a bundle and check everything that costs no reading of big files.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    BundleFiles
        Call its `~BundleFiles.verify` or `~BundleFiles.read` for the files that are to be used.

    Raises
    ------
    UserError
        No bundle, one that a newer regraft made, one with files missing, or one that names a
        file outside the folder.
    """
    folder = Path(path).expanduser().absolute()
    try:
        mend(real_place(folder))
        mode = folder.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} does not exist; give the folder that `regraft fit --out` made"
        ) from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not stat.S_ISDIR(mode):
        raise UserError(f"{folder} is a file; a bundle is the folder that `regraft fit` made")
    text = read_config(folder)
    config = parse_config(folder, text)
    _check_version(folder, config)
    sums = parse_sums(folder)
    _check_names(folder, sums)
    if hashlib.sha256(text).hexdigest() != sums[CONFIG]:
        raise _damaged(folder, [CONFIG])
    return BundleFiles(folder, config, sums)


def real_place(target: Path) -> Path:
    """Return the real place, so that a link to a bundle stays a link."""
    return Path(os.path.realpath(target.expanduser()))


def read_config(folder: Path) -> bytes:
    """Read ``config.json`` as it is; `UserError` where it is absent or absurdly large."""
    place = folder / CONFIG
    if not place.is_file():
        raise UserError(f"{folder} is not a regraft bundle: it has no {CONFIG}")
    return _read(place, _MAX_CONFIG_BYTES)


def parse_config(folder: Path, text: bytes) -> dict[str, Any]:
    """Read ``config.json`` as JSON; `UserError` where it is none, or no bundle's."""
    place = folder / CONFIG
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not readable as JSON: {error}; {_RESTORE}") from error
    if not isinstance(config, dict) or not isinstance(config.get("regraft"), dict):
        raise UserError(f'{folder} is not a regraft bundle: its {CONFIG} has no "regraft" object')
    return config


def _check_version(folder: Path, config: Mapping[str, Any]) -> None:
    settings = Fields(config, str(folder / CONFIG)).child("regraft")
    version = settings.integer("format_version")
    if version > FORMAT_VERSION:
        raise UserError(
            f"{folder} was made by a newer regraft (bundle format {version}, this one reads up "
            f"to {FORMAT_VERSION}); upgrade regraft"
        )
    if version < 1:
        raise UserError(f"{folder / CONFIG}: format_version must be 1 or more, got {version}")


def parse_sums(folder: Path) -> dict[str, str]:
    """Read ``SHA256SUMS``: hexadecimal sums by name; `UserError` names every bad line."""
    place = folder / SUMS
    if not place.is_file():
        raise UserError(f"{folder} is not a whole bundle: it has no {SUMS}; {_RESTORE}")
    data = _read(place, _MAX_SUMS_BYTES)
    sums: dict[str, str] = {}
    problems = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        found = _SUM_LINE.fullmatch(line)
        if found is None:
            problems.append(f"line {number} is not a sum and a name")
        elif not PLAIN_NAME.fullmatch(found[2]):
            problems.append(f"line {number}: {found[2]!r} is not a plain file name")
        elif found[2] in sums:
            problems.append(f"line {number} lists {found[2]} again")
        else:
            sums[found[2]] = found[1]
    if problems:
        raise UserError(f"{place} is damaged; {_RESTORE}", problems[:20])
    return sums


def _check_names(folder: Path, sums: Mapping[str, str]) -> None:
    """Check that every file is listed, there, a real file, and inside the folder."""
    problems = [f"{name} is not listed in {SUMS}" for name in REQUIRED if name not in sums]
    if not any(name in sums for name in ONE_OF):
        problems.append(f"neither {' nor '.join(ONE_OF)} is listed in {SUMS}")
    inside = Path(os.path.realpath(folder))
    for name in sums:
        try:
            mode = (folder / name).stat().st_mode
        except OSError as error:
            problems.append(f"{name}: {(error.strerror or str(error)).lower()}")
            continue
        if not stat.S_ISREG(mode):
            problems.append(f"{name} is not a file")
        elif Path(os.path.realpath(folder / name)).parent != inside:
            problems.append(f"{name} is a link that leads out of the bundle")
    if problems:
        raise UserError(f"{folder} is not a whole bundle; {_RESTORE}", problems)


def _read(place: Path, limit: int | None = None) -> bytes:
    try:
        with place.open("rb") as file:
            if limit is not None and os.fstat(file.fileno()).st_size > limit:
                raise UserError(f"{place} is larger than any that regraft writes; {_RESTORE}")
            return file.read()
    except OSError as error:
        raise _unreadable(place, error) from error


def file_sum(place: Path) -> str:
    """SHA-256 of a file, hexadecimal; `UserError` where it cannot be read."""
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(place, error) from error


def _unreadable(place: Path, error: OSError) -> UserError:
    reason = (error.strerror or str(error)).lower()
    return UserError(f"cannot read {place}: {reason}; check the path and its permissions")


def _damaged(folder: Path, names: Iterable[str]) -> UserError:
    what = f"{', '.join(names)} differs from what {SUMS} says: edited or cut short"
    return UserError(f"{folder}: {what}; {_RESTORE}")
