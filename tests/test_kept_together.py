"""Which pictures show the same: what a test part may say of the others, and what not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft import kept_together
from regraft.data.records import Picture, Role
from regraft.frozen.store import FeatureStore
from regraft.kept_together import Together
from regraft.progress import Silent
from regraft.strategy import Tap


class Table:
    """Features that are the pictures' numbers."""

    def read(self, _: Sequence[Tap], rows: np.ndarray) -> np.ndarray:
        return rows[:, None].astype(np.float32)


def together(roles: Sequence[Role | None], store: FeatureStore, scheme: str = "a") -> Any:
    pictures = [
        Picture(Path(f"{n}.jpg"), f"{n}.jpg", "ants", role, None) for n, role in enumerate(roles)
    ]
    digests = [bytes([n]) * 32 for n in range(len(roles))]
    return Together(pictures, digests, Table(), Tap("late"), scheme, store, Silent())  # type: ignore[arg-type]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Neighbours in the collection at hand are copies; with what is tested it is another one."""
    asked: list[list[int]] = []

    def near_copies(
        paths: Sequence[Path], features: np.ndarray, _: object
    ) -> tuple[tuple[int, ...], ...]:
        asked.append(features[:, 0].astype(int).tolist())
        return ((0, 1), (2, len(paths) - 1))

    monkeypatch.setattr(kept_together, "near_copies", near_copies)
    return asked


def test_a_test_part_says_nothing_of_the_others_but_what_leaks(searched, tmp_path):
    roles: list[Role | None] = ["test", "train", "train", "val", "train", "test", "test"]
    with FeatureStore(tmp_path) as store:
        found = together(roles, store).groups()
    assert sorted(searched) == [[0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4]]
    # Among train and validation (1, 2) and (3, 4); with the test part (0, 1) and (2, 6).
    assert found == ((1, 2), (3, 4), (0, 1), (2, 6))


@pytest.mark.parametrize(
    ("roles", "collections"),
    [
        ([None] * 5, [[0, 1, 2, 3, 4]]),
        (["train"] * 5, [[0, 1, 2, 3, 4]]),
        (["train", "train", "train", "val", "val"], [[0, 1, 2], [0, 1, 2, 3, 4]]),
    ],
)
def test_the_second_part_is_the_test_part(roles, collections, searched, tmp_path):
    with FeatureStore(tmp_path) as store:
        together(roles, store).groups()
    assert sorted(searched) == sorted(collections)


def test_what_was_found_is_remembered_for_the_same_pictures_and_features(searched, tmp_path):
    roles: list[Role | None] = [None] * 4
    with FeatureStore(tmp_path) as store:
        first = together(roles, store).groups()
        assert together(roles, store).groups() == first
        assert len(searched) == 1
        together(roles[:3], store).groups()
        together(roles, store, scheme="b").groups()
    assert len(searched) == 3
