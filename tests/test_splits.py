from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from regraft.data.manifest import Picture, Role
from regraft.data.splits import Conflict, Splits, folds, split, units_of
from regraft.errors import UserError

Indices = NDArray[np.intp]


def picture(index: int, label: str, role: Role | None = None, group: str | None = None) -> Picture:
    return Picture(Path(f"/p/{index}.jpg"), f"{index}.jpg", label, role, group)


def collection(
    labels: Sequence[str],
    roles: Sequence[Role | None] | None = None,
    groups: Sequence[str | None] | None = None,
) -> list[Picture]:
    roles, groups = roles or [None] * len(labels), groups or [None] * len(labels)
    return [picture(i, *row) for i, row in enumerate(zip(labels, roles, groups, strict=True))]


def distinct(n: int) -> list[bytes]:
    return [b"%d" % index for index in range(n)]


def do_split(pictures: Sequence[Picture], digests: Sequence[bytes] | None = None, **more) -> Splits:  # type: ignore[no-untyped-def]
    more.setdefault("seed", 0)
    return split(pictures, distinct(len(pictures)) if digests is None else digests, **more)


def sides(result: Splits) -> tuple[list[int], list[int], list[int]]:
    return result.train.tolist(), result.val.tolist(), result.test.tolist()


def labels_of(pictures: Sequence[Picture], indices: Indices) -> list[str]:
    return [pictures[index].label for index in indices]


# --- roles -------------------------------------------------------------------------------------


def test_three_parts_stay_as_given() -> None:
    pictures = collection(
        "abababab", ["train", "train", "val", "val", "test", "test", "train", "val"]
    )
    result = do_split(pictures)
    assert sides(result) == ([0, 1, 6], [2, 3, 7], [4, 5])
    assert not result.drawn
    assert result.dropped == ()
    assert result.conflicts == ()
    assert result.train.dtype == np.intp


@pytest.mark.parametrize("second", ["val", "test"])
def test_the_second_of_two_parts_is_the_test_whatever_its_name(second: Role) -> None:
    result = do_split(collection("abab", ["train", "train", second, second]))
    assert sides(result) == ([0, 1], [], [2, 3])
    assert not result.drawn


@pytest.mark.parametrize("role", ["train", None])
def test_without_a_second_part_a_test_is_drawn(role: Role | None) -> None:
    result = do_split(collection("ab" * 50, [role] * 100))
    assert result.drawn
    assert len(result.val) == 0
    assert len(result.test) == 20


@pytest.mark.parametrize("roles", [["val", "test"], ["test", "test"], ["val", "val"]])
def test_parts_without_train_are_refused(roles: list[Role]) -> None:
    with pytest.raises(UserError, match="train part is needed"):
        do_split(collection("abab", roles * 2))


@pytest.mark.parametrize(
    ("roles", "given", "named"),
    [
        (["train", "train", "val", "val"], ("train", "val", "test"), "'test' has none"),
        (["train", "train", "test", "test"], ("test", "val", "train"), "'val' has none"),
        (["train"] * 4, ("train", "test"), "'test' has none"),
        (["test"] * 4, ("train", "val", "test"), "'train', 'val' has none"),
    ],
)
def test_a_given_part_without_readable_pictures_is_named(
    roles: list[Role], given: tuple[Role, ...], named: str
) -> None:
    pictures = collection("abab", roles)
    with pytest.raises(UserError, match=named):
        do_split(pictures, given=given)


def test_some_pictures_without_a_part_are_refused() -> None:
    with pytest.raises(UserError, match="every picture or none"):
        do_split(collection("abab", ["train", "train", "test", None]))


def test_classes_without_train_pictures_are_named() -> None:
    pictures = collection("ababcd", ["train", "train", "test", "test", "test", "val"])
    with pytest.raises(UserError, match="'c', 'd'"):
        do_split(pictures)


def test_a_class_that_is_missing_from_the_test_is_fine() -> None:
    result = do_split(collection("abca", ["train", "train", "train", "test"]))
    assert sides(result) == ([0, 1, 2], [], [3])


@pytest.mark.parametrize("labels", ["", "a", "aaaa"])
def test_one_class_is_refused(labels: str) -> None:
    with pytest.raises(UserError, match="two classes"):
        do_split(collection(labels))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 5])
def test_the_test_fraction_is_checked(fraction: float) -> None:
    with pytest.raises(UserError, match="test_fraction"):
        do_split(collection("ab" * 5), test_fraction=fraction)


# --- leaks in the user's own split -------------------------------------------------------------


def test_the_same_bytes_stay_in_the_hindmost_part() -> None:
    pictures = collection("abababa", ["train", "train", "val", "val", "test", "test", "train"])
    digests = [b"x", b"1", b"x", b"y", b"x", b"y", b"2"]
    result = do_split(pictures, digests)
    assert sides(result) == ([1, 6], [], [4, 5])
    assert [entry.path for entry in result.dropped] == ["0.jpg", "2.jpg", "3.jpg"]
    assert result.dropped[0].reason == "the same picture as '4.jpg', which is in the test part"
    assert "'5.jpg'" in result.dropped[2].reason


def test_val_wins_over_train() -> None:
    pictures = collection(
        "abababab", ["train", "train", "val", "val", "test", "test", "train", "train"]
    )
    digests = distinct(8)
    digests[0] = digests[2]
    result = do_split(pictures, digests)
    assert sides(result) == ([1, 6, 7], [2, 3], [4, 5])
    assert "val part" in result.dropped[0].reason


def test_a_group_astride_the_parts_is_dropped_from_train() -> None:
    pictures = collection(
        "ababab",
        ["train", "train", "train", "train", "test", "test"],
        ["g", None, None, "h", "g", "k"],
    )
    result = do_split(pictures)
    assert sides(result) == ([1, 2, 3], [], [4, 5])
    assert result.dropped[0].path == "0.jpg"
    assert "group ('g')" in result.dropped[0].reason


def test_near_duplicates_and_chains_astride_the_parts_are_dropped() -> None:
    # 0 is tied to 1 by group, 1 to 4 by likeness.
    pictures = collection(
        "aaabab",
        ["train", "train", "train", "train", "test", "test"],
        ["g", "g", None, None, None, None],
    )
    result = do_split(pictures, near_duplicates=[[1, 4]])
    assert sides(result) == ([2, 3], [], [4, 5])
    assert all("belongs together with '4.jpg'" in entry.reason for entry in result.dropped)


def test_copies_within_one_part_are_kept() -> None:
    result = do_split(
        collection("aabab", ["train"] * 3 + ["test"] * 2), [b"1", b"1", b"2", b"3", b"4"]
    )
    assert sides(result) == ([0, 1, 2], [], [3, 4])
    assert result.dropped == ()


def test_a_class_that_loses_all_train_pictures_is_named() -> None:
    with pytest.raises(UserError, match=r"none remain for 'a'"):
        do_split(collection("abab", ["train", "train", "test", "test"]), [b"1", b"2", b"1", b"4"])


# --- conflicts ---------------------------------------------------------------------------------


def test_one_picture_under_two_labels_is_listed_and_kept_on_one_side() -> None:
    pictures = collection("ab" * 20)
    digests = distinct(40)
    digests[7] = digests[4]
    for seed in range(10):
        result = do_split(pictures, digests, seed=seed)
        assert result.conflicts == (Conflict(("4.jpg", "7.jpg"), ("a", "b")),)
        assert ({4, 7} <= set(result.train)) or ({4, 7} <= set(result.test))


# --- drawing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(124, 121), (50, 7, 2), (2, 2), (10, 10, 10), (5, 1000)])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.05])
def test_drawing_is_stratified(counts: tuple[int, ...], fraction: float) -> None:
    pictures = collection("".join(chr(97 + i) * n for i, n in enumerate(counts)))
    result = do_split(pictures, test_fraction=fraction)
    assert sorted([*result.train, *result.test]) == list(range(len(pictures)))
    for index, count in enumerate(counts):
        held_out = labels_of(pictures, result.test).count(chr(97 + index))
        assert 1 <= held_out < count
        assert abs(held_out - fraction * count) < 1 or held_out == 1


def test_drawing_is_seeded() -> None:
    pictures = collection("ab" * 50)
    first, again, other = (do_split(pictures, seed=seed) for seed in (1, 1, 2))
    assert sides(first) == sides(again)
    assert sides(first) != sides(other)


def test_over_many_seeds_every_picture_is_drawn_equally_often() -> None:
    pictures = collection("a" * 20 + "b" * 10)
    times = np.zeros(30)
    for seed in range(400):
        times[do_split(pictures, seed=seed).test] += 1
    assert (np.abs(times / 400 - 0.2) < 0.08).all()


def test_drawing_keeps_groups_copies_and_near_duplicates_together() -> None:
    rng = np.random.default_rng(0)
    n = 300
    labels = rng.choice(list("abc"), n).tolist()
    groups = [f"g{g}" if g < 60 else None for g in rng.integers(0, 90, n)]
    digests = distinct(n)
    for a, b in rng.integers(0, n, (20, 2)):
        digests[a] = digests[b]
    near = rng.integers(0, n, (20, 3)).tolist()
    pictures = collection(labels, groups=groups)
    for seed in range(5):
        result = do_split(pictures, digests, near_duplicates=near, seed=seed)
        side = np.zeros(n, int)
        side[result.test] = 1
        for key in ("digest", "group"):
            values = digests if key == "digest" else groups
            for value in {v for v in values if v is not None}:
                members = [i for i in range(n) if values[i] == value]
                assert len(set(side[members])) == 1
        assert all(len(set(side[members])) == 1 for members in near)
        assert 0.1 < side.mean() < 0.3


@pytest.mark.parametrize("groups", [["g"] * 3 + [None] * 7, ["g", "g", None] + [None] * 7])
def test_each_class_keeps_a_unit_on_either_side_or_is_named(groups: list[str | None]) -> None:
    pictures = collection("aaa" + "b" * 7, groups=groups)
    if groups[2] == "g":
        with pytest.raises(UserError, match=r"1 class\(es\) have not: 'a'"):
            do_split(pictures)
        return
    for seed in range(10):
        result = do_split(pictures, seed=seed)
        assert set(labels_of(pictures, result.test)) == {"a", "b"}
        assert set(labels_of(pictures, result.train)) == {"a", "b"}


def test_classes_with_one_picture_are_all_named() -> None:
    with pytest.raises(UserError) as caught:
        do_split(collection(["a", "a", "lone", "b", "b", "single"]))
    assert "'lone', 'single'" in str(caught.value)
    assert "test part" in str(caught.value)
    many = [f"c{i:03}" for i in range(100)]
    with pytest.raises(UserError, match=r"100 class.* and 80 more"):
        do_split(collection(many))


def test_one_picture_a_class_is_fine_when_a_test_part_is_given() -> None:
    result = do_split(collection("abab", ["train", "train", "test", "test"]))
    assert sides(result) == ([0, 1], [], [2, 3])


def test_patients_with_several_classes_never_cost_train_a_class() -> None:
    # Units overlap in a ring, so that no cut gives every class both sides; train comes first.
    pictures = collection("abbcca", groups=["1", "1", "2", "2", "3", "3"])
    for seed in range(10):
        result = do_split(pictures, seed=seed)
        assert set(labels_of(pictures, result.train)) == {"a", "b", "c"}
        assert len(result.test) == 2


# --- units -------------------------------------------------------------------------------------


def test_units_join_through_all_three_ties() -> None:
    pictures = collection("abbaabb", groups=["g", "g", None, None, "h", "h", None])
    digests = [b"0", b"1", b"1", b"3", b"4", b"5", b"6"]
    units = units_of([p.group for p in pictures], digests, near_duplicates=[[3, 4], [6]])
    assert units.tolist() == [0, 0, 0, 1, 1, 1, 2]
    result = do_split(pictures, digests, near_duplicates=[[3, 4], [6]])
    np.testing.assert_array_equal(result.units, units)
    given = do_split(collection("abab", ["train", "train", "test", "test"]))
    assert given.units.tolist() == [0, 1, 2, 3]


def test_units_equal_a_search_by_brute_force() -> None:
    rng = np.random.default_rng(3)
    n = 60
    groups = [str(g) if g < 15 else None for g in rng.integers(0, 40, n)]
    digests = [b"%d" % d for d in rng.integers(0, 80, n)]
    near = rng.integers(0, n, (6, 3)).tolist()
    units = units_of(groups, digests, near)
    tied = np.eye(n, dtype=bool)
    for i, j in itertools.product(range(n), repeat=2):
        same_group = groups[i] is not None and groups[i] == groups[j]
        tied[i, j] |= same_group or digests[i] == digests[j] or any(i in s and j in s for s in near)
    for _ in range(6):
        tied = (tied.astype(int) @ tied.astype(int)) > 0
    np.testing.assert_array_equal(units[:, None] == units[None, :], tied)


def test_a_group_name_never_ties_with_a_digest() -> None:
    assert units_of([b"x", None], [b"1", b"x"]).tolist() == [0, 1]
    assert units_of(["x", None], [b"1", b"x"]).tolist() == [0, 1]


def test_groups_of_different_kinds_stay_apart() -> None:
    assert units_of([1, "1", 1, None, None], distinct(5)).tolist() == [0, 1, 0, 2, 3]


# --- folds -------------------------------------------------------------------------------------


def balance(y: Indices, fold: Indices) -> float:
    """Largest distance of a class's share in a fold from even, in pictures."""
    n_folds = fold.max() + 1
    counts = np.zeros((y.max() + 1, n_folds))
    np.add.at(counts, (y, fold), 1)
    return float(np.abs(counts - counts.sum(1, keepdims=True) / n_folds).max())


@pytest.mark.parametrize("n_splits", [2, 3, 5, 10])
@pytest.mark.parametrize("seed", range(3))
def test_folds_of_single_pictures_are_even(n_splits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.choice(7, 401, p=[0.4, 0.3, 0.1, 0.08, 0.06, 0.04, 0.02])
    fold = folds(y, np.arange(len(y)), n_splits, seed)
    assert set(fold) == set(range(n_splits))
    assert balance(y, fold) < 1
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1


def test_folds_are_as_even_as_scikit_learns() -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    rng = np.random.default_rng(0)
    y = rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05])
    plain = np.empty(300, np.intp)
    splitter = model_selection.StratifiedKFold(5, shuffle=True, random_state=0)
    for number, (_, held_out) in enumerate(splitter.split(y, y)):
        plain[held_out] = number
    assert balance(y, folds(y, np.arange(300), 5, 0)) <= balance(y, plain)
    ours, theirs = [], []
    for seed in range(5):
        units = rng.integers(0, 60, 300)
        grouped = np.empty(300, np.intp)
        splitter = model_selection.StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for number, (_, held_out) in enumerate(splitter.split(y, y, units)):
            grouped[held_out] = number
        ours.append(balance(y, folds(y, units, 5, seed)))
        theirs.append(balance(y, grouped))
    assert np.mean(ours) <= np.mean(theirs) + 1


def test_folds_never_cut_a_unit() -> None:
    rng = np.random.default_rng(0)
    y, units = rng.integers(0, 5, 500), rng.integers(0, 120, 500)
    fold = folds(y, units, 5, 0)
    for unit in np.unique(units):
        assert len(np.unique(fold[units == unit])) == 1


@pytest.mark.parametrize("seed", range(20))
def test_every_training_side_has_every_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 60))
    y, units = rng.integers(0, 6, n), rng.integers(0, rng.integers(2, n), n)
    fold = folds(y, units, 5, seed)
    for held_out in range(fold.max() + 1):
        assert set(y[fold != held_out]) == set(y)
        assert (fold == held_out).any()


def test_a_class_with_one_unit_is_never_held_out() -> None:
    y = np.array([0] * 10 + [1] + [2] * 3)
    units = np.array([*range(10), 10, 11, 11, 11])
    fold = folds(y, units, 5, 0)
    assert (fold[10:] == -1).all()
    assert np.bincount(fold[:10]).tolist() == [2] * 5


def test_fewer_folds_where_even_the_largest_class_is_small() -> None:
    y = np.array([0, 0, 0, 1, 1])
    assert set(folds(y, np.arange(5), 5, 0)) == {0, 1, 2}
    assert (folds(np.array([0, 1, 2]), np.arange(3), 5, 0) == -1).all()
    assert folds(np.empty(0, np.intp), np.empty(0, np.intp), 5, 0).tolist() == []


def test_folds_are_seeded_and_take_any_numbers() -> None:
    y = np.arange(100) % 3
    units = np.arange(100)
    first = folds(y, units, 5, 7)
    np.testing.assert_array_equal(first, folds(y, units, 5, 7))
    np.testing.assert_array_equal(first, folds(y * 10 + 5, units * 3 + 100, 5, 7))
    assert (first != folds(y, units, 5, 8)).any()
    with pytest.raises(UserError, match="n_splits"):
        folds(y, units, 1, 0)


def test_the_largest_classes_share_the_work_of_drawing() -> None:
    n = 100_000
    y = np.arange(n) % 1000
    units = np.arange(n) // 2 * 2 + np.arange(n) % 2  # single pictures
    fold = folds(y, units, 5, 0)
    assert balance(y, fold) < 1
    assert np.bincount(fold).tolist() == [n // 5] * 5
