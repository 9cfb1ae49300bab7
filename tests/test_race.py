"""The race: who wins, who is told to, and what it costs; with contenders of known quality."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from commands import run
from pictures import write_classes
from regraft.advice.coach import StudioCoach, heats_of
from regraft.advice.coaching import Answers, Array, FailedError, Heat, Whole
from regraft.advice.contenders import Contender, contenders, starts_of
from regraft.advice.control import Control, run_control
from regraft.advice.outcome import Race
from regraft.advice.paired import Difference, paired_difference
from regraft.advice.plan import MARGIN, Offer, plan
from regraft.advice.race import run_race
from regraft.advice.textbook import Case
from regraft.backbones.registry import get_backbone
from regraft.bundle.model import load
from regraft.cli_options import parse_budget, parse_strategy
from regraft.data.splits import folds
from regraft.energy import Energy
from regraft.errors import UserError
from regraft.frozen.files import training_folder
from regraft.options import FitOptions, Overrides
from regraft.price import Price
from regraft.terminal_advice import show_advice
from regraft.train.compute import Arithmetic
from regraft.train.network import boundary_before

ONE, TWO, THREE = (Contender("partial", f"blocks.{number}") for number in (3, 2, 1))
N = 500


@dataclass
class Paddock:
    """A coach whose contenders are right with a known probability, and a clock that it moves."""

    y: np.ndarray
    shares: Mapping[Contender, float]
    frozen_share: float
    prices: Mapping[Contender, Price]
    seed: int = 0
    slower: float = 1.0
    pricing: float = 0.1
    now: float = 0.0
    trained: list[tuple[Contender, int]] = field(default_factory=list)

    def price(self, contender: Contender, heat: Heat, over: Callable[[], bool]) -> Price | None:
        for _ in range(10):
            self.now += self.pricing / 10
            if over():
                return None
        return self.prices[contender]

    def train(
        self, contender: Contender, heat: Heat, passes: int, over: Callable[[], bool]
    ) -> Answers | None:
        self.trained.append((contender, int(heat.judged[0])))
        for _ in range(100):
            self.now += self.slower * self.prices[contender].seconds(passes) / 100
            if over():
                return None
        return Answers(self._answers(self.shares[contender], heat, contender.name), improved=True)

    def finish(self, heat: Heat) -> float:
        return 0.5

    def frozen(self, heat: Heat, *, with_held_out: bool = False) -> Array:
        return self._answers(self.frozen_share, heat, "")

    def _answers(self, share: float, heat: Heat, name: str) -> Array:
        rng = np.random.default_rng([self.seed, len(name), *name.encode(), int(heat.judged[0])])
        right = rng.random(len(heat.judged)) < share
        told = np.where(right, self.y[heat.judged], 1 - self.y[heat.judged])
        return np.eye(2)[told] * 0.8 + 0.1


def heats(y: np.ndarray) -> tuple[Heat, ...]:
    rows = np.arange(len(y))
    return heats_of(rows, y, folds(y, rows, 5, 0), rows)


def whole(y: np.ndarray) -> Heat:
    """Four fifths train, a fifth says when to stop; there is nothing to test."""
    rows = np.arange(len(y))
    return Heat(rows[rows % 5 > 0], rows[rows % 5 == 0], rows[:0])


def raced(
    shares: Mapping[Contender, float],
    frozen: float,
    *,
    budget: float = 1e6,
    prices: Mapping[Contender, Price] | None = None,
    seed: int = 0,
    slower: float = 1.0,
    pricing: float = 0.1,
    follows: bool = False,
    again: float = 0.0,
) -> tuple[Race, Paddock]:
    y = np.random.default_rng(seed).permutation(np.arange(N) % 2)
    cost = prices or dict.fromkeys(shares, Price(5.0, 1.0, 10))
    paddock = Paddock(y, shares, frozen, cost, seed, slower, pricing)
    race = run_race(
        paddock,
        list(shares),
        heats(y),
        y,
        np.arange(N),
        budget=budget,
        whole=Whole(whole(y), again, follows),
        clock=lambda: paddock.now,
    )
    return race, paddock


def let_race(paddock: Paddock, weights: np.ndarray | None = None) -> Race:
    """Let all race whom a coach has, with time for everything."""
    y = paddock.y
    return run_race(
        paddock,
        list(paddock.shares),
        heats(y),
        y,
        np.arange(N),
        budget=1e6,
        whole=Whole(whole(y), 0.0, follows=False),
        weights=weights,
        clock=lambda: paddock.now,
    )


def test_the_folds_of_a_race_share_no_picture():
    for heat in heats(np.arange(100) % 4):
        parts = np.concatenate([heat.train, heat.held_out, heat.judged])
        assert sorted(parts) == list(range(100))
    judged = np.concatenate([heat.judged for heat in heats(np.arange(100) % 4)])
    assert sorted(judged) == list(range(100))
    y = np.arange(40) % 2
    assert heats_of(np.arange(40), y, y, np.arange(40)) == ()  # two folds
    assert (
        heats_of(np.arange(9), y[:9], np.arange(9) % 3, np.arange(9)) == ()
    )  # three pictures a fold


def test_a_small_group_does_not_forbid_a_race():
    sizes = (250, 250, 250, 250, 4)
    units = np.repeat(np.arange(5), sizes)
    y = np.arange(len(units)) % 2
    rows = np.arange(len(units))
    found = heats_of(rows, y, folds(y, units, 5, 0), units)
    assert len(found) == 4
    for heat in found:
        assert set(units[heat.judged]) <= {0, 1, 2, 3}
        assert set(rows[1000:]) <= set(heat.train), "the small one always trains"


def test_who_is_judged_on_a_class_has_trained_on_it():
    y = np.array([0] * 20 + [1] * 20 + [2] * 2 + [3] * 2)
    rows = np.arange(len(y))
    for seed in range(40):
        for heat in heats_of(rows, y, folds(y, rows, 5, seed), rows):
            assert set(y[heat.judged]) <= set(y[heat.train])
            assert len(heat.held_out)
            parts = np.concatenate([heat.train, heat.held_out, heat.judged])
            assert sorted(parts) == list(rows)


def test_a_group_does_not_train_and_say_when_to_stop():
    """The only group of a class trains whole, its pictures of another class too."""
    y = np.array([0] * 40 + [1] * 40 + [2, 2, 1, 1])
    rows = np.arange(len(y))
    units = np.concatenate([np.arange(80) // 4, [20, 20, 20, 20]])
    dealt = np.concatenate([np.arange(20).repeat(4) % 5, [3] * 4])
    for heat in heats_of(rows, y, dealt, units):
        parts = (heat.train, heat.held_out, heat.judged)
        assert sorted(np.concatenate(parts)) == list(rows)
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not set(units[parts[one]]) & set(units[parts[other]])


def test_the_best_wins_and_the_worse_half_goes_each_time():
    race, paddock = raced({ONE: 0.80, TWO: 0.95, THREE: 0.7}, 0.75)
    assert race.winner == TWO
    assert race.passes == 10
    assert [e.folds for e in race.entrants] == [2, 3, 1]
    outcomes = [e.outcome for e in race.entrants]
    assert outcomes == ["eliminated after fold 2", "won", "eliminated after fold 1"]
    assert len(paddock.trained) == 7
    assert race.n_fresh == 100
    assert race.fresh is not None
    assert race.fresh.low < 0.95 < race.fresh.high
    winner = race.entrants[1]
    assert winner.gain is not None
    assert winner.gain.ci95[0] < 0.2 < winner.gain.ci95[1]
    assert winner.n == 300
    assert any("won" in sentence for sentence in race.sentences)


def test_the_frozen_network_wins_where_training_does_not_pay():
    race, _ = raced({ONE: 0.7, TWO: 0.75}, 0.9)
    assert race.winner is None
    assert race.passes == 0
    assert race.as_dict()["winner"] == "features"
    assert "did not pay" in race.sentences[0]


def test_of_equals_the_frozen_network_mostly_wins():
    wins = [raced({ONE: 0.85, TWO: 0.85, THREE: 0.85}, 0.85, seed=s)[0].winner for s in range(150)]
    assert np.mean([winner is not None for winner in wins]) < 0.3


def test_a_gain_of_ten_points_is_nearly_always_seen():
    wins = [raced({ONE: 0.9, TWO: 0.85}, 0.8, seed=seed)[0].winner for seed in range(150)]
    assert np.mean([winner is not None for winner in wins]) > 0.9


@pytest.mark.parametrize("frozen", [0.5, 0.8])
def test_the_fresh_fold_tells_the_truth_where_selection_flatters(frozen):
    fresh, seen, inside = [], [], []
    for seed in range(400):
        race, _ = raced({ONE: 0.8, TWO: 0.8, THREE: 0.8}, frozen, seed=seed)
        assert race.fresh is not None
        fresh.append(race.fresh.value)
        inside.append(race.fresh.low <= 0.8 <= race.fresh.high)
        seen += [
            e.accuracy.value for e in race.entrants if e.contender == race.winner and e.accuracy
        ]
    assert np.mean(fresh) == pytest.approx(0.8, abs=0.006)
    assert np.mean(seen) > np.mean(fresh) + 0.003
    assert 0.93 <= np.mean(inside) <= 0.98


def test_who_fails_does_not_stop_the_others():
    class Broken(Paddock):
        def price(self, contender: Contender, heat: Heat, over: Callable[[], bool]) -> Price | None:
            if contender == ONE:
                raise FailedError("too little memory")
            return super().price(contender, heat, over)

        def train(self, contender, heat, passes, over):
            if contender == TWO:
                raise FailedError("the loss exploded")
            return super().train(contender, heat, passes, over)

    y = np.random.default_rng(0).permutation(np.arange(N) % 2)
    shares = {ONE: 0.99, TWO: 0.99, THREE: 0.9}
    paddock = Broken(y, shares, 0.7, dict.fromkeys(shares, Price(5.0, 1.0, 10)))
    race = let_race(paddock)
    assert race.winner == THREE
    outcomes = [e.outcome for e in race.entrants]
    assert outcomes == ["failed: too little memory", "failed: the loss exploded", "won"]


def with_failures(fails: Callable[[Contender, int], bool], seed: int = 0) -> Race:
    """Let five that are as good as the frozen network race, of which some fail on some folds."""

    class Failing(Paddock):
        def train(self, contender, heat, passes, over):
            fold = 1 + sum(name == contender for name, _ in self.trained)
            found = super().train(contender, heat, passes, over)
            if fails(contender, fold):
                raise FailedError("the loss exploded")
            return found

    y = np.random.default_rng(seed).permutation(np.arange(N) % 2)
    shares = {Contender("partial", f"blocks.{n}"): 0.8 for n in range(5)}
    paddock = Failing(y, shares, 0.8, dict.fromkeys(shares, Price(5.0, 1.0, 10)), seed)
    return let_race(paddock)


def test_who_fails_on_a_later_fold_does_not_win():
    for seed in range(20):
        race = with_failures(lambda _, fold: fold == 2, seed)
        assert race.winner is None
        failed = [e.outcome.startswith("failed") for e in race.entrants]
        assert race.decided == (not any(failed))
        if not race.decided:
            assert "was not decided" in race.sentences[0]
            assert "and then failed: the loss exploded" in race.sentences[0]
            assert race.as_dict()["decided"] is False


def test_a_race_that_all_leave_by_its_rules_is_decided():
    """The best of two is clearly behind the frozen network; the other one is eliminated."""

    class Unsteady(Paddock):
        def _answers(self, share: float, heat: Heat, name: str) -> Array:
            found = super()._answers(0.95, heat, "")
            if name == ONE.name:  # a little worse everywhere
                return 0.5 + 0.75 * (found - 0.5)
            if name == TWO.name:  # worse on average, by two pictures
                found[:2] = 0.001 + 0.998 * np.eye(2)[1 - self.y[heat.judged[:2]]]
            return found

    y = np.random.default_rng(0).permutation(np.arange(N) % 2)
    shares = {ONE: 0.6, TWO: 0.6}
    paddock = Unsteady(y, shares, 0.95, dict.fromkeys(shares, Price(5.0, 1.0, 10)))
    race = let_race(paddock)
    assert race.winner is None
    outcomes = [entrant.outcome for entrant in race.entrants]
    assert outcomes == ["behind the frozen network after fold 1", "eliminated after fold 1"]
    assert race.decided
    assert race.sentences[0].startswith("Training layers did not pay")


def test_where_all_fail_it_is_no_matter_of_time():
    race = with_failures(lambda *_: True)
    assert race.winner is None
    assert race.sentences[0] == (
        "No way to train layers could be judged: partial blocks.0 failed (the loss exploded)."
    )


def test_what_decided_stands_in_the_record():
    race, _ = raced({ONE: 0.95, TWO: 0.7}, 0.75)
    rows = {row["strategy"]: row for row in race.as_dict()["entrants"]}
    told = rows["partial blocks.3"]["log_loss_difference"]
    assert told["mean"] < -told["error"] < 0
    assert told["freedom"] > 100
    assert f"standard error {told['error']:.3f}" in race.sentences[0]


@pytest.mark.parametrize("slower", [0.7, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("budget", [20.0, 60.0, 100.0, 300.0])
@pytest.mark.parametrize("pricing", [0.1, 8.0])
@pytest.mark.parametrize("follows", [False, True])
def test_a_budget_is_kept(budget, slower, pricing, follows):
    shares = {ONE: 0.9, TWO: 0.9, THREE: 0.9}
    race, _ = raced(shares, 0.7, budget=budget, slower=slower, pricing=pricing, follows=follows)
    assert race.seconds <= 1.05 * budget
    for entrant in race.entrants:
        assert entrant.folds or entrant.outcome


def test_who_costs_too_much_is_not_tried_and_it_is_said_why():
    prices = {ONE: Price(5.0, 1.0, 10), TWO: Price(400.0, 60.0, 20)}
    race, paddock = raced({ONE: 0.9, TWO: 0.99}, 0.7, budget=200.0, prices=prices)
    assert race.winner == ONE
    assert {contender for contender, _ in paddock.trained} == {ONE}
    assert (
        race.entrants[1].outcome
        == "not tried: a fold takes about 1,920 s, and 200 s were left for all folds of a race"
    )
    assert race.entrants[1].accuracy is None
    nothing, _ = raced({TWO: 0.99}, 0.7, budget=200.0, prices=prices)
    assert nothing.winner is None
    assert nothing.fresh is None
    assert "could be tried" in nothing.sentences[0]


def test_who_would_take_longer_than_one_without_time_is_not_priced():
    prices = {
        ONE: Price(400.0, 60.0, 20),
        TWO: Price(500.0, 60.0, 20),
        THREE: Price(600.0, 60.0, 20),
    }
    race, paddock = raced(dict.fromkeys(prices, 0.9), 0.7, budget=200.0, prices=prices)
    assert paddock.now == pytest.approx(2 * paddock.pricing)
    assert [entrant.outcome for entrant in race.entrants] == [
        "not tried: a fold takes about 1,920 s, and 200 s were left for all folds of a race",
        "not tried: it takes longer than partial blocks.3",
        "not tried: it takes longer than partial blocks.3",
    ]


def test_the_fresh_figure_of_the_frozen_network_is_given_where_all_are_behind_it():
    race, _ = raced({ONE: 0.6, TWO: 0.6}, 0.95)
    assert all(e.outcome.startswith("behind the frozen network") for e in race.entrants)
    assert race.fresh is not None
    assert race.fresh.low < 0.95 < race.fresh.high


def test_weights_decide_where_classes_count_the_same():
    """Of 500 pictures 50 are of the rare class, at which the contender is better, and alone."""

    class Uneven(Paddock):
        def _answers(self, share: float, heat: Heat, name: str) -> Array:
            rare = self.y[heat.judged] == 1
            right = ~rare | (np.arange(len(rare)) % 2 == 0) if name else ~rare
            if name:
                right &= rare | (np.arange(len(rare)) % 10 > 0)
            told = np.where(right, self.y[heat.judged], 1 - self.y[heat.judged])
            return np.eye(2)[told] * 0.8 + 0.1

    y = np.random.default_rng(0).permutation((np.arange(N) % 10 == 0).astype(int))
    winners = []
    for weights in (None, 1 / np.bincount(y)[y]):
        paddock = Uneven(y, {ONE: 1.0}, 1.0, {ONE: Price(5.0, 1.0, 10)})
        race = let_race(paddock, weights)
        winners.append(race.winner)
        (entrant,) = race.entrants
        assert entrant.gain is not None
        assert entrant.accuracy is not None
        right = [paddock._answers(1.0, heat, "").argmax(1) == y[heat.judged] for heat in heats(y)]
        frozen = np.concatenate(right[: entrant.folds]).mean()
        assert entrant.gain.mean == pytest.approx(entrant.accuracy.value - frozen)
    assert winners == [None, ONE]


def test_passes_are_cut_to_what_can_be_afforded():
    race, _ = raced({ONE: 0.9}, 0.7, budget=100.0, prices={ONE: Price(2.0, 2.0, 30)})
    assert race.winner == ONE
    assert 3 <= race.passes < 30


@pytest.mark.parametrize("budget", [120.0, 240.0, 480.0])
def test_so_many_take_part_that_the_race_can_be_finished(budget):
    prices = dict.fromkeys((ONE, TWO, THREE), Price(5.0, 2.0, 30))
    race, _ = raced({ONE: 0.9, TWO: 0.9, THREE: 0.9}, 0.7, budget=budget, prices=prices)
    assert race.winner is not None
    assert race.fresh is not None
    assert not any("time was up" in e.outcome for e in race.entrants)


def test_time_is_left_to_train_the_winner_on_all_pictures():
    prices = {ONE: Price(2.0, 2.0, 10)}
    race, _ = raced({ONE: 0.9}, 0.7, budget=200.0, prices=prices, follows=True, again=1.25)
    assert race.winner == ONE
    assert race.fresh is None, "the test part says more"
    after = prices[ONE].seconds(race.passes_on_all) + 1.25 * 2.0 * race.passes_on_all
    assert race.seconds + after <= 200


SCRATCH = Contender("scratch")


@pytest.mark.parametrize(
    ("budget", "winner", "straight"),
    [
        (400.0, TWO, None),
        (160.0, None, TWO),
        (100.0, None, TWO),
        (40.0, None, ONE),
        (6.0, None, None),
    ],
)
def test_without_time_for_a_race_one_is_trained_straight_away(budget, winner, straight):
    prices = {
        ONE: Price(2.0, 2.0, 10),
        TWO: Price(5.0, 5.0, 10),
        THREE: Price(10.0, 10.0, 10),
        SCRATCH: Price(10.0, 10.0, 10),
    }
    shares = {ONE: 0.8, TWO: 0.95, THREE: 0.9, SCRATCH: 0.6}
    race, paddock = raced(shares, 0.75, budget=budget, prices=prices, follows=True)
    assert (race.winner, race.straight) == (winner, straight)
    assert race.trained == (winner or straight)
    assert bool(paddock.trained) == (winner is not None)
    if race.trained is not None:
        after = prices[race.trained].seconds(race.passes_on_all)
        assert race.seconds + after <= budget
    if straight is not None:
        assert race.passes_on_all == 10
        assert straight in (ONE, TWO), "what trains more takes longer and seldom brings more"
        assert race.as_dict()["straight"] == straight.name
        assert f"{straight.name} was trained straight away" in race.sentences[0]


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("budget", [90.0, 120.0])
def test_with_what_is_said_to_lack_two_race(budget, follows):
    prices = {ONE: Price(50.0, 2.0, 20), TWO: Price(60.0, 4.0, 20), THREE: Price(90.0, 9.0, 20)}
    shares = dict.fromkeys(prices, 0.9)
    race, _ = raced(shares, 0.7, budget=budget, prices=prices, follows=follows)
    assert not any(entrant.folds for entrant in race.entrants)
    assert race.lacks > 60
    assert "more there can be a race" in race.sentences[0]
    longer, _ = raced(shares, 0.7, budget=budget + race.lacks + 1, prices=prices, follows=follows)
    assert sum(entrant.folds > 0 for entrant in longer.entrants) >= 2
    assert longer.lacks == 0


def test_a_plan_never_takes_more_than_there_is():
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(2000):
        offers = [
            Offer(
                Price(scale, scale * rng.uniform(0.2, 2), int(rng.integers(1, 30))),
                Price(scale, scale * rng.uniform(0.2, 3), int(rng.integers(1, 20))),
                again=float(rng.choice([0.0, 1.25])),
                guarded=bool(rng.random() < 0.8),
            )
            for scale in np.sort(10 ** rng.uniform(-1, 2, size=rng.integers(1, 6)))
        ]
        seconds, follows = float(10 ** rng.uniform(0, 4)), bool(rng.random() < 0.5)
        found = plan(offers, seconds, follows=follows)
        racing = [(offers[place], share) for place, share in found.shares.items()]
        kinds.add((follows, min(len(racing), 2), found.straight is not None))
        if racing:
            costs = sorted((offer.seconds(share) for offer, share in racing), reverse=True)
            alive, spent = costs, 0.0
            while len(alive) > 1:
                spent, alive = spent + sum(alive), alive[: (len(alive) + 1) // 2]
            spent += alive[0] if follows else 2 * alive[0]
            after = max(offer.seconds_on_all(share) for offer, share in racing) if follows else 0
            assert MARGIN * (spent + after) <= seconds * (1 + 1e-9)
            assert found.kept == pytest.approx(MARGIN * after)
            assert found.straight is None
            assert len(racing) == 1 or all(
                share >= (0.8 if follows else 0.5) for _, share in racing
            )
        if found.straight is not None:
            offer = offers[found.straight]
            assert follows
            assert offer.guarded, "random weights are never trained unseen"
            assert MARGIN * offer.seconds_on_all(found.share, again=False) <= seconds
    assert kinds == {
        (True, 0, False),
        (True, 0, True),
        (True, 1, False),
        (True, 2, False),
        (False, 0, False),
        (False, 1, False),
        (False, 2, False),
    }


class Counted:
    """A meter of a machine that takes a kilojoule for whatever it does."""

    def read(self) -> Energy:
        return Energy(1000.0, True, 1.0, None, None)


def controlled(
    winner: Contender | None, scratch: float, *, budget: float = 1e5, seed: int = 0
) -> Control:
    y = np.random.default_rng(seed).permutation(np.arange(N) % 2)
    shares = {ONE: 0.9, SCRATCH: scratch}
    prices = {ONE: Price(5.0, 1.0, 10), SCRATCH: Price(10.0, 4.0, 40)}
    paddock = Paddock(y, shares, 0.8, prices, seed)
    race = Race((), winner, 10, None, 0, 0.0, budget)
    told = run_control(
        paddock,
        heats(y),
        race,
        y,
        np.arange(N),
        budget=budget,
        clock=lambda: paddock.now,
        meter=lambda: nullcontext(Counted()),
    )
    assert paddock.now <= 1.05 * budget, "what is advised is trained within it too"
    if told.folds:
        assert told.scratch_joules == told.joules == 1000 * told.folds
    return told


def test_transfer_that_helps_hurts_or_does_neither_is_told():
    helped = controlled(None, 0.6)
    assert helped.verdict == "helped"
    assert helped.folds == 5
    assert helped.difference is not None
    assert helped.difference.ci95[0] < 0.2 < helped.difference.ci95[1]
    assert (helped.joules, helped.scratch_joules, helped.measured) == (5000, 5000, True)
    assert "5.0 kJ (1.4 Wh) against 5.0 kJ (1.4 Wh) (measured)" in helped.sentence
    assert helped.as_dict()["energy"] == "measured"
    assert controlled(ONE, 0.7).transferred == pytest.approx(0.9, abs=0.04)
    hurt = controlled(None, 0.95)
    assert hurt.verdict == "hurt"
    assert "--strategy scratch" in hurt.sentence
    verdicts = [controlled(None, 0.8, seed=seed).verdict for seed in range(60)]
    assert verdicts.count("cannot tell") >= 55


def test_where_random_weights_won_they_are_compared_with_the_frozen_network():
    hurt = controlled(SCRATCH, 0.95)
    assert hurt.verdict == "hurt"
    assert hurt.transferred == pytest.approx(0.8, abs=0.04)


def test_a_control_that_fails_says_why():
    class Broken(Paddock):
        def train(self, contender, heat, passes, over):
            raise FailedError("too little memory")

    y = np.arange(N) % 2
    paddock = Broken(y, {}, 0.8, {SCRATCH: Price(10.0, 4.0, 40)})
    race = Race((), None, 10, None, 0, 0.0, 1e5)
    told = run_control(
        paddock,
        heats(y),
        race,
        y,
        np.arange(N),
        budget=1e5,
        clock=lambda: paddock.now,
        meter=lambda: nullcontext(Counted()),
    )
    assert told.verdict == "cannot tell"
    assert "a training failed (too little memory)" in told.sentence


def test_a_control_without_time_tells_nothing():
    told = controlled(None, 0.6, budget=15.0)
    assert told.verdict == "cannot tell"
    assert told.scratch is None
    assert "no time" in told.sentence
    assert controlled(ONE, 0.6, budget=220.0).passes < controlled(None, 0.6, budget=220.0).passes
    few = controlled(None, 0.6, budget=220.0)
    assert few.folds == 1
    assert few.n == 100


def test_errors_of_overlapping_folds_are_not_too_small():
    # Two ridge classifiers, each on noisy features of its own: equally good on average.
    means, errors, uncorrected = [], [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.arange(300) % 2)
        signal = 0.35 * np.where(y == 1, 1.0, -1.0)[:, None]
        left, right = (signal + rng.normal(size=(300, 12)) for _ in range(2))
        losses = np.zeros((2, 300))
        dealt = folds(y, np.arange(300), 5, seed)
        for fold in range(5):
            out = dealt == fold
            for loss, X in zip(losses, (left, right), strict=True):
                loss[out] = RidgeClassifier().fit(X[~out], y[~out]).predict(X[out]) != y[out]
        for n_train, kept in ((240, errors), (1e12, uncorrected)):
            found = paired_difference(*losses, np.arange(300), n_train=n_train, folds=5, guess=1.0)
            kept.append(found.error)
        means.append(found.mean)
    told = np.abs(means)
    assert np.mean(told > 1.96 * np.array(errors)) <= 0.05
    assert np.mean(told > 1.96 * np.array(uncorrected)) > 0.08, (
        "without it, chance is taken for more"
    )
    assert 1.0 <= np.mean(errors) / np.std(means) <= 1.6


def test_pictures_of_a_unit_are_one_witness():
    mine = np.repeat(np.random.default_rng(0).normal(size=20), 5)
    alone = paired_difference(mine, mine * 0, np.arange(100), n_train=100, folds=1, guess=1.0)
    together = paired_difference(
        mine, mine * 0, np.arange(100) // 5, n_train=100, folds=1, guess=1.0
    )
    assert together.error > 1.9 * alone.error


@pytest.mark.parametrize("n", [5, 10, 30, 100])
def test_intervals_of_few_pictures_hold_what_they_promise(n: int):
    """Two classifiers that differ on few pictures; both are right about equally often, or not."""
    for better, worse in ((0.05, 0.05), (0.15, 0.05), (0.3, 0.02)):
        held = 0
        rng = np.random.default_rng(n)
        for _ in range(2000):
            drawn = rng.choice([1.0, -1.0, 0.0], size=n, p=[better, worse, 1 - better - worse])
            found = paired_difference(
                drawn, drawn * 0, np.arange(n), n_train=1e9, folds=1, guess=1.0
            )
            low, high = found.ci95
            held += low <= better - worse <= high
        assert held / 2000 >= 0.93
        assert n < 100 or held / 2000 <= 0.985


def test_shares_do_not_differ_by_more_than_all():
    wide = Difference(0.5, 0.3, 3)
    assert wide.ci95[1] > 1
    assert wide.share95 == (wide.ci95[0], 1.0)
    assert Difference(-0.5, 0.3, 3).share95[0] == -1.0


def test_the_same_answers_on_few_pictures_are_no_certainty():
    same = paired_difference(np.ones(8), np.ones(8), np.arange(8), n_train=32, folds=1, guess=1.0)
    assert same.mean == 0
    assert same.ci95[1] > 0.2


def test_who_takes_part_follows_from_the_case():
    partial = ["partial b4", "partial b3", "partial b2"]
    named = {
        (size, likeness): [c.name for c in contenders(["b4", "b3", "b2"], Case(size, likeness))]
        for size in ("small", "large")
        for likeness in ("alike", "unlike")
    }
    assert named["small", "alike"] == partial
    assert named["small", "unlike"] == [*partial, "full"]
    assert named["large", "alike"] == [*partial, "full"]
    assert named["large", "unlike"] == [*partial, "full", "scratch"]


@pytest.mark.parametrize(
    ("network", "starts", "boundaries"),
    [
        (
            "embedded:efficientnet_lite0",
            ["blocks.6", "blocks.5", "blocks.4"],
            ["blocks.5", "blocks.4", "blocks.3"],
        ),
        ("timm:resnet18", ["layer4", "layer3", "layer2"], ["layer3", "layer2", "layer1"]),
        (
            "timm:vit_tiny_patch16_224",
            ["blocks.9", "blocks.6", "blocks.3"],
            ["blocks.8", "blocks.5", "blocks.2"],
        ),
        ("torchvision:alexnet", ["classifier.2"], ["avgpool"]),
    ],
)
def test_training_begins_with_whole_blocks(network, starts, boundaries, cache):
    backbone = get_backbone(network, cache, pretrained=network.startswith("embedded"))
    assert list(starts_of(backbone)) == starts
    assert [boundary_before(backbone, start).name for start in starts] == boundaries


def test_a_budget_is_a_time():
    assert [parse_budget(text) for text in ("90", "90s", "1.5m", "1h", "0")] == [
        90.0,
        90.0,
        90.0,
        3600.0,
        0.0,
    ]
    for wrong in ("soon", "-5m", "5 days", ""):
        with pytest.raises(UserError, match="--budget must be a time"):
            parse_budget(wrong)


def test_a_budget_is_for_auto():
    with pytest.raises(UserError, match=r"budget needs strategy 'auto', got 60\.0 with 'full'"):
        FitOptions(strategy="full", budget=60.0)
    with pytest.raises(UserError, match="budget must be 0 seconds or more, got -1"):
        FitOptions(budget=-1.0)
    with pytest.raises(UserError, match="budget and depth exclude each other"):
        FitOptions(budget=60.0, depth="blocks.4")


def test_an_advice_is_a_strategy(tmp_path):
    file = tmp_path / "advice.json"
    chosen = {"strategy": "partial", "train_from": "layer3", "epochs": 7}
    for advice in (chosen, {"schema_version": 1, "chosen": chosen}):
        file.write_text(json.dumps(advice))
        assert parse_strategy(str(file)) == chosen
    file.write_text(json.dumps({"strategy": "features", "features": "last", "head": "ridge"}))
    assert parse_strategy(str(file)) == {"strategy": "features", "head": "ridge"}
    assert parse_strategy("full") == {"strategy": "full"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "must hold a JSON object"),
        ("{}", "must have 'chosen' with a 'strategy'"),
        ('{"chosen": {"strategy": "magic"}}', "must have 'chosen' with a 'strategy'"),
        ('{"chosen": 3}', "must have 'chosen' with a 'strategy'"),
        ('{"strategy": "auto", "overrides": {"colour": 3}}', "overrides of an advice must be"),
        ('{"strategy": "auto", "overrides": "abc"}', "overrides of an advice must be"),
    ],
)
def test_what_is_no_advice_is_refused(tmp_path, text, message):
    file = tmp_path / "advice.json"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        parse_strategy(str(file))
    with pytest.raises(UserError, match=r"--strategy must be one of .* got 'partail'"):
        parse_strategy("partail")


NETWORK = ("--backbone", "timm:test_resnet", "--no-pretrained", "--size", "64")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"ants": 20, "bees": 20}
    return write_classes(tmp_path_factory.mktemp("raced"), counts, noise=140.0)


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


def test_advise_races_inside_its_budget(photos, tmp_path, capsys):
    record = run("advise", photos, *NETWORK, "--budget", "3m", "--json").json
    race = record["race"]
    assert race["seconds"] <= race["budget"] <= 180
    assert record["seconds"] <= 198
    names = [entrant["strategy"] for entrant in race["entrants"]]
    assert names == ["partial layer4", "partial layer3", "partial layer2", "full"]
    raced = [row for row in record["candidates"] if row["strategy"] != "features"]
    assert raced
    for row in raced:
        assert row["gain_ci95"][0] <= row["gain"] <= row["gain_ci95"][1]
        assert row["seconds"] > 0
    assert any("Training layers" in reason for reason in record["reasons"])
    expected = "features" if race["winner"] == "features" else race["winner"].split()[0]
    assert record["chosen"]["strategy"] == expected
    advice = tmp_path / "advice.json"
    advice.write_text(json.dumps(record))
    assert parse_strategy(str(advice))["strategy"] == expected
    assert parse_strategy(str(advice))["backbone"] == "timm:test_resnet"
    assert parse_strategy(str(advice))["overrides"] == Overrides(size=(64, 64))
    for winner, chosen in (
        ("features", record["chosen"]),
        ("partial layer3", {"strategy": "partial", "train_from": "layer3", "epochs": 7}),
    ):
        show_advice({**record, "chosen": chosen, "race": {**race, "winner": winner}})
        shown = capsys.readouterr().out
        assert "partial layer2" in shown
        assert "→" in shown
    assert "--strategy partial from layer3 on, 7 passes at most" in shown


@pytest.mark.parametrize("spelling", ["{model}", "timm:test_resnet@{model}/model.safetensors"])
def test_a_control_of_weights_from_a_file_trains_the_architecture(
    spelling, photos, tmp_path, monkeypatch
):
    run("fit", photos, "--out", tmp_path / "m", *NETWORK)
    monkeypatch.setattr(StudioCoach, "price", lambda *_: Price(0.1, 0.1, 3))
    monkeypatch.setattr("regraft.train.tune.choose_arithmetic", lambda *_: Arithmetic("cpu"))
    monkeypatch.setattr("regraft.advice.advisor.contenders", lambda *_: ())
    if "@" in spelling:  # where no time is left for a race, the frozen network is compared
        monkeypatch.setattr("regraft.advice.advisor.why_no_race", lambda *_: "no time was left")
    network = ("--backbone", spelling.format(model=tmp_path / "m"), "--size", "64")
    record = run("advise", photos, *network, "--budget", "10m", "--control", "--json").json
    control = record["control"]
    assert (control["folds"], control["n"], control["why_not"]) == (5, 32, "")
    assert control["scratch_seconds"] > 0
    assert control["ci95"][0] <= control["difference"] <= control["ci95"][1]


def test_a_fit_trains_what_won(photos, tmp_path, monkeypatch):
    won = Race((), Contender("partial", "layer4"), 2, None, 0, 1.0, 60.0, passes_on_all=1)
    monkeypatch.setattr("regraft.advice.advisor.race_on", lambda *_, **__: won)
    said = (*NETWORK, "--budget", "5m", "--json")
    record = run("fit", photos, "--out", tmp_path / "m", *said).json
    assert record["race"]["winner"] == "partial layer4"
    assert record["training"][0]["train_from"] == "layer4"
    assert record["training"][0]["epochs"] == 1


def test_a_fit_without_time_for_a_race_trains_straight_away(photos, tmp_path, monkeypatch):
    dear = Price(0.1, 200.0, 2)
    cheap = Price(0.1, 50.0, 2)

    def price(coach: StudioCoach, contender: Contender, *_: object) -> Price:
        return cheap if contender.train_from == "layer4" else dear

    monkeypatch.setattr(StudioCoach, "price", price)
    said = (*NETWORK, "--budget", "20m", "--json")
    record = run("fit", photos, "--out", tmp_path / "m", *said).json
    race = record["race"]
    assert race["winner"] == "features"
    assert race["straight"] == "partial layer3"
    assert {entrant["folds"] for entrant in race["entrants"]} == {0}
    assert record["training"][0]["train_from"] == "layer3"
    assert record["training"][0]["epochs"] <= 2
    assert any("partial layer3 was trained straight away" in note for note in record["notes"])


@pytest.mark.parametrize("place", ["regraft.tuning.Studio.tune", "regraft.learn.prove"])
def test_a_fit_whose_training_fails_in_the_end_still_gives_a_model(
    place, photos, tmp_path, monkeypatch
):
    def fails(*_: object, **__: object) -> None:
        raise UserError("the loss exploded 6 times")

    won = Race((), None, 0, None, 0, 1.0, 60.0, straight=Contender("full"), passes_on_all=1)
    monkeypatch.setattr("regraft.advice.advisor.race_on", lambda *_, **__: won)
    monkeypatch.setattr("regraft.train.tune.Tuned.improved", True)
    monkeypatch.setattr(place, fails)
    record = run("fit", photos, "--out", tmp_path / "m", *NETWORK, "--budget", "9m", "--json").json
    assert record["strategy"]["name"] == "features"
    assert any("failed (the loss exploded 6 times)" in note for note in record["notes"])


def test_random_weights_that_won_a_race_are_guarded_too(photos, tmp_path, monkeypatch):
    won = Race((), Contender("scratch"), 1, None, 0, 1.0, 60.0, passes_on_all=1)
    monkeypatch.setattr("regraft.advice.advisor.race_on", lambda *_, **__: won)
    monkeypatch.setattr("regraft.train.tune.Tuned.improved", True)
    monkeypatch.setattr("regraft.against_frozen.AgainstFrozen.behind", True)
    said = (*NETWORK, "--budget", "10m", "--json")
    record = run("fit", photos, "--out", tmp_path / "m", *said).json
    assert record["training"]
    assert record["strategy"]["name"] == "features"


def test_a_fit_that_takes_longer_than_it_may_says_so(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("regraft.app.is_late", lambda *_: True)
    said = (*NETWORK, "--budget", "1s", "--json")
    record = run("fit", photos, "--out", tmp_path / "m", *said).json
    assert any("longer than the 1 s that were given" in note for note in record["notes"])
    assert record["race"] is None
    assert any("too little time was left" in note for note in record["notes"])


def test_pricing_hears_the_clock(photos, tmp_path, monkeypatch):
    """A step that is timed is the last one where time is up."""
    from regraft.train import speed

    steps = []
    seconds = speed._seconds

    def counted(part, batch, arithmetic, stop):
        def told() -> bool:
            steps.append(1)
            return stop() or len(steps) > 2

        return seconds(part, batch, arithmetic, told)

    monkeypatch.setattr(speed, "_seconds", counted)
    record = run("advise", photos, *NETWORK, "--budget", "3m", "--json").json
    outcomes = [entrant["outcome"] for entrant in record["race"]["entrants"]]
    assert set(outcomes) == {"not tried: no time was left"}
    assert len(steps) == 3 + len(outcomes) - 1


def test_a_fit_that_runs_out_of_time_still_gives_a_model(photos, tmp_path, monkeypatch):
    won = Race((), Contender("full"), 30, None, 0, 1.0, 60.0, passes_on_all=30)
    monkeypatch.setattr("regraft.advice.advisor.race_on", lambda *_, **__: won)
    monkeypatch.setattr("regraft.advice.advisor.why_no_race", lambda *_: None)
    folder = training_folder(Path(os.environ["REGRAFT_CACHE"]))
    before = set(folder.glob("*"))
    record = run("fit", photos, "--out", tmp_path / "m", *NETWORK, "--budget", "1s", "--json").json
    assert record["strategy"]["name"] == "features"
    assert any("time was up" in note for note in record["notes"])
    assert set(folder.glob("*")) <= before, "nobody goes on from there"


def test_a_winner_that_is_trained_in_vain_leaves_the_head_that_was_asked_for(
    photos, tmp_path, monkeypatch
):
    won = Race((), Contender("full"), 1, None, 0, 1.0, 60.0, passes_on_all=1)
    monkeypatch.setattr("regraft.advice.advisor.race_on", lambda *_, **__: won)
    monkeypatch.setattr("regraft.train.tune.Tuned.improved", False)
    said = ("--budget", "10m", "--head", "ridge", "--json")
    record = run("fit", photos, "--out", tmp_path / "m", *NETWORK, *said).json
    assert record["training"]
    assert record["strategy"]["name"] == "features"
    assert record["strategy"]["head"] == "ridge"


def test_a_fit_follows_an_advice_in_all_that_it_was_measured_with(photos, tmp_path):
    said = ("--seed", "5", "--test-fraction", "0.4", "--budget", "0", "--json")
    said = (*said, "--precision", "f32")
    advice = run("advise", photos, *NETWORK, *said, "--head", "ridge").json
    file = tmp_path / "advice.json"
    file.write_text(json.dumps(advice))
    fitted = run("fit", photos, "--out", tmp_path / "m", "--strategy", file, "--json").json
    assert fitted["strategy"]["backbone"] == "timm:test_resnet"
    assert fitted["strategy"]["head"] == "ridge"
    assert fitted["strategy"]["features"] == advice["chosen"]["features"]
    assert fitted["counts"]["test"] == 16
    assert fitted["provenance"]["seed"] == 5
    assert not any("other classes" in note for note in fitted["notes"])
    assert fitted["strategy"]["precision"] == "f32"
    others = write_classes(tmp_path / "others", {"moss": 8, "sand": 8})
    elsewhere = run("fit", others, "--out", tmp_path / "e", "--strategy", file, "--json").json
    assert any("pictures of other classes" in note for note in elsewhere["notes"])
    aloud = ("--strategy", file, "--seed", "6", "--json")
    other = run("fit", photos, "--out", tmp_path / "n", *aloud).json
    assert other["provenance"]["seed"] == 6
    default = (
        "--strategy", file, "--seed", "0", "--head", "logistic", "--crop", "squash", "--json",
    )  # fmt: skip
    other = run("fit", photos, "--out", tmp_path / "o", *default).json
    assert other["provenance"]["seed"] == 0
    assert other["strategy"]["head"] == "logistic"
    read = load(tmp_path / "o").preprocess
    assert read.size == (64, 64), "what is not said aloud stays as advised"
    assert read.crop_pct is None


def test_the_test_part_has_no_say_in_a_race(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(StudioCoach, "price", lambda *_: Price(0.1, 0.1, 3))
    monkeypatch.setattr("regraft.train.tune.choose_arithmetic", lambda *_: Arithmetic("cpu"))
    starters = (Contender("partial", "layer4"), Contender("full"))
    monkeypatch.setattr("regraft.advice.advisor.contenders", lambda *_: starters)
    clean, poisoned = tmp_path / "clean", tmp_path / "poisoned"
    for folder in (clean, poisoned):
        shutil.copytree(photos, folder / "train")
    write_classes(clean / "test", {"ants": 6, "bees": 6}, first=500, noise=140.0)
    write_classes(poisoned / "test", {"bees": 9, "ants": 2}, first=900, noise=10.0)
    found = []
    for folder in (clean, poisoned):
        said = ("--budget", "10m", "--json")
        record = run("advise", folder, *NETWORK, *said).json
        assert record["race"]["entrants"][0]["folds"] > 0
        found.append(without_seconds(record))
    assert found[0] == found[1]


def without_seconds(values: Any) -> Any:
    """Leave out what a clock decides."""
    if isinstance(values, dict):
        kept = {k: v for k, v in values.items() if not k.endswith("seconds")}
        return {k: without_seconds(v) for k, v in kept.items() if k != "budget"}
    return [without_seconds(value) for value in values] if isinstance(values, list) else values


def test_a_fit_without_a_budget_says_what_one_is_for(photos, tmp_path):
    record = run("fit", photos, "--out", tmp_path / "m", *NETWORK, "--json").json
    assert record["race"] is None
    assert any("--budget" in note for note in record["notes"])
