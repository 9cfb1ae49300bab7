"""Ridge without each picture: the closed form against fits that really leave it out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from regraft.heads.leave_out import left_out_scores

STRENGTHS = (30.0, 1.0, 0.03)


def data(n: int, dim: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.normal(size=(n, dim)) + rng.normal(size=(n_classes, dim))[y] + 3.0
    return X, y


def brute_force(
    X: np.ndarray,
    y: np.ndarray,
    n_classes: int,
    units: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Fit scikit-learn's ridge once for each unit, without it."""
    weights = np.ones(len(X)) if weights is None else weights
    targets, scores = np.eye(n_classes)[y], np.empty((len(STRENGTHS), len(X), n_classes))
    for unit in np.unique(units):
        out = units == unit
        for found, strength in zip(scores, STRENGTHS, strict=True):
            ridge = Ridge(alpha=strength).fit(X[~out], targets[~out], weights[~out])
            found[out] = ridge.predict(X[out])
    return scores


@pytest.mark.parametrize(("n", "dim"), [(25, 100), (60, 8), (20, 20)])
def test_the_closed_form_is_what_brute_force_gives(n, dim):
    X, y = data(n, dim, 3)
    exact = brute_force(X, y, 3, np.arange(n))
    np.testing.assert_allclose(left_out_scores(X, y, 3, STRENGTHS), exact, atol=1e-8)


@pytest.mark.parametrize(("n", "dim"), [(24, 90), (60, 8)])
def test_units_are_left_out_together(n, dim):
    X, y = data(n, dim, 3)
    units = np.random.default_rng(1).integers(0, n // 3, n)
    exact = brute_force(X, y, 3, units)
    np.testing.assert_allclose(left_out_scores(X, y, 3, STRENGTHS, units), exact, atol=1e-8)


@pytest.mark.parametrize(("n", "dim"), [(24, 90), (60, 8)])
def test_pictures_that_count_more_do_so_in_every_fit(n, dim):
    X, y = data(n, dim, 3)
    rng = np.random.default_rng(2)
    weights, units = rng.uniform(0.1, 4.0, n), rng.integers(0, n // 3, n)
    for given in (None, units):
        exact = brute_force(X, y, 3, np.arange(n) if given is None else given, weights)
        found = left_out_scores(X, y, 3, STRENGTHS, given, weights)
        np.testing.assert_allclose(found, exact, atol=1e-8)


def test_noise_is_not_learned():
    # Of 25 pictures without any signal, an intercept that knows the answer gets far too many right.
    right = []
    for seed in range(40):
        X = np.random.default_rng(seed).normal(size=(25, 400))
        y = np.random.default_rng([seed, 1]).permutation(np.arange(25) % 5)
        right.append((left_out_scores(X, y, 5, (1.0,))[0].argmax(1) == y).mean())
    assert np.mean(right) < 0.2  # chance, less what the missing picture takes from its own class


def test_columns_that_repeat_each_other_do_no_harm():
    X, y = data(30, 5, 2)
    twice = np.concatenate([X, X, np.ones((30, 1))], axis=1)
    exact = brute_force(twice, y, 2, np.arange(30))
    np.testing.assert_allclose(left_out_scores(twice, y, 2, STRENGTHS), exact, atol=1e-7)
