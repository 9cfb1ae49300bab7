"""Folder layouts: a folder per class, with or without train / val / test above."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from regraft.data.records import Layout, Manifest, Picture, Role, Skipped, shown
from regraft.errors import UserError

PARTS: dict[str, Role] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Words for the parts of a split, in folder names and in tables; case does not matter."""

_CLUTTER = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"})
_ALREADY_READ = "a link to a folder that is read elsewhere"


@dataclass(frozen=True, slots=True)
class _Listing:
    """What lies directly in one folder, sorted by name; hidden entries are left out."""

    folders: tuple[str, ...]
    links: tuple[str, ...]
    files: tuple[str, ...]
    odd: tuple[tuple[str, str], ...]


def read_folder(root: Path) -> Manifest:
    """List a folder of class folders, or of parts with class folders.

    Raises
    ------
    UserError
        When the folder cannot be opened, is empty, or holds no class folder with files.
    """
    reader = _Reader(root)
    try:
        top = _list(str(root))
    except OSError as error:
        raise UserError(
            f"the folder {shown(str(root))!r} cannot be opened: {error.strerror or error}"
        ) from error
    folders = sorted((*top.folders, *top.links))
    reader.skip_odd(top)
    parts = _parts(root, folders)
    pictures: list[Picture] = []
    if parts:
        for folder, role in parts.items():
            pictures += reader.read_part(folder, role)
        beside = set(folders) - set(parts)
        reader.skip(sorted(beside), "a folder beside train, val or test is not read")
        reader.skip(top.files, "a loose file beside train, val or test has no label")
    else:
        for folder in folders:
            pictures += reader.read_class(folder, None)
        reader.skip(top.files, "a loose file beside the class folders has no label")
    if not pictures:
        raise _nothing(root, top)
    reader.skipped.sort(key=lambda entry: entry.path)
    layout: Layout = "split-folders" if parts else "folders"
    return Manifest(root, layout, tuple(pictures), tuple(reader.skipped))


def walk(
    folder: str,
    skipped: list[Skipped],
    *,
    name: Callable[[str], str],
    barred: frozenset[tuple[int, int]] = frozenset(),
) -> list[str]:
    """Find all files below a folder, through links too, each folder once.

    Parameters
    ----------
    folder : str
        Where to start.
    skipped : list of Skipped
        Gets what could not be followed or opened.
    name : callable
        Makes the name to show from a path.
    barred : frozenset of (int, int)
        Device and inode of folders that are not to be entered.

    Returns
    -------
    list of str
        Paths that begin with `folder`, sorted.
    """
    seen = set(barred)
    files: list[str] = []
    to_do, links = [folder], list[str]()
    while to_do or links:
        here = (to_do or links).pop()
        try:
            key = _identity(here)
            if key in seen:
                if Path(here).is_symlink():
                    skipped.append(Skipped(shown(name(here)), _ALREADY_READ))
                continue
            seen.add(key)
            found = _list(here)
        except OSError as error:
            reason = f"the folder cannot be opened: {error.strerror or error}"
            skipped.append(Skipped(shown(name(here)), reason))
            continue
        files += found.files
        to_do += found.folders
        links = sorted((*links, *found.links), reverse=True)
        skipped += (Skipped(shown(name(path)), reason) for path, reason in found.odd)
    return sorted(files)


class _Reader:
    """Collects pictures below one root, and what is left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: list[Skipped] = []
        # A link up to the root or above it is a loop.
        here = root.resolve()
        self._above = frozenset(_identity(str(folder)) for folder in (here, *here.parents))

    def read_part(self, folder: str, role: Role) -> list[Picture]:
        """Read the class folders of one part."""
        try:
            listing = _list(folder)
        except OSError as error:
            self.skip([folder], f"the folder cannot be opened: {error.strerror or error}")
            return []
        self.skip_odd(listing)
        self.skip(listing.files, "a loose file beside the class folders has no label")
        pictures: list[Picture] = []
        for inner in sorted((*listing.folders, *listing.links)):
            pictures += self.read_class(inner, role, {_identity(folder)})
        if not pictures:
            self.skip([folder], "holds no class folder with files, so there is no such part")
        return pictures

    def read_class(
        self,
        folder: str,
        role: Role | None,
        barred: frozenset[tuple[int, int]] | set[tuple[int, int]] = frozenset(),
    ) -> list[Picture]:
        """Read all files below a class folder; its name is the label."""
        label = unicodedata.normalize("NFC", shown(Path(folder).name))
        files = walk(folder, self.skipped, name=self.name, barred=self._above | barred)
        if not files and _identity(folder) not in self._above | barred:
            self.skip([folder], "a class folder without files")
        return [Picture(Path(file), shown(self.name(file)), label, role) for file in files]

    def name(self, path: str) -> str:
        """Path relative to the root."""
        return path[len(str(self.root)) :].lstrip("/")

    def skip(self, paths: Sequence[str], reason: str) -> None:
        """List paths as left out."""
        self.skipped += (Skipped(shown(self.name(path)), reason) for path in paths)

    def skip_odd(self, listing: _Listing) -> None:
        """List what is neither file nor folder."""
        self.skipped += (Skipped(shown(self.name(path)), why) for path, why in listing.odd)


def _parts(root: Path, folders: Sequence[str]) -> dict[str, Role]:
    """Tell which folders are train, val and test; empty when these are class folders."""
    parts = {
        folder: PARTS[word] for folder in folders if (word := Path(folder).name.casefold()) in PARTS
    }
    roles = list(parts.values())
    if not parts or not (len(parts) == len(folders) or ("train" in roles and len(set(roles)) > 1)):
        return {}
    doubles = [f for f, role in parts.items() if roles.count(role) > 1]
    if doubles:
        names = ", ".join(repr(shown(Path(folder).name)) for folder in doubles)
        raise UserError(
            f"each part may have one folder, and {shown(str(root))!r} has {names} for the same; "
            "merge or rename them"
        )
    return dict(sorted(parts.items(), key=lambda item: ("train", "val", "test").index(item[1])))


def _nothing(root: Path, top: _Listing) -> UserError:
    name = shown(str(root))
    tables = [file for file in top.files if file.lower().endswith((".csv", ".tsv", ".parquet"))]
    hint = f"; or give the table itself: {shown(tables[0])!r}" if tables else ""
    if not (top.folders or top.links or top.files):
        return UserError(
            f"the folder {name!r} is empty; it must hold a folder of pictures per class"
        )
    if not (top.folders or top.links):
        return UserError(
            f"the folder {name!r} holds {len(top.files)} loose file(s) and no class folders; put "
            f"the pictures of each class into a folder of its own{hint}"
        )
    return UserError(
        f"the folders in {name!r} hold no files; put the pictures of each class into a folder of "
        f"its own{hint}"
    )


def _identity(folder: str) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _list(folder: str) -> _Listing:
    folders, links, files = list[str](), list[str](), list[str]()
    odd: list[tuple[str, str]] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name.casefold() in _CLUTTER:
                continue
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(entry.path)
                elif entry.is_file():
                    files.append(entry.path)
                else:
                    odd.append((entry.path, _oddity(entry)))
            except OSError as error:
                odd.append((entry.path, f"cannot be read: {error.strerror or error}"))
    return _Listing(tuple(folders), tuple(links), tuple(files), tuple(odd))


def _oddity(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink() and not Path(entry.path).exists():
        return "a broken link"
    mode = entry.stat().st_mode
    return "a named pipe" if stat.S_ISFIFO(mode) else "not a regular file"
