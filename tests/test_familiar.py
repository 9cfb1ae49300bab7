"""Pictures unlike those of training: few false alarms, and others are noticed."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.familiar import FALSE_ALARMS, JUDGES, REFERENCES, familiarity, some


def kinds(generator: np.random.Generator, n: int, offset: float = 0.0) -> np.ndarray:
    """Features of pictures of five classes."""
    centres = np.random.default_rng(9).normal(size=(5, 40)) + offset
    return (centres[generator.integers(0, 5, n)] + generator.normal(0, 0.6, (n, 40))).astype("f4")


@pytest.mark.parametrize("n", [60, 250, 1500])
def test_new_pictures_of_the_same_kind_seldom_raise_an_alarm(n: int):
    """Over 40 trainings: 2 % at most in the mean; 3 % would have a chance below 1 in 1,000."""
    generator, alarms = np.random.default_rng(n), []
    for _ in range(40):
        X, units = kinds(generator, n), np.arange(n)
        known = familiarity(X[:REFERENCES], X, units[:REFERENCES], units)
        assert known is not None
        alarms.append(known.unlike(kinds(generator, 500)).mean())
        assert known.unlike(kinds(generator, 200, offset=3.0)).mean() > 0.95
    assert np.mean(alarms) <= FALSE_ALARMS + 0.01


def test_held_out_pictures_judge_where_layers_were_trained():
    generator = np.random.default_rng(1)
    train, held_out = kinds(generator, 300), kinds(generator, 200)
    # What a network was trained on it knows by heart: its features lie closer to each other.
    tight = train * 0.2 + 0.8 * np.repeat(train[:20], 15, axis=0)
    known = familiarity(tight, held_out, np.arange(300), 300 + np.arange(200))
    by_heart = familiarity(tight, tight, np.arange(300), np.arange(300))
    assert known is not None
    assert by_heart is not None
    new = kinds(generator, 1000)
    assert known.unlike(new).mean() < 0.05 < by_heart.unlike(new).mean()


def test_copies_of_a_picture_do_not_vouch_for_it():
    generator = np.random.default_rng(2)
    once = kinds(generator, 80)
    X, units = np.repeat(once, 4, axis=0), np.repeat(np.arange(80), 4)
    known = familiarity(X, X, units, units)
    apart = familiarity(X, X, np.arange(320), np.arange(320))
    assert known is not None
    assert apart is not None
    assert apart.threshold < 1e-3 < known.threshold


def test_too_few_pictures_say_nothing():
    X = kinds(np.random.default_rng(3), 49)
    assert familiarity(X[:48], X[:48], np.arange(48), np.arange(48)) is None
    assert familiarity(X, X, np.arange(49), np.arange(49)) is not None
    assert familiarity(X[:3], X, np.arange(3), np.arange(49)) is None


def test_the_deepest_columns_count():
    generator = np.random.default_rng(4)
    X, units = kinds(generator, 100), np.arange(100)
    known = familiarity(X, X, units, units)
    assert known is not None
    wide = np.concatenate([generator.normal(size=(100, 7)).astype("f4"), X], axis=1)
    np.testing.assert_array_equal(known.distances(wide), known.distances(X))


def test_so_many_are_drawn_and_the_same_again():
    rows = np.arange(10_000)[::2]
    drawn = some(rows, JUDGES, 7)
    assert len(drawn) == JUDGES
    assert (np.diff(drawn) > 0).all()
    assert np.isin(drawn, rows).all()
    np.testing.assert_array_equal(drawn, some(rows, JUDGES, 7))
    np.testing.assert_array_equal(some(rows, 10_000, 7), rows)


def test_a_large_collection_is_known_in_all_its_classes():
    """Rows come in the order of the classes; what is kept must not be the first of them."""
    from types import SimpleNamespace
    from unittest import mock

    from regraft import learn

    X = np.repeat(np.eye(5, dtype="f4"), 500, axis=0)
    table = SimpleNamespace(read=lambda _, rows: X[rows])
    lot = SimpleNamespace(table=table, splits=SimpleNamespace(units=np.arange(2500)))
    choice = mock.MagicMock()
    known = learn._familiarity(lot, choice, np.arange(2500), 0)  # type: ignore[arg-type]
    assert known is not None
    assert (known.references.sum(axis=0) > 100).all()
