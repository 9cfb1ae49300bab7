"""Thresholds keep what they promise, and temperatures make a model as sure as it is right."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.calibrated import calibrate
from regraft.errors import UserError
from regraft.heads.linear import softmax
from regraft.heads.temperature import calibrating_temperature
from regraft.metrics import share
from regraft.operating import Decision, operating_point, positive_class
from regraft.options import FitOptions
from regraft.selection import HeldOut
from regraft.target import Target, parse_target

CLASSES = ("good", "ill")


def scored(
    generator: np.random.Generator, n_ill: int, n_good: int
) -> tuple[np.ndarray, np.ndarray]:
    y = np.repeat([1, 0], [n_ill, n_good])
    odds = generator.normal(2.0 * y - 1.0, 1.0)
    ill = 1 / (1 + np.exp(-2 * odds))
    return y, np.stack([1 - ill, ill], axis=1)


@pytest.mark.parametrize("promise", ["sensitivity", "specificity"])
@pytest.mark.parametrize("n", [80, 300])
def test_what_is_promised_holds_for_new_pictures(promise: str, n: int) -> None:
    """97.5 % expected of 400 thresholds; below 94 % has a chance below 1 in 1,000."""
    generator, target = np.random.default_rng(1), parse_target(f"{promise}=0.9")
    many, proba = scored(generator, 20_000, 20_000)
    kept = 0
    for _ in range(400):
        y, said = scored(generator, n, n)
        point = operating_point(target, 1, CLASSES, y, said, np.arange(2 * n))
        called = Decision(1, point.threshold).columns(proba)
        side = 1 if promise == "sensitivity" else 0
        kept += np.mean(called[many == side] == side) >= 0.9
        assert getattr(point, promise).low >= 0.9
    assert kept >= 376


@pytest.mark.parametrize("promise", ["sensitivity", "specificity"])
def test_no_threshold_that_can_be_promised_loses_less(promise: str) -> None:
    """Of all that keep the promise it has the best other figure."""
    y, said = scored(np.random.default_rng(2), 200, 200)
    point = operating_point(parse_target(f"{promise}=0.9"), 1, CLASSES, y, said, np.arange(400))
    other = "specificity" if promise == "sensitivity" else "sensitivity"
    for threshold in np.unique(said[:, 1]):
        called = said[:, 1] >= threshold
        found = {"sensitivity": called[y == 1], "specificity": ~called[y == 0]}
        if share(found[promise]).low >= 0.9:
            assert found[other].mean() <= getattr(point, other).value


@pytest.mark.parametrize("promise", ["sensitivity", "specificity"])
def test_classes_far_apart_are_parted_in_the_middle(promise: str) -> None:
    y = np.repeat([1, 0], 60)
    ill = np.concatenate([np.linspace(0.9, 0.99, 60), np.linspace(0.01, 0.1, 60)])
    said = np.stack([1 - ill, ill], axis=1)
    point = operating_point(parse_target(f"{promise}=0.5"), 1, CLASSES, y, said, np.arange(120))
    assert point.threshold == pytest.approx(0.5)
    assert (point.sensitivity.value, point.specificity.value) == (1.0, 1.0)


def test_a_class_without_a_held_out_picture_is_refused() -> None:
    y, said = scored(np.random.default_rng(3), 40, 0)
    for promise in ("sensitivity", "specificity"):
        with pytest.raises(UserError, match="none of 'good'"):
            operating_point(parse_target(f"{promise}=0.5"), 1, CLASSES, y, said, np.arange(40))


def test_too_few_pictures_are_refused_with_the_number_that_would_do() -> None:
    y, said = scored(np.random.default_rng(3), 72, 300)
    with pytest.raises(UserError, match="73 such pictures"):
        operating_point(Target("sensitivity", 0.95), 1, CLASSES, y, said, np.arange(372))
    y, said = scored(np.random.default_rng(3), 73, 300)
    operating_point(Target("sensitivity", 0.95), 1, CLASSES, y, said, np.arange(373))


def test_pictures_of_one_patient_are_one_witness() -> None:
    y, said = scored(np.random.default_rng(3), 200, 200)
    with pytest.raises(UserError, match="of 20 groups"):
        operating_point(Target("sensitivity", 0.95), 1, CLASSES, y, said, np.arange(400) // 10)


@pytest.mark.parametrize("text", ["", "0.9", "recall=0.9", "sensitivity=1", "sensitivity=x"])
def test_other_targets_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="sensitivity=SHARE"):
        parse_target(text)
    with pytest.raises(UserError, match="sensitivity=SHARE"):
        FitOptions(target=text)


def test_the_class_to_find_is_the_rarer_one_or_the_one_named() -> None:
    y = np.array([0, 0, 1])
    assert positive_class(y, CLASSES, None) == "ill"
    assert positive_class(1 - y, CLASSES, None) == "good"
    assert positive_class(y, CLASSES, "good") == "good"
    with pytest.raises(UserError, match="'good' or 'ill', got 'bad'"):
        positive_class(y, CLASSES, "bad")
    with pytest.raises(UserError, match="two classes, got 3"):
        positive_class(y, ("a", "b", "c"), None)
    with pytest.raises(UserError, match="positive belongs to a target"):
        FitOptions(positive="ill")


def drawn(generator: np.random.Generator, n: int, boast: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a model that multiplies its log probabilities by `boast`."""
    y = generator.integers(0, 4, n)
    return y, boast * 2.0 * (generator.normal(size=(n, 4)) + 2.0 * np.eye(4)[y])


@pytest.mark.parametrize("boast", [0.6, 1.0, 2.0])
def test_the_temperature_undoes_boasting(boast: float) -> None:
    y, scores = drawn(np.random.default_rng(4), 4000, boast)
    assert calibrating_temperature(scores, y, np.ones(len(y))) == pytest.approx(boast, rel=0.08)


def test_few_pictures_that_are_all_right_do_not_make_a_model_certain() -> None:
    y = np.array([0, 1, 0, 1, 0])
    scores = 4.0 * np.eye(2)[y]
    assert calibrating_temperature(scores, y, np.ones(5)) > 0.9


def test_pictures_of_one_unit_weigh_as_one() -> None:
    y, scores = drawn(np.random.default_rng(6), 12, 3.0)
    held = HeldOut(np.arange(12), scores)
    classes = ("a", "b", "c", "d")
    alone = calibrate(held, y, np.arange(12), classes, FitOptions())
    copies = HeldOut(np.arange(120), np.tile(scores, (10, 1)))
    joined = calibrate(copies, np.tile(y, 10), np.tile(np.arange(12), 10), classes, FitOptions())
    assert joined.temperature == pytest.approx(alone.temperature)
    assert alone.temperature > 1
    assert alone.log_loss_after is not None
    assert alone.log_loss_before is not None
    assert alone.log_loss_after < alone.log_loss_before


def test_nothing_held_out_leaves_the_scores_alone_and_promises_nothing() -> None:
    nothing = calibrate(None, np.array([0, 1]), np.arange(2), CLASSES, FitOptions())
    assert nothing.temperature == 1.0
    with pytest.raises(UserError, match="too few"):
        calibrate(
            None, np.array([0, 1]), np.arange(2), CLASSES, FitOptions(target="sensitivity=0.9")
        )


def test_the_temperature_is_folded_into_the_head() -> None:
    from regraft.heads.linear import LinearHead

    generator = np.random.default_rng(7)
    weight = generator.normal(size=(3, 5)).astype(np.float32)
    head = LinearHead("logistic", weight, np.ones(3, np.float32))
    X = generator.normal(size=(6, 5)).astype(np.float32)
    np.testing.assert_allclose(
        head.tempered(2.0).predict_proba(X), softmax(head.scores(X) / 2.0), rtol=1e-5
    )
