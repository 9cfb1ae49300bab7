"""A handful of held-out pictures must not talk anybody into a wrecked network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from regraft.train.recipes import recipe
from regraft.train.teaching import gained
from training.lessons import SHORT, Lesson, weights

ROUNDS = 2000


@pytest.mark.parametrize("n_classes", [2, 5, 100])
def test_two_pictures_prove_nothing(n_classes: int):
    guess = np.log(n_classes)
    for before in (0.1 * guess, 0.5 * guess, 0.999 * guess):
        gain, error = gained(np.full(2, before), np.zeros(2), np.ones(2), np.arange(2), n_classes)
        assert 0 < gain < error


def test_many_pictures_are_taken_at_their_word():
    generator = np.random.default_rng(0)
    before = generator.exponential(0.4, 1000)
    after = before - generator.normal(0.05, 0.2, 1000)
    gain, error = gained(before, after, np.ones(1000), np.arange(1000), 2)
    assert gain == pytest.approx(np.mean(before - after), rel=0.01)
    assert error == pytest.approx(np.std(before - after) / np.sqrt(1000), rel=0.05)
    assert gain > error


@pytest.mark.parametrize("held_out", [2, 4, 10, 30, 200])
def test_a_network_that_is_no_better_is_seldom_taken_for_one(held_out: int):
    """It is surer of most pictures and badly wrong on some, so that on the whole nothing is won."""
    generator = np.random.default_rng(held_out)
    shown = 0
    for _ in range(ROUNDS):
        before = generator.exponential(0.3, held_out)
        wrong = generator.random(held_out) < 0.15
        after = np.where(wrong, before + 0.17 * 0.85 / 0.15, before - 0.17)
        gain, error = gained(before, after, np.ones(held_out), np.arange(held_out), 2)
        shown += gain > error
    assert shown / ROUNDS < 0.25


@pytest.mark.parametrize("held_out", [2, 4, 10, 30])
def test_a_wreck_is_hardly_ever_taken_for_an_improvement(held_out: int):
    """Training on 5 pictures a class took ants and bees from 93 % to 63 %, sure of everything."""
    generator = np.random.default_rng(held_out)
    shown = 0
    for _ in range(ROUNDS):
        before = np.where(generator.random(held_out) < 0.93, 0.15, 2.0)
        after = np.where(generator.random(held_out) < 0.63, 0.02, 2.0)
        gain, error = gained(before, after, np.ones(held_out), np.arange(held_out), 2)
        shown += gain > error
    assert shown / ROUNDS < 0.06


def test_weights_of_pictures_count():
    before, after = np.array([1.0, 1.0, 1.0, 1.0]), np.array([0.0, 0.0, 2.0, 2.0])
    heavy = gained(before, after, np.array([3.0, 3.0, 1.0, 1.0]), np.arange(4), 2)[0]
    even = gained(before, after, np.full(4, 7.0), np.arange(4), 2)[0]
    assert even == pytest.approx(0)
    assert heavy == pytest.approx(4 * 0.5 / 6)  # four pictures and two made ones


def test_what_is_not_shown_is_not_kept(convolutional: Lesson):
    """Six held-out pictures, two short passes: the loss falls, by less than chance could."""
    phase = replace(SHORT, rate=1e-4)
    free = convolutional.train(phase)
    guarded = convolutional.train(replace(phase, guarded=True))
    report = guarded.reports[0]
    assert free.improved
    assert report.history[1].log_loss < report.history[0].log_loss
    assert 0 < report.lowest.gain <= report.lowest.error
    assert not guarded.improved
    source = weights(convolutional.backbone)
    kept = weights(guarded.backbone)
    assert all((source[name] == tensor).all() for name, tensor in kept.items())
    assert not np.any(guarded.head.weight)
    said = report.as_dict()
    assert said["kept_epoch"] == 0
    assert said["gain"] == [report.lowest.gain, report.lowest.error]


def test_what_is_shown_is_kept(convolutional: Lesson):
    report = convolutional.train(replace(SHORT, guarded=True, epochs=8, patience=8)).reports[0]
    # The pass with the least loss, or a later one that is not clearly worse: see below.
    assert report.best.epoch >= report.lowest.epoch > 0
    assert report.best.log_loss < report.lowest.log_loss + report.lowest.error
    assert report.best.gain > report.best.error


def test_random_weights_are_no_start_worth_guarding(convolutional: Lesson):
    probes = convolutional.backbone.probes
    assert not any(phase.guarded for phase in recipe("scratch", probes, 100))
    assert all(phase.guarded for phase in recipe("full", probes, 100))


@pytest.mark.parametrize("groups", [2, 4, 12])
def test_pictures_of_a_group_are_one_witness(groups: int):
    """A group fares better or worse as a whole; on average over groups nothing is won."""
    generator = np.random.default_rng(groups)
    units = np.repeat(np.arange(groups), 40)
    blind = shown = 0
    for _ in range(ROUNDS):
        before = generator.exponential(0.3, len(units))
        after = before + 0.3 * generator.normal(size=groups)[units]
        gain, error = gained(before, after, np.ones(len(units)), units, 2)
        shown += gain > error
        gain, error = gained(before, after, np.ones(len(units)), np.arange(len(units)), 2)
        blind += gain > error
    assert shown / ROUNDS < 0.25
    assert blind / ROUNDS > 0.35


@pytest.mark.parametrize("held_out", [10, 50, 200])
def test_of_many_passes_that_win_nothing_one_may_pass(held_out: int):
    """Asked after each of eight passes of a walk that leads nowhere, chance has more of a say."""
    generator = np.random.default_rng(held_out)
    shown = 0
    for _ in range(ROUNDS):
        before = generator.exponential(0.3, held_out)
        walk = np.cumsum(generator.normal(0, 0.1, (8, held_out)), axis=0)
        passes = [
            gained(before, before + step, np.ones(held_out), np.arange(held_out), 2)
            for step in walk
        ]
        shown += any(gain > error for gain, error in passes)
    assert shown / ROUNDS < 0.4


def test_of_passes_that_cannot_be_told_apart_the_last_is_kept(
    convolutional: Lesson, monkeypatch: pytest.MonkeyPatch
):
    """Against the lowest so far: lower, a little higher, clearly higher, and that again."""
    answers = iter([(-0.3, 0.1), (0.05, 0.1), (0.4, 0.1), (0.4, 0.1)])
    monkeypatch.setattr("regraft.train.loop.gained", lambda *_: next(answers))
    report = convolutional.train(replace(SHORT, epochs=9, patience=2)).reports[0]
    assert report.best.epoch == 2
    assert [held.epoch for held in report.history] == [0, 1, 2, 3, 4], "patience has an end"


def test_a_pass_is_compared_with_the_one_of_least_loss(
    convolutional: Lesson, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    def heard(losses, lowest, *rest):
        seen.append((float(losses.mean()), float(lowest.mean())))
        return gained(losses, lowest, *rest)

    monkeypatch.setattr("regraft.train.loop.gained", heard)
    report = convolutional.train(replace(SHORT, epochs=5, patience=5)).reports[0]
    losses = [held.log_loss for held in report.history]
    assert [now for now, _ in seen] == pytest.approx(losses[1:])
    assert [least for _, least in seen] == pytest.approx(
        [min(losses[: n + 1]) for n in range(len(seen))]
    )
