"""Folder layouts: a folder per class, with or without train / val / test above."""

from __future__ import annotations

import contextlib
import os
import stat
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from regraft.data.records import Layout, Manifest, Picture, Role, Skipped, shown
from regraft.errors import UserError

WORDS: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "tst", "holdout", "eval", "evaluation"),
}
"""Words for the parts of a split, in folder names and in tables; case does not matter."""

PARTS: dict[str, Role] = {word: role for role, words in WORDS.items() for word in words}
"""The part that each word stands for."""

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
        reader.skip(sorted(beside), "a folder beside the parts is not read")
        reader.skip(top.files, "a loose file beside the parts has no label")
    else:
        for folder in folders:
            pictures += reader.read_class(folder, None)
        reader.skip(top.files, "a loose file beside the class folders has no label")
    if not pictures:
        raise _nothing(root, top, parts)
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


def count_folders(folder: str) -> int:
    """Count the folders directly in a folder; 0 where it cannot be opened."""
    try:
        found = _list(folder)
    except OSError:
        return 0
    return len(found.folders) + len(found.links)


class _Reader:
    """Collects pictures below one root, and what is left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped: list[Skipped] = []
        # A link up to the root or above it is a loop. What cannot be looked at cannot be entered.
        here, above = root.resolve(), set[tuple[int, int]]()
        for folder in (here, *here.parents):
            with contextlib.suppress(OSError):
                above.add(_identity(str(folder)))
        self._above = frozenset(above)

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
        label = _label(folder)
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
    """Tell which folders are train, val and test; empty when these are class folders.

    Roles count, not names: a sibling of the train folder with the same classes is a part whatever
    it is called, and where there is only one of them, it is the test part.
    """
    parts: dict[str, Role | None] = {
        folder: PARTS[word] for folder in folders if (word := Path(folder).name.casefold()) in PARTS
    }
    train = [folder for folder, role in parts.items() if role == "train"]
    parts |= {
        folder: None
        for folder in folders
        if folder not in parts and any(_is_like(folder, other) for other in train)
    }
    if not parts or (len(parts) < len(folders) and not (train and len(set(parts.values())) > 1)):
        return {}
    if len(parts) == 2 and len(train) == 1:
        parts = {folder: role or "test" for folder, role in parts.items()}
    return _settled(root, parts)


def _is_like(folder: str, train: str) -> bool:
    """Whether a folder holds nothing but folders, some of which are classes of `train`."""
    try:
        found, classes = _list(folder), _list(train)
        if found.files or _identity(folder) == _identity(train):
            return False
    except OSError:
        return False
    names, known = (
        {_label(inner) for inner in (*listing.folders, *listing.links)}
        for listing in (found, classes)
    )
    return not names.isdisjoint(known)


def _settled(root: Path, parts: dict[str, Role | None]) -> dict[str, Role]:
    """Put the parts in order; raises where one has no role, or two have the same."""
    roles = list(parts.values())
    wrong = [f for f, role in parts.items() if role is None or roles.count(role) > 1]
    if not wrong:
        settled = {folder: role for folder, role in parts.items() if role}
        return dict(sorted(settled.items(), key=lambda part: list(WORDS).index(part[1])))
    names = ", ".join(repr(shown(Path(folder).name)) for folder in wrong)
    raise UserError(
        "which part a folder is must be clear from its name, each part once, and in "
        f"{shown(str(root))!r} it is not for {names}; merge or rename them (folders with the same "
        "folders in them as train are parts, not classes)",
        [f"{role}: {', '.join(words)}" for role, words in WORDS.items()],
    )


def _label(folder: str) -> str:
    return unicodedata.normalize("NFC", shown(Path(folder).name))


def _nothing(root: Path, top: _Listing, parts: Mapping[str, Role]) -> UserError:
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
    if parts:
        names = ", ".join(repr(shown(Path(folder).name)) for folder in parts)
        return UserError(
            f"the parts of {name!r} ({names}) hold no class folders with files; put the pictures "
            f"of each class into a folder of its own in each part, or, if they are classes, "
            f"rename them{hint}"
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
