"""Figures against scikit-learn and SciPy, intervals against simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from regraft.errors import UserError
from regraft.metrics import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    evaluate_predictions,
    log_loss,
    log_losses,
    wilson,
)

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    y = generator.choice(3, 200, p=[0.6, 0.3, 0.1])
    scores = generator.normal(size=(200, 3)) + 1.5 * np.eye(3)[y]
    proba = np.exp(scores)
    return y, proba / proba.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (1, 1), (94, 100), (3, 1000)])
def test_wilson_equals_scipy(right: int, n: int) -> None:
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_figures_equal_scikit_learn(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    y, proba = predictions
    evaluation = evaluate_predictions(y, proba, CLASSES)
    called = proba.argmax(axis=1)
    assert evaluation.n == 200
    assert evaluation.accuracy.value == pytest.approx(reference.accuracy_score(y, called))
    assert evaluation.balanced_accuracy.value == pytest.approx(
        reference.balanced_accuracy_score(y, called)
    )
    assert evaluation.log_loss.value == pytest.approx(reference.log_loss(y, proba))
    np.testing.assert_array_equal(evaluation.confusion, reference.confusion_matrix(y, called))
    precision, recall, _, support = reference.precision_recall_fscore_support(y, called)
    assert [r.recall.value for r in evaluation.per_class if r.recall] == pytest.approx(recall)
    assert [r.precision.value for r in evaluation.per_class if r.precision] == pytest.approx(
        precision
    )
    assert [report.support for report in evaluation.per_class] == support.tolist()
    for figure in (evaluation.accuracy, evaluation.balanced_accuracy, evaluation.log_loss):
        assert figure.low < figure.value < figure.high


def test_json_form(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    y, proba = predictions
    evaluation = evaluate_predictions(y, proba, CLASSES)
    record = json.loads(json.dumps(evaluation.as_dict()))
    assert record["ci95"] == [evaluation.accuracy.low, evaluation.accuracy.high]
    assert record["n"] == 200
    assert [row["class"] for row in record["per_class"]] == list(CLASSES)
    assert np.sum(record["confusion"]["matrix"]) == 200
    assert 0 <= record["balanced_accuracy_ci95"][0] <= record["balanced_accuracy_ci95"][1] <= 1


def test_classes_without_pictures_or_predictions() -> None:
    y = np.array([0, 0, 1, 1])
    proba = np.array([[0.9, 0.1, 0.0], [0.2, 0.0, 0.8], [0.6, 0.4, 0.0], [0.7, 0.3, 0.0]])
    evaluation = evaluate_predictions(y, proba, CLASSES)
    ant, bee, cat = evaluation.per_class
    assert evaluation.balanced_accuracy.value == pytest.approx((0.5 + 0.0) / 2)
    assert cat.recall is None
    assert cat.precision is not None
    assert cat.precision.value == 0
    assert bee.precision is None
    assert bee.recall is not None
    assert ant.recall is not None
    assert ant.recall.value == 0.5
    json.dumps(evaluation.as_dict(), allow_nan=False)


def test_a_certain_mistake_has_a_finite_loss() -> None:
    losses = log_losses(np.array([1]), np.array([[1.0, 0.0]]))
    assert losses[0] == pytest.approx(-np.log(np.finfo(float).eps))
    assert np.isfinite(log_loss(np.array([1]), np.array([[1.0, 0.0]])).high)


def test_balanced_accuracy_of_one_class_is_recall_with_wilsons_interval() -> None:
    alone = np.array([[40, 10], [0, 0]])
    figure = balanced_accuracy(alone)
    assert (figure.low, figure.high) == pytest.approx(wilson(40, 50), abs=0.01)


def test_balanced_accuracy_does_not_shift_with_many_small_classes() -> None:
    confusion = np.diag(np.full(500, 5))
    confusion[::4, ::4] -= np.eye(125, dtype=int)
    confusion[::4, 1::4] += np.eye(125, dtype=int)
    figure = balanced_accuracy(confusion)
    assert figure.value == pytest.approx(0.95)
    assert figure.low < 0.95 < figure.high
    assert figure.high - figure.low < 0.03


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_intervals_at_the_ends_stay_inside_and_are_not_empty(value: float) -> None:
    size = int(30 * value)
    confusion = np.array([[size, 30 - size], [30 - size, size]])
    for figure in (accuracy(confusion), balanced_accuracy(confusion)):
        assert figure.value == value
        assert 0 <= figure.low <= value <= figure.high <= 1
        assert 0.02 < figure.high - figure.low < 0.2


@pytest.mark.parametrize(
    ("sizes", "recalls"),
    [
        ([50, 50], [0.9, 0.8]),
        ([90, 10], [0.95, 0.6]),
        ([95, 5], [0.98, 0.8]),
        ([980, 20], [0.99, 0.5]),
        ([60, 60], [0.99, 0.99]),
        ([20] * 5, [0.95, 0.9, 0.8, 0.7, 0.99]),
        ([5] * 40, [0.9] * 40),
        ([100] * 10 + [3] * 10, [0.95] * 10 + [0.5] * 10),
    ],
)
def test_coverage(sizes: list[int], recalls: list[float]) -> None:
    generator = np.random.default_rng(0)
    n_classes, draws = len(sizes), 2000
    right = generator.binomial(sizes, recalls, (draws, n_classes))
    run = np.arange(n_classes)
    covered_plain = covered_balanced = 0
    for hits in right:
        confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
        confusion[run, run] = hits
        confusion[run, (run + 1) % n_classes] = np.array(sizes) - hits
        plain, balanced = accuracy(confusion), balanced_accuracy(confusion)
        covered_plain += plain.low <= np.average(recalls, weights=sizes) <= plain.high
        covered_balanced += balanced.low <= np.mean(recalls) <= balanced.high
    assert 0.925 <= covered_balanced / draws <= 0.985
    assert 0.93 <= covered_plain / draws <= 0.995  # plain shares of a stratified draw vary less


@pytest.mark.parametrize(("n", "share"), [(100, 0.5), (100, 0.95), (153, 0.955), (1000, 0.9)])
def test_wilson_coverage(n: int, share: float) -> None:
    counts = np.random.default_rng(1).binomial(n, share, 2000)
    ends = np.array([wilson(int(count), n) for count in counts])
    assert 0.93 <= np.mean((ends[:, 0] <= share) & (share <= ends[:, 1])) <= 0.98


def test_log_loss_interval_covers() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(2000):
        p = generator.beta(4, 2, 150)
        y = (generator.random(150) < p).astype(np.intp)
        figure = log_loss(y, np.stack([1 - p, p], axis=1))
        covered += figure.low <= 0.5618 <= figure.high
    truth = generator.beta(4, 2, 400_000)
    entropy = -np.mean(truth * np.log(truth) + (1 - truth) * np.log(1 - truth))
    assert entropy == pytest.approx(0.5618, abs=0.002)
    assert 0.93 <= covered / 2000 <= 0.98


def clustered(
    generator: np.random.Generator, sizes: np.ndarray, share: float, likeness: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, answers and units; two answers of a unit correlate as `likeness` says."""
    units = np.repeat(np.arange(len(sizes)), sizes)
    y = (units % 2).astype(np.intp)
    common = (generator.random(len(sizes)) < share)[units]
    alone = generator.random(len(units)) < share
    right = np.where(generator.random(len(units)) < likeness**0.5, common, alone)
    return y, np.where(right, y, 1 - y), units


@pytest.mark.parametrize(
    ("sizes", "share", "likeness"),
    [
        ([5] * 40, 0.8, 0.5),
        ([5] * 40, 0.9, 0.7),
        ([5] * 100, 0.95, 0.9),
        ([5] * 20, 0.8, 0.9),
        ([12] * 30 + [2] * 60, 0.85, 0.6),
    ],
)
def test_coverage_of_pictures_that_depend_on_each_other(
    sizes: list[int], share: float, likeness: float
) -> None:
    generator, draws = np.random.default_rng(0), 1000
    covered = np.zeros((2, 3))
    for _ in range(draws):
        y, called, units = clustered(generator, np.array(sizes), share, likeness)
        proba = np.where(np.eye(2)[called] == 1, 0.8, 0.2)
        for number, given in enumerate((None, units)):
            figures = evaluate_predictions(y, proba, ("a", "b"), given)
            recall = figures.per_class[0].recall
            assert recall is not None
            for place, figure in enumerate((figures.accuracy, figures.balanced_accuracy, recall)):
                covered[number, place] += figure.low <= share <= figure.high
    naive, fair = covered / draws
    assert (naive < 0.8).all()
    assert (fair >= 0.93).all()
    assert (fair <= 0.985).all()


def test_the_mean_loss_of_pictures_that_depend_on_each_other_is_covered() -> None:
    generator = np.random.default_rng(4)
    covered = np.zeros(2)
    for _ in range(1000):
        level = np.repeat(generator.normal(size=60), 5) + generator.normal(size=300)
        proba = np.exp(-np.exp(level / 2 - 1))
        y = np.zeros(300, dtype=np.intp)
        truth = float(np.exp(-1 + 0.25))
        for number, units in enumerate((None, np.repeat(np.arange(60), 5))):
            figure = log_loss(y, np.stack([proba, 1 - proba], axis=1), units)
            covered[number] += figure.low <= truth <= figure.high
    assert covered[0] < 850
    assert 925 <= covered[1] <= 980


def test_pictures_that_are_units_of_their_own_change_nothing(
    predictions: tuple[np.ndarray, np.ndarray],
) -> None:
    y, proba = predictions
    plain = evaluate_predictions(y, proba, CLASSES).as_dict()
    units = np.random.default_rng(0).permutation(200)
    assert evaluate_predictions(y, proba, CLASSES, units).as_dict() == plain


@pytest.mark.parametrize("copies", [2, 10])
def test_copies_add_nothing(predictions: tuple[np.ndarray, np.ndarray], copies: int) -> None:
    y, proba = predictions
    rows = np.repeat(np.arange(200), copies)
    once = evaluate_predictions(y, proba, CLASSES)
    often = evaluate_predictions(y[rows], proba[rows], CLASSES, rows)
    for one, other in (
        (once.accuracy, often.accuracy),
        (once.balanced_accuracy, often.balanced_accuracy),
        (once.log_loss, often.log_loss),
    ):
        assert other.value == pytest.approx(one.value)
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.03)


def test_units_without_an_error_count_once_each() -> None:
    y = np.repeat([0, 1], 25).astype(np.intp)
    proba = np.eye(2)[y] * 0.8 + 0.1
    figures = evaluate_predictions(y, proba, ("a", "b"), np.repeat(np.arange(10), 5))
    assert figures.accuracy.low == pytest.approx(wilson(10, 10)[0])
    json.dumps(
        evaluate_predictions(y, proba, ("a", "b"), np.zeros(50, int)).as_dict(), allow_nan=False
    )


def test_units_must_fit(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UserError, match="one number per picture, got 3 for 200"):
        evaluate_predictions(*predictions, CLASSES, np.arange(3))


def test_confusion_is_true_by_row() -> None:
    counts = confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 2)
    np.testing.assert_array_equal(counts, [[0, 2], [0, 1]])


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (3, 3)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, int]) -> None:
    y = np.zeros(0 if shape[0] == 0 else 4, dtype=np.intp)
    with pytest.raises(UserError, match="one or more pictures"):
        evaluate_predictions(y, np.full(shape, 0.5), CLASSES)
