"""Heads against scikit-learn, fast paths against slow ones, and what must not matter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid

from regraft.errors import UserError
from regraft.heads import DEFAULT_STRENGTH, LinearHead, fit_linear, fitting, logistic, rows, scaling
from regraft.heads.held_out import Entry, TapMatrix, Task, held_out_scores
from regraft.heads.linear import softmax
from regraft.heads.optimise import minimise
from regraft.heads.scaling import Scaling, scaling_of, tap_shares
from regraft.heads.temperature import fit_temperature
from regraft.heads.threads import map_side_by_side
from regraft.progress import Silent
from regraft.strategy import HEAD_KINDS, HeadKind

Data = tuple[np.ndarray, np.ndarray]


def blobs(n: int, dim: int, n_classes: int, *, spread: float = 1.0, seed: int = 0) -> Data:
    """Correlated, skewed, non-negative features as networks give them, and classes."""
    generator = np.random.default_rng(seed)
    y = generator.permutation(np.arange(n) % n_classes)
    centres = generator.normal(size=(n_classes, dim)) * spread / np.sqrt(dim) * 4
    mixing = generator.normal(size=(dim, dim)) / np.sqrt(dim)
    X = np.maximum(0, (centres[y] + generator.normal(size=(n, dim))) @ mixing + 0.5)
    return X.astype(np.float32), y.astype(np.intp)


@pytest.fixture(params=["rotated", "copied", "streamed"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the ways in which `fit_linear` may go through the data."""
    if request.param != "rotated":
        monkeypatch.setattr(fitting, "ROTATE_UP_TO", 0)
    if request.param == "streamed":
        monkeypatch.setattr(fitting, "COPIED_VALUES", 0)
        monkeypatch.setattr(scaling, "CHUNK_VALUES", 1000)
    name: str = request.param
    return name


def scaled(X: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    return scaling_of(X, widths).apply(X).astype(np.float64)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("n", "dim", "n_classes"), [(60, 90, 4), (150, 12, 3), (40, 70, 2)])
@pytest.mark.parametrize("strength", [1.0, 0.02])
def test_logistic_equals_scikit_learn(
    route: str, n: int, dim: int, n_classes: int, strength: float, balanced: bool
) -> None:
    X, y = blobs(n, dim, n_classes)
    y[: n // 4] = 0
    widths = (dim // 3, dim - dim // 3)
    head = fit_linear(
        "logistic", X, y, n_classes, strength=strength, balanced=balanced, widths=widths
    )
    reference = LogisticRegression(
        C=(2 if n_classes == 2 else 1) / strength,
        class_weight="balanced" if balanced else None,
        tol=1e-10,
        max_iter=10_000,
    ).fit(scaled(X, widths), y)
    new, _ = blobs(30, dim, n_classes, seed=1)
    measured = scaling_of(X, widths).apply(new)
    close = 1e-5 if route == "rotated" else 3e-3
    np.testing.assert_allclose(
        head.predict_proba(new), reference.predict_proba(measured), atol=close
    )


def test_logistic_weights_equal_scikit_learn() -> None:
    X, y = blobs(80, 20, 3)
    head = fit_linear("logistic", X, y, 3, strength=0.1)
    reference = LogisticRegression(C=10, tol=1e-12, max_iter=10_000).fit(scaled(X, (20,)), y)
    factor = scaling_of(X, (20,)).factor
    np.testing.assert_allclose(head.weight / factor, reference.coef_, atol=2e-4)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("n", "dim"), [(60, 90), (150, 12)])
def test_ridge_equals_scikit_learn(route: str, n: int, dim: int, balanced: bool) -> None:
    X, y = blobs(n, dim, 3)
    y[: n // 4] = 0
    head = fit_linear("ridge", X, y, 3, strength=0.7, temperature=0.5, balanced=balanced)
    weight = fitting.class_weights(y, 3, balanced=balanced)
    reference = Ridge(alpha=0.7).fit(scaled(X, (dim,)), np.eye(3)[y], sample_weight=weight)
    new, _ = blobs(30, dim, 3, seed=1)
    expected = reference.predict(scaling_of(X, (dim,)).apply(new)) / 0.5
    np.testing.assert_allclose(head.scores(new), expected, atol=1e-3)


def test_prototype_is_the_nearest_class_mean(route: str) -> None:
    X, y = blobs(90, 40, 5)
    head = fit_linear("prototype", X, y, 5, strength=0.0)
    reference = NearestCentroid().fit(scaled(X, (40,)), y)
    new, _ = blobs(200, 40, 5, seed=1)
    called = head.scores(new).argmax(axis=1)
    np.testing.assert_array_equal(called, reference.predict(scaling_of(X, (40,)).apply(new)))


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_routes_agree(kind: HeadKind, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = blobs(300, 120, 4)
    first = fit_linear(kind, X, y, 4, strength=0.01)
    monkeypatch.setattr(fitting, "ROTATE_UP_TO", 0)
    second = fit_linear(kind, X, y, 4, strength=0.01)
    monkeypatch.setattr(fitting, "COPIED_VALUES", 0)
    monkeypatch.setattr(scaling, "CHUNK_VALUES", 5000)
    third = fit_linear(kind, X, y, 4, strength=0.01)
    for other in (second, third):
        np.testing.assert_allclose(other.predict_proba(X), first.predict_proba(X), atol=3e-3)


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_memory_map_is_read_in_place_and_gives_the_same(kind: HeadKind, tmp_path: Path) -> None:
    X, y = blobs(100, 30, 3)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    from_disk = fit_linear(kind, mapped, y, 3, strength=0.1)
    from_memory = fit_linear(kind, X, y, 3, strength=0.1)
    np.testing.assert_array_equal(from_disk.weight, from_memory.weight)
    np.testing.assert_array_equal(from_disk.bias, from_memory.bias)


@pytest.mark.parametrize("kind", HEAD_KINDS)
@pytest.mark.parametrize("copied", [0, 1 << 25])
def test_the_number_of_threads_does_not_matter(
    kind: HeadKind, copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = blobs(200, 40, 3)
    monkeypatch.setattr(fitting, "ROTATE_UP_TO", 0)
    monkeypatch.setattr(fitting, "COPIED_VALUES", copied)
    monkeypatch.setattr(scaling, "CHUNK_VALUES", 1000)
    heads = []
    for threads in (1, 3):
        monkeypatch.setattr(fitting, "processors", lambda threads=threads: threads)
        heads.append(fit_linear(kind, X, y, 3, strength=0.1))
    np.testing.assert_array_equal(heads[0].weight, heads[1].weight)


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_units_order_and_useless_columns_do_not_matter(kind: HeadKind) -> None:
    X, y = blobs(80, 30, 3)
    head = fit_linear(kind, X, y, 3, strength=0.05, widths=(10, 20))
    order = np.random.default_rng(0).permutation(80)
    other = X[order] * np.r_[np.full(10, 7.0), np.full(20, 0.25)].astype(np.float32) + 3
    moved = fit_linear(kind, other, y[order], 3, strength=0.05, widths=(10, 20))
    expected = head.predict_proba(X)[order]
    np.testing.assert_allclose(moved.predict_proba(other), expected, atol=1e-4)
    padded = np.insert(X, 10, np.float32(4), axis=1)
    wider = fit_linear(kind, padded, y, 3, strength=0.05, widths=(10, 21))
    assert np.all(wider.weight[:, 10] == 0)


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_one_picture_a_class(kind: HeadKind) -> None:
    X, y = blobs(5, 200, 5)
    head = fit_linear(kind, X, y, 5, strength=DEFAULT_STRENGTH[kind], temperature=0.1)
    np.testing.assert_array_equal(head.predict_proba(X).argmax(axis=1), y)


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_a_thousand_classes(kind: HeadKind) -> None:
    X, y = blobs(2000, 64, 1000, spread=3)
    head = fit_linear(kind, X, y, 1000, strength=0.01, temperature=1.0)
    assert head.weight.shape == (1000, 64)
    assert np.mean(head.scores(X).argmax(axis=1) == y) > 0.5


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_features_that_never_vary_give_the_class_shares(kind: HeadKind) -> None:
    X = np.full((8, 3), 2.0, dtype=np.float32)
    y = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    head = fit_linear(kind, X, y, 2, strength=1.0)
    assert np.isfinite(head.weight).all()
    if kind == "logistic":
        np.testing.assert_allclose(head.predict_proba(X)[0], [0.75, 0.25], atol=1e-5)


def test_balanced_classes_have_the_same_say() -> None:
    X, y = blobs(300, 10, 2, spread=0.3)
    few = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:15]])
    new, truth = blobs(2000, 10, 2, spread=0.3, seed=0)
    recalls = []
    for balanced in (False, True):
        head = fit_linear("logistic", X[few], y[few], 2, strength=0.1, balanced=balanced)
        recalls.append(np.mean(head.scores(new).argmax(axis=1)[truth == 1]))
    assert recalls[1] > recalls[0] + 0.1


def test_probabilities_survive_any_score() -> None:
    head = LinearHead(
        "ridge", np.array([[1e4], [-1e4], [0]], dtype=np.float32), np.zeros(3, np.float32)
    )
    proba = head.predict_proba(np.array([[1e3], [-1e3], [0.0]]))
    np.testing.assert_allclose(proba, [[1, 0, 0], [0, 1, 0], [1 / 3] * 3], atol=1e-12)
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_wrong_width_is_refused() -> None:
    head = LinearHead("ridge", np.zeros((2, 5), np.float32), np.zeros(2, np.float32))
    with pytest.raises(UserError, match=r"\(n_images, 5\), got \(3, 4\)"):
        head.scores(np.zeros((3, 4)))


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(UserError) as caught:
        fit_linear("svm", np.zeros((2, 3)), np.zeros(3, int), 2, strength=-1, temperature=0)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_features_that_are_no_numbers_are_refused(kind: HeadKind, value: float) -> None:
    X, y = blobs(20, 5, 2)
    X[3, 2] = value
    with pytest.raises(UserError, match="finite"):
        fit_linear(kind, X, y, 2, strength=1.0)


def test_scaling_is_what_its_text_says(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = blobs(200, 50, 3)
    X[:, 4] = 3.25
    widths = (5, 45)
    found = scaling_of(X, widths)
    monkeypatch.setattr(scaling, "CHUNK_VALUES", 999)
    streamed = scaling_of(X, widths)
    np.testing.assert_allclose(streamed.factor, found.factor, rtol=1e-10)
    Z = (X - X.mean(axis=0, dtype=np.float64)) * found.factor
    np.testing.assert_allclose(found.apply(X), Z, atol=1e-5)
    lengths = np.square(Z).sum(axis=0) / len(Z)
    assert lengths.sum() == pytest.approx(1)
    assert lengths[:5].sum() == pytest.approx(5**0.5 / (5**0.5 + 45**0.5))
    assert tap_shares(widths) == pytest.approx([lengths[:5].sum(), lengths[5:].sum()])
    assert found.factor[4] == 0
    variance = X[:, 5:].var(axis=0, dtype=np.float64)
    ratio = found.factor[5:] ** 2 * (variance + variance.mean())
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


def test_a_column_that_hardly_moved_cannot_explode() -> None:
    X, y = blobs(60, 20, 2)
    X[:, 0] = 0
    X[0, 0] = 1e-3
    head = fit_linear("logistic", X, y, 2, strength=0.01)
    new = X.copy()
    new[:, 0] = 3
    moved = np.abs(head.scores(new) - head.scores(X)).max()
    assert moved < 5


def test_large_means_keep_their_precision() -> None:
    X, y = blobs(100, 20, 3)
    first = fit_linear("logistic", X, y, 3, strength=0.1).predict_proba(X)
    shifted = X + np.float32(50)
    second = fit_linear("logistic", shifted, y, 3, strength=0.1).predict_proba(shifted)
    np.testing.assert_allclose(second, first, atol=2e-3)


def test_minimise_solves_a_batch_as_it_solves_each_alone() -> None:
    generator = np.random.default_rng(0)
    roots = generator.normal(size=(4, 12, 12))
    hessians = roots @ roots.transpose(0, 2, 1) + np.array([1, 0.1, 1e-2, 10])[:, None, None] * (
        np.eye(12)
    )
    targets = generator.normal(size=(4, 12))

    def objective(x: np.ndarray, which: np.ndarray) -> Data:
        away = x - targets[which]
        turned = np.einsum("spq,sq->sp", hessians[which], away)
        return 1 + 0.5 * np.einsum("sp,sp->s", away, turned), turned

    def solve(some: list[int]) -> np.ndarray:
        numbers = np.array(some)
        found = minimise(
            lambda x, which: objective(x, numbers[which]),
            np.zeros((len(some), 12)),
            lambda x, which: x,
            tolerance=1e-18,
            rounding=1e-15,
            max_evaluations=500,
        )
        assert found.converged.all()
        return found.x

    batch = solve([0, 1, 2, 3])
    np.testing.assert_allclose(batch, targets, atol=1e-6)
    for number in range(4):
        np.testing.assert_allclose(batch[number], solve([number])[0], atol=1e-6)


def test_minimise_says_when_it_gave_up() -> None:
    found = minimise(
        lambda x, which: (1 + np.sum(np.log(np.cosh(x)), axis=1), np.tanh(x)),
        np.full((1, 3), 9.0),
        lambda x, which: x,
        tolerance=1e-12,
        rounding=1e-15,
        max_evaluations=2,
    )
    assert not found.converged.any()


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_a_head_says_whether_its_training_came_to_an_end(
    route: str, kind: HeadKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = blobs(120, 30, 3)
    assert fit_linear(kind, X, y, 3, strength=0.01).converged
    monkeypatch.setattr(logistic, "MAX_EVALUATIONS", 3)
    stopped = fit_linear(kind, X, y, 3, strength=0.01)
    assert stopped.converged == (kind != "logistic")
    assert np.isfinite(stopped.weight).all()


def test_temperature_is_found_again() -> None:
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(20_000, 4)) * 2
    proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    y = (generator.random((20_000, 1)) > proba.cumsum(axis=1)).sum(axis=1)
    found = fit_temperature(np.stack([scores * 5, scores / 3]), y, np.ones(20_000))
    np.testing.assert_allclose(found, [5, 1 / 3], rtol=0.03)


def test_temperature_of_useless_and_of_perfect_scores_is_finite() -> None:
    y = np.array([0, 1, 0, 1])
    wrong = np.eye(2)[1 - y][None]
    right = np.eye(2)[y][None]
    assert fit_temperature(wrong, y, np.ones(4))[0] == pytest.approx(1e4, rel=1e-3)
    assert 1e-4 <= fit_temperature(right, y, np.ones(4))[0] < 0.05
    cautious = softmax(right[0] / fit_temperature(right, y, np.ones(4), 1 / 6)[0])
    assert cautious.max() == pytest.approx(1 - 1 / 6 / 2, abs=0.02)


@pytest.mark.parametrize("kind", HEAD_KINDS)
@pytest.mark.parametrize("way", ["products", "columns"])
def test_held_out_scores_equal_fits_from_scratch(
    kind: HeadKind, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shared work gives what training each candidate by itself gives: nothing leaks."""
    monkeypatch.setattr("regraft.heads.held_out.DECOMPOSE_UP_TO", 0 if way == "columns" else 999)
    monkeypatch.setattr("regraft.heads.held_out.DECOMPOSITION", 0)
    monkeypatch.setattr("regraft.heads.held_out.SHORT_PASSES", 0)
    X, y = blobs(70, 60, 3)
    matrix = TapMatrix(X, (10, 20, 30))
    generator = np.random.default_rng(0)
    splits = []
    for _ in range(2):
        order = generator.permutation(70)
        splits.append((order[:50], order[50:]))
    strengths = (0.0,) if kind == "prototype" else (1.0, 0.02)
    entries = [Entry(0, (2,), strengths), Entry(1, (0, 2), strengths)]
    columns = [np.arange(30, 60), np.r_[0:10, 30:60]]
    task = Task(kind, y, 3, True, 1e-10)
    scores = held_out_scores(matrix, task, splits, entries, Silent())
    for entry, some, by_split in zip(entries, columns, scores, strict=True):
        for (train, held), found in zip(splits, by_split, strict=True):
            for strength, one in zip(strengths, found, strict=True):
                head = fit_linear(
                    kind,
                    X[train][:, some],
                    y[train],
                    3,
                    strength=strength,
                    balanced=True,
                    widths=[matrix.widths[tap] for tap in entry.taps],
                )
                expected = head.scores(X[held][:, some])
                gap = (one - one.mean(axis=1, keepdims=True)) - (
                    expected - expected.mean(axis=1, keepdims=True)
                )
                assert np.abs(gap).max() < (1e-3 if way == "products" else 2e-2)


def test_the_sketch_finds_the_large_directions() -> None:
    X, _ = blobs(400, 100, 3)
    Z = scaled(X, (100,))
    exact = np.linalg.eigvalsh(Z.T @ Z)[::-1]
    found = rows.sketch(rows.whole(Z.astype(np.float32)))
    assert found.basis is not None
    np.testing.assert_allclose(found.spectrum[::-1][:5], exact[:5], rtol=0.05)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(found.basis.shape[1]), atol=1e-4)


def test_map_keeps_the_order_and_passes_errors_on() -> None:
    squares = map_side_by_side(lambda item: item**2, range(20))
    assert list(squares) == [item**2 for item in range(20)]

    def fail(item: int) -> None:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item"):
        list(map_side_by_side(fail, [1, 2]))


def test_unfolding_keeps_the_scores() -> None:
    X, _ = blobs(50, 8, 2)
    measured = scaling_of(X, (8,))
    weight, bias = np.random.default_rng(0).normal(size=(3, 8)), np.array([0.1, 0.2, 0.3])
    raw, raw_bias = measured.unfold(weight, bias)
    np.testing.assert_allclose(X @ raw.T + raw_bias, measured.apply(X) @ weight.T + bias, atol=1e-4)
    assert isinstance(measured, Scaling)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, numpy as np\n"
        "from regraft.heads import fit_linear\n"
        "import regraft.selection, regraft.metrics\n"
        "X = np.random.default_rng(0).normal(size=(20, 5)).astype('f4')\n"
        "for kind in ('logistic', 'ridge', 'prototype'):\n"
        "    fit_linear(kind, X, np.arange(20) % 2, 2, strength=1.0)\n"
        "print([m for m in ('scipy', 'sklearn', 'torch', 'pandas') if m in sys.modules])\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"
