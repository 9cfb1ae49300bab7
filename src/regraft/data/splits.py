"""Who learns, who chooses, who is asked at the end: splits that cannot leak.

Pictures that must stay together (the same bytes, the same group, near-duplicates that an audit
found) form *units*; a unit is never cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.data.deal import deal, fill_both_sides, free_trapped_classes, incidence
from regraft.data.records import Picture, Role, Skipped
from regraft.errors import UserError

_RANK: dict[Role, int] = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class Conflict:
    """The same picture, byte for byte, under several labels."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Splits:
    """Which picture plays which part.

    Parameters
    ----------
    train, val, test : ndarray of int
        Ascending indices into the pictures. `val` is empty unless the user gave three parts.
    drawn : bool
        True when the test part was drawn here, False when the user gave it.
    dropped : tuple of Skipped
        Pictures of the user's parts that would have leaked into a part further back.
    conflicts : tuple of Conflict
        Pictures that appear under several labels. They are kept, on one side.
    units : ndarray of shape (n,), int
        Unit of each picture, those without a part included; `folds` must not cut them either.
    """

    train: NDArray[np.intp]
    val: NDArray[np.intp]
    test: NDArray[np.intp]
    drawn: bool
    dropped: tuple[Skipped, ...]
    conflicts: tuple[Conflict, ...]
    units: NDArray[np.intp]


def split(
    pictures: Sequence[Picture],
    digests: Sequence[bytes],
    *,
    seed: int,
    test_fraction: float = 0.2,
    near_duplicates: Sequence[Sequence[int]] = (),
    given: Collection[Role] = (),
) -> Splits:
    """Settle the parts that pictures play.

    With train, val and test given, they stay as they are. With two parts given, the second is
    the test part, whatever it is called. With none, or only train, a test part is drawn:
    stratified, seeded, units whole, at least one unit of each class on either side.

    Parameters
    ----------
    pictures : sequence of Picture
        The readable ones.
    digests : sequence of bytes
        Fingerprint of each picture's bytes.
    seed : int
        Seed of the drawing.
    test_fraction : float
        Part of the pictures that is drawn for the test, in (0, 1).
    near_duplicates : sequence of sequence of int
        Groups of indices that must stay together.
    given : collection of {"train", "val", "test"}
        Parts that the user made, also those none of whose pictures can be read.

    Returns
    -------
    Splits

    Raises
    ------
    UserError
        When the parts cannot be used: a given part without readable pictures; no train part;
        fewer than two classes; a class that is missing from train; no test part given and a
        class with a single unit.
    """
    if not 0 < test_fraction < 1:
        raise UserError(
            f"test_fraction must be between 0 and 1 (both excluded), got {test_fraction}"
        )
    labels = [picture.label for picture in pictures]
    if len(set(labels)) < 2:
        raise UserError(
            "at least two classes with readable pictures are needed, got "
            f"{len(set(labels))}: {_names(labels)}"
        )
    roles = _roles(pictures, given)
    units = units_of([picture.group for picture in pictures], digests, near_duplicates)
    conflicts = _conflicts(pictures, digests)
    if roles is None:
        train, test = _draw(labels, units, test_fraction, seed)
        return Splits(train, np.empty(0, np.intp), test, True, (), conflicts, units)
    _check_trained(labels, roles)
    kept, dropped = _drop_leaks(pictures, digests, roles, units)
    _check_left(labels, roles, kept)
    train, val, test = (np.flatnonzero(kept & (roles == rank)) for rank in range(3))
    return Splits(train, val, test, False, dropped, conflicts, units)


def folds(
    y: NDArray[np.intp], units: NDArray[np.intp], n_splits: int, seed: int
) -> NDArray[np.intp]:
    """Give pictures fold numbers for cross-validation: stratified, units whole, seeded.

    Parameters
    ----------
    y : ndarray of shape (n,), int
        Class of each picture, from 0.
    units : ndarray of shape (n,), int
        Unit of each picture, as `units_of` gives them.
    n_splits : int
        Number of folds, at least 2. Fewer are made when even the class with the most units has
        fewer of them.
    seed : int
        Seed of the shuffling.

    Returns
    -------
    ndarray of shape (n,), int
        Fold in which the picture is held out, from 0; -1 where it is never held out, because
        otherwise a class would be missing from the training side.
    """
    if n_splits < 2:
        raise UserError(f"n_splits must be at least 2, got {n_splits}")
    y, units = np.unique(y, return_inverse=True)[1], np.unique(units, return_inverse=True)[1]
    classes, members = incidence(y, units)
    units_per_class = np.bincount(classes)
    fixed = np.zeros(units.max(initial=-1) + 1, bool)
    fixed[members[units_per_class[classes] == 1]] = True
    result = np.full(len(y), -1, np.intp)
    free = ~fixed[units]
    if not free.any():
        return result
    n_folds = min(n_splits, int(units_per_class.max()))
    result[free] = deal(y[free], units[free], np.full(n_folds, 1 / n_folds), seed)
    free_trapped_classes(y, units, result)
    held_out = result >= 0
    result[held_out] = np.unique(result[held_out], return_inverse=True)[1]
    return result


def units_of(
    groups: Sequence[Hashable],
    digests: Sequence[bytes],
    near_duplicates: Sequence[Sequence[int]] = (),
) -> NDArray[np.intp]:
    """Give numbers to the sets of pictures that must stay on one side of any split.

    Two pictures are together when they have the same bytes, the same group or are named
    together in `near_duplicates`, and so is all that hangs together through others.

    Parameters
    ----------
    groups : sequence of hashable
        Group of each picture; None where it belongs to no group.
    digests : sequence of bytes
        Fingerprint of each picture's bytes.
    near_duplicates : sequence of sequence of int
        Groups of indices that must stay together.

    Returns
    -------
    ndarray of shape (n,), int
        Unit of each picture; numbers ascend from 0 in order of first appearance.
    """
    sets: list[Sequence[int]] = []
    first_in: dict[Hashable, int] = {}
    first_with: dict[bytes, int] = {}
    for index, (group, fingerprint) in enumerate(zip(groups, digests, strict=True)):
        if (earlier := first_with.setdefault(fingerprint, index)) != index:
            sets.append((earlier, index))
        if group is not None and (earlier := first_in.setdefault(group, index)) != index:
            sets.append((earlier, index))
    return connected(len(digests), [*sets, *near_duplicates])


def connected(n: int, sets: Iterable[Sequence[int]]) -> NDArray[np.intp]:
    """Give a number to what hangs together, directly or through others.

    Not by SciPy's sparse graphs: their import was a third of the search for copies in a small fit.

    Parameters
    ----------
    n : int
        How many there are.
    sets : iterable of sequence of int
        Indices that are together.

    Returns
    -------
    ndarray of shape (n,), int
        Number of each; numbers ascend from 0 in order of first appearance.
    """
    parent = list(range(n))

    def top(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for members in sets:
        tops = {top(index) for index in members}
        first = min(tops, default=0)
        for other in tops:
            parent[other] = first
    ends = np.fromiter(map(top, range(n)), np.intp, n)
    return np.unique(ends, return_inverse=True)[1].astype(np.intp)


def _roles(pictures: Sequence[Picture], parts: Collection[Role]) -> NDArray[np.intp] | None:
    """Rank of each picture's part (0 train, 1 val, 2 test); None when a test is to be drawn."""
    given = {picture.role for picture in pictures}
    if lost := [part for part in _RANK if part in parts and part not in given]:
        raise UserError(
            f"every part given must have pictures that can be read, and {_names(lost)} has none; "
            "mend its files, or take the part out"
        )
    if given in ({None}, {"train"}):
        return None
    if None in given:
        without = sum(picture.role is None for picture in pictures)
        raise UserError(
            "either every picture or none must be given a part (train, val or test), got "
            f"{without} of {len(pictures)} without; give them one, or take them out"
        )
    if "train" not in given:
        raise UserError(
            f"a train part is needed to learn from, and only {_names(map(str, given))} "
            "has readable pictures"
        )
    rank = dict(_RANK) if "test" in given else {**_RANK, "val": _RANK["test"]}
    return np.fromiter((rank[p.role] for p in pictures if p.role), np.intp, len(pictures))


def _names(labels: Iterable[str], limit: int = 20) -> str:
    unique = sorted(set(labels))
    more = f" and {len(unique) - limit} more" if len(unique) > limit else ""
    return ", ".join(map(repr, unique[:limit])) + more


def _conflicts(pictures: Sequence[Picture], digests: Sequence[bytes]) -> tuple[Conflict, ...]:
    first: dict[bytes, str] = {}
    torn = {
        fingerprint
        for picture, fingerprint in zip(pictures, digests, strict=True)
        if first.setdefault(fingerprint, picture.label) != picture.label
    }
    members: dict[bytes, list[Picture]] = defaultdict(list)
    for picture, fingerprint in zip(pictures, digests, strict=True):
        if fingerprint in torn:
            members[fingerprint].append(picture)
    return tuple(
        Conflict(tuple(p.name for p in group), tuple(sorted({p.label for p in group})))
        for group in members.values()
    )


def _draw(
    labels: Sequence[str], units: NDArray[np.intp], test_fraction: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    classes, y = np.unique(np.array(labels, dtype=object), return_inverse=True)
    alone = np.flatnonzero(np.bincount(incidence(y, units)[0]) == 1)
    if len(alone):
        raise UserError(
            "every class needs at least two pictures (that are not copies or of one group), so "
            f"that one can be held out for the test; {len(alone)} class(es) have not: "
            f"{_names(classes[alone])}; add pictures, leave the class out, or give a test part"
        )
    side = deal(y, units, np.array([1 - test_fraction, test_fraction]), seed)
    fill_both_sides(y, units, side)
    return np.flatnonzero(side == 0), np.flatnonzero(side == 1)


def _check_trained(labels: Sequence[str], roles: NDArray[np.intp]) -> None:
    trained = {label for label, role in zip(labels, roles, strict=True) if role == 0}
    missing = set(labels) - trained
    if missing:
        raise UserError(
            "every class must have readable pictures in train; only in val or test are "
            f"{_names(missing)}; add train pictures or take the class out of the other parts"
        )


def _check_left(labels: Sequence[str], roles: NDArray[np.intp], kept: NDArray[np.bool_]) -> None:
    left = {labels[index] for index in np.flatnonzero(kept & (roles == 0)).tolist()}
    missing = set(labels) - left
    if missing:
        raise UserError(
            "every class must keep train pictures when those that are in val or test too (the "
            "same picture, changed or not, or the same group) are left out; none remain for "
            f"{_names(missing)}; separate the parts or add pictures"
        )


def _drop_leaks(
    pictures: Sequence[Picture],
    digests: Sequence[bytes],
    roles: NDArray[np.intp],
    units: NDArray[np.intp],
) -> tuple[NDArray[np.bool_], tuple[Skipped, ...]]:
    """Keep only the hindmost part of each unit (test before val before train)."""
    last = np.zeros(units.max() + 1, np.intp)
    np.maximum.at(last, units, roles)
    kept: NDArray[np.bool_] = roles == last[units]
    if kept.all():
        return kept, ()
    torn = np.zeros(len(last), bool)
    torn[units[~kept]] = True
    twins: dict[Hashable, int] = {}
    for index in np.flatnonzero(kept & torn[units]).tolist():
        for key in (digests[index], pictures[index].group, int(units[index])):
            twins.setdefault(key, index)
    dropped = []
    for index in np.flatnonzero(~kept).tolist():
        group = pictures[index].group
        if (twin := twins.get(digests[index])) is not None:
            reason = "the same picture as"
        elif group is not None and (twin := twins.get(group)) is not None:
            reason = f"of the same group ({group!r}) as"
        else:
            twin = twins[int(units[index])]
            reason = "belongs together with"
        part = ("train", "val", "test")[roles[twin]]
        dropped.append(
            Skipped(
                pictures[index].name,
                f"{reason} {pictures[twin].name!r}, which is in the {part} part",
            )
        )
    return kept, tuple(dropped)
