"""Figures against scikit-learn and SciPy; their intervals against simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest
from sklearn import metrics as reference

from regraft.assessing.assessment import assess
from regraft.assessing.calibration import brier_score, calibration
from regraft.assessing.comparison import compare, mcnemar
from regraft.assessing.confidence import answered
from regraft.assessing.f1 import f1_scores, macro_f1
from regraft.assessing.ranking import area, rank_class
from regraft.heavy_tails import freedom, student
from regraft.metrics import log_loss

CLASSES = ("ant", "bee", "cat")


def said(
    y: np.ndarray, separation: float, generator: np.random.Generator, prior: np.ndarray
) -> np.ndarray:
    """Probabilities of a model that is exactly as sure as it is right."""
    seen = generator.normal(size=(len(y), len(prior))) + separation * np.eye(len(prior))[y]
    odds = prior * np.exp(separation * (seen - seen.max(axis=1, keepdims=True)))
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    generator, prior = np.random.default_rng(3), np.array([0.6, 0.3, 0.1])
    y = generator.choice(3, 300, p=prior)
    return y, said(y, 1.5, generator, prior)


def test_figures_equal_scikit_learn(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    y, proba = predictions
    called, units = proba.argmax(axis=1), np.arange(len(y))
    found = assess(y, called, proba, proba, CLASSES, units)
    assert found.macro_f1.value == pytest.approx(reference.f1_score(y, called, average="macro"))
    assert [d.f1 for d in found.details] == pytest.approx(
        reference.f1_score(y, called, average=None)
    )
    assert dict(found.top)[2].value == pytest.approx(reference.top_k_accuracy_score(y, proba, k=2))
    for column, (detail, ranking) in enumerate(zip(found.details, found.rankings, strict=True)):
        truth = y == column
        assert detail.auc is not None
        assert detail.specificity is not None
        assert detail.auc.value == pytest.approx(reference.roc_auc_score(truth, proba[:, column]))
        assert ranking.average_precision.value == pytest.approx(
            reference.average_precision_score(truth, proba[:, column])
        )
        assert detail.specificity.value == pytest.approx(
            reference.recall_score(~truth, called != column)
        )
        assert np.trapezoid(ranking.recall, ranking.false_positive_rate) == pytest.approx(
            detail.auc.value, abs=0.01
        )
    squares = np.sum((proba - np.eye(3)[y]) ** 2, axis=1)
    assert found.calibration.brier.value == pytest.approx(squares.mean())
    json.dumps(found.as_dict(), allow_nan=False)


def test_equal_scores_are_one_step() -> None:
    truth = np.array([1, 0, 1, 0, 1, 0, 0], bool)
    scores = np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.1, 0.1])
    found = rank_class("a", truth, scores, np.arange(7), 2)
    assert found is not None
    assert found.auc.value == pytest.approx(reference.roc_auc_score(truth, scores))
    assert found.average_precision.value == pytest.approx(
        reference.average_precision_score(truth, scores)
    )


def test_a_class_without_pictures_or_without_a_rest_is_not_ranked() -> None:
    for truth in (np.ones(4, bool), np.zeros(4, bool)):
        assert rank_class("a", truth, np.arange(4.0), np.arange(4), 2) is None
    y, proba = np.array([0, 0]), np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0]])
    found = assess(y, proba.argmax(1), proba, proba, CLASSES, np.arange(2))
    assert [d.auc for d in found.details] == [None, None, None]
    assert [d.specificity is None for d in found.details] == [True, False, False]
    assert found.details[2].f1 is None
    json.dumps(found.as_dict(), allow_nan=False)


def test_one_picture_is_assessed() -> None:
    proba = np.array([[0.9, 0.1]])
    found = assess(np.array([0]), np.array([0]), proba, proba, ("a", "b"), np.arange(1))
    assert found.macro_f1.value == 1.0
    assert 0 <= found.macro_f1.low < 1


def test_f1_counts_only_classes_that_occur_or_were_called() -> None:
    y, called = np.array([0, 0, 1]), np.array([0, 1, 1])
    assert macro_f1(y, called, 5, np.arange(3)).value == pytest.approx(2 / 3)
    assert np.isnan(f1_scores(y, called, 5)[2:]).all()


def test_mcnemar_equals_the_binomial_test() -> None:
    for first, second in ((0, 0), (0, 1), (3, 11), (40, 22), (3000, 3100)):
        expected = binomtest(first, first + second).pvalue if first + second else 1.0
        assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_pictures_of_one_unit_are_exchanged_together() -> None:
    """Ten pictures of one patient say no more than one."""
    y = np.zeros(40, int)
    right, wrong = np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]])
    first = np.repeat(right, 40, axis=0)
    second = np.where(np.arange(40)[:, None] < 10, wrong, right)
    alone = compare(y, (first.argmax(1), first), (second.argmax(1), second), np.arange(40))
    patients = compare(y, (first.argmax(1), first), (second.argmax(1), second), np.arange(40) // 10)
    assert (alone.only_first, alone.only_second) == (10, 0)
    assert alone.verdict == "first"
    assert patients.verdict == "cannot tell"
    assert patients.accuracy.low < 0 < alone.accuracy.low
    assert patients.p == 1.0


def test_accuracy_against_coverage() -> None:
    sure = np.array([0.5, 0.6, 0.8, 0.95])
    right = np.array([0.0, 1.0, 1.0, 1.0])
    rows = answered(sure, right, np.arange(4), (0.0, 0.6, 0.99))
    assert [row.n for row in rows] == [4, 3, 0]
    assert rows[0].accuracy is not None
    assert rows[0].accuracy.value == 0.75
    assert rows[1].accuracy is not None
    assert rows[1].accuracy.value == 1.0
    assert rows[2].accuracy is None


def test_chance_explains_the_error_of_a_calibrated_model_but_not_of_a_boaster() -> None:
    generator, prior = np.random.default_rng(5), np.array([0.5, 0.5])
    beyond = {1.0: 0, 3.0: 0}
    for _ in range(100):
        y = generator.integers(0, 2, 300)
        proba = said(y, 1.5, generator, prior)
        for power in beyond:
            boasting = proba**power / (proba**power).sum(axis=1, keepdims=True)
            found = calibration(y, boasting, np.arange(300))
            beyond[power] += found.ece > found.ece_by_chance
    assert beyond[1.0] <= 14  # 5 expected; more than 14 has a chance below 1 in 10,000
    assert beyond[3.0] >= 95


@pytest.mark.parametrize("separation", [1.5, pytest.param(3.0, marks=pytest.mark.slow)])
def test_intervals_hold_the_truth(separation: float) -> None:
    """300 draws each: 95 % expected, below 90 % has a chance below 1 in 5,000."""
    generator, prior = np.random.default_rng(11), np.array([0.5, 0.3, 0.2])
    everyone = generator.choice(3, 100_000, p=prior)
    proba = said(everyone, separation, generator, prior)
    worse = said(everyone, 0.9 * separation, generator, prior)
    called, other = proba.argmax(axis=1), worse.argmax(axis=1)
    truth = {
        "f1": np.mean(f1_scores(everyone, called, 3)),
        "auc": reference.roc_auc_score(everyone == 2, proba[:, 2]),
        "ap": reference.average_precision_score(everyone == 2, proba[:, 2]),
        "brier": np.sum((proba - np.eye(3)[everyone]) ** 2, axis=1).mean(),
        "ahead": np.mean((called == everyone) * 1.0 - (other == everyone)),
    }
    held = dict.fromkeys(truth, 0)
    units = np.arange(150)
    for _ in range(300):
        rows = generator.integers(0, len(everyone), 150)
        y, p = everyone[rows], proba[rows]
        ranking = rank_class("c", y == 2, p[:, 2], units, 60)
        assert ranking is not None
        found = {
            "f1": macro_f1(y, called[rows], 3, units),
            "auc": area(y == 2, p[:, 2], units),
            "ap": ranking.average_precision,
            "brier": calibration(y, p, units).brier,
            "ahead": compare(y, (called[rows], p), (other[rows], worse[rows]), units).accuracy,
        }
        for name, estimate in found.items():
            held[name] += estimate.low <= truth[name] <= estimate.high
    assert min(held.values()) >= 270, held


@pytest.mark.parametrize("counts", [(100, 3), (4, 4), (10, 10), (5,) * 10])
def test_balanced_differences_of_small_classes_hold_the_truth(counts: tuple[int, ...]) -> None:
    """Two models that are equally right: 400 draws, below 92 % has a chance below 1 in 100."""
    generator, k, held = np.random.default_rng(8), len(counts), 0
    y = np.repeat(np.arange(k), counts)
    for _ in range(400):
        models = []
        for _ in range(2):
            right = generator.random(len(y)) < 0.8
            called = np.where(right, y, (y + 1) % k)
            models.append((called, np.full((len(y), k), 1 / k)))
        found = compare(y, *models, np.arange(len(y))).balanced_accuracy
        held += found.low <= 0 <= found.high
    assert held >= 368, held


def test_chance_counts_a_unit_as_one_witness() -> None:
    generator, beyond, prior = np.random.default_rng(5), 0, np.array([0.5, 0.5])
    for _ in range(100):
        y = generator.integers(0, 2, 60)
        proba = np.repeat(said(y, 1.5, generator, prior), 5, axis=0)
        found = calibration(np.repeat(y, 5), proba, np.repeat(np.arange(60), 5))
        beyond += found.ece > found.ece_by_chance
    assert beyond <= 14


def test_many_pictures_do_not_excuse_a_boaster() -> None:
    y, proba = np.arange(100_001) % 2, np.tile([0.99, 0.01], (100_001, 1))
    found = calibration(y, proba, np.arange(len(y)))
    assert found.ece > 0.4 > found.ece_by_chance


def test_one_unit_says_next_to_nothing() -> None:
    y, proba = np.array([0, 1] * 10), np.tile([[0.9, 0.1], [0.2, 0.8]], (10, 1))
    found = assess(y, proba.argmax(1), proba, proba, ("a", "b"), np.zeros(20, int))
    auc = found.details[0].auc
    assert auc is not None
    assert auc.low < 0.4
    pair = compare(y, (y, proba), (y, proba[::-1]), np.zeros(20, int))
    assert pair.accuracy.low < -0.5
    assert pair.balanced_accuracy.low < -0.5
    assert pair.log_loss.low < pair.log_loss.value < pair.log_loss.high


@pytest.mark.parametrize("sharper", [1.0, 2.0])
@pytest.mark.parametrize("units_of", [1, 4])
def test_losses_that_few_mistakes_decide(sharper: float, units_of: int) -> None:
    """Of a model that is right 99 times in 100, as sure as it is right or surer than that."""
    rng = np.random.default_rng(0)
    shift, n, count = 3.5, 100, 100_000
    y = np.repeat(rng.integers(0, 2, count // units_of), units_of)
    noise = rng.normal(size=(count, 2)) + np.repeat(
        rng.normal(size=(count // units_of, 2)), units_of, axis=0
    ) * (units_of > 1)
    odds = np.exp(sharper * shift * (noise / (1 + (units_of > 1)) ** 0.5 + shift * np.eye(2)[y]))
    proba = odds / odds.sum(axis=1, keepdims=True)
    everyone = np.arange(count)
    figures = {"log loss": log_loss, "Brier": brier_score}
    truth = {name: figure(y, proba, everyone).value for name, figure in figures.items()}
    held = dict.fromkeys(figures, 0)
    for _ in range(300):
        drawn = rng.choice(count // units_of, n // units_of, replace=False)
        rows = (drawn[:, None] * units_of + np.arange(units_of)).reshape(-1)
        for name, figure in figures.items():
            found = figure(y[rows], proba[rows], rows // units_of)
            held[name] += found.low <= truth[name] <= found.high
    assert min(held.values()) >= 0.92 * 300, held


def test_students_quantile() -> None:
    for degrees in (2, 2.7, 5, 30, 1e4):
        assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.01)


def test_degrees_of_freedom() -> None:
    rng = np.random.default_rng(0)
    alone = np.arange(2000)
    assert freedom(rng.normal(size=2000), alone) > 1000
    rare = (alone < 4).astype(float)
    assert 2 <= freedom(rare, alone) < 20
    assert freedom(rng.normal(size=2000), alone // 100) <= 19
    assert freedom(np.ones(5), np.arange(5)) == 4


def test_losses_of_a_single_picture_and_of_losses_that_are_all_alike() -> None:
    one = np.array([0])
    assert log_loss(one, np.ones((1, 1)), one).ci95 == [0.0, 0.0]
    missed = log_loss(np.array([1]), np.array([[1.0, 0.0]]), one)
    assert missed.high == pytest.approx(missed.value)
    proba, y = np.tile([0.9, 0.1], (1000, 1)), np.zeros(1000, np.intp)
    alike = log_loss(y, proba, np.arange(1000))
    assert 0.08 < alike.low < alike.value < alike.high < 0.14
    assert brier_score(y, proba, np.arange(1000)).high < 0.08
