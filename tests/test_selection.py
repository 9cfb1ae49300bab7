"""What is chosen, by which rule, and that nothing leaks from held-out pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.backbones.cuts import Cut, TensorSpec
from regraft.candidates import candidate_sets
from regraft.data.splits import folds
from regraft.errors import UserError
from regraft.heads import DEFAULT_STRENGTH, STRENGTHS, fit_linear, study
from regraft.heads.fitting import ROUGH
from regraft.heads.held_out import Entry, Task
from regraft.heads.study import within_budget
from regraft.heads.tables import ArrayTable
from regraft.heads.temperature import fit_temperature
from regraft.heads.trials import Trial
from regraft.selection import (
    Choice,
    choose,
    fit_head,
)
from regraft.strategy import HEAD_KINDS, FeatureSet, HeadKind, Tap

GOOD, NOISE, ALSO = Tap("good"), Tap("noise"), Tap("also", "std")
SETS = tuple(
    FeatureSet(name, taps)
    for name, taps in {
        "noise": (NOISE,),
        "good": (GOOD,),
        "both": (GOOD, ALSO),
        "everything": (GOOD, ALSO, NOISE),
    }.items()
)


def deal(y: np.ndarray, n_folds: int = 5, seed: int = 0) -> np.ndarray:
    """Deal each class out to the folds in turn."""
    generator = np.random.default_rng(seed)
    found = np.empty(len(y), dtype=np.intp)
    for label in np.unique(y):
        places = generator.permutation(np.flatnonzero(y == label))
        found[places] = (np.arange(len(places)) + label) % n_folds
    return found


def pictures(
    n: int, n_classes: int, *, seed: int = 0, distance: float = 2.0
) -> tuple[ArrayTable, np.ndarray]:
    """One tap that tells the classes apart, one that repeats it with noise, one of noise."""
    generator = np.random.default_rng(seed)
    y = generator.permutation(np.arange(n) % n_classes).astype(np.intp)
    centres = np.random.default_rng(99).normal(size=(n_classes, 16)) * distance / 4
    good = centres[y] + generator.normal(size=(n, 16))
    also = good[:, :8] + 3 * generator.normal(size=(n, 8))
    noise = generator.normal(size=(n, 40))
    table = ArrayTable(
        {tap: X.astype(np.float32) for tap, X in ((GOOD, good), (ALSO, also), (NOISE, noise))}
    )
    return table, y


def pick(table: ArrayTable, y: np.ndarray, n_classes: int, **options: Any) -> Choice:
    options.setdefault("rows", np.arange(len(y)))
    if "validation" not in options:
        options.setdefault("folds", deal(y[options["rows"]]))
    return choose(table, y, n_classes, **{"sets": SETS, **options})


def maps(names: Sequence[str]) -> list[Cut]:
    return [Cut(name, (TensorSpec("NCHW", (8, 7, 7)),)) for name in names]


def test_candidates_of_an_ordinary_network() -> None:
    sets = {features.name: features.taps for features in candidate_sets(maps("abcd"))}
    assert list(sets) == [
        "last",
        "last-2",
        "last-3",
        "last-std",
        "last-max",
        "all",
        "last-grid",
        "all-std",
        "middle-grid",
    ]
    assert sets["last-2"] == (Tap("c"), Tap("d"))
    assert sets["last-grid"] == (Tap("d"), Tap("c", "grid"))
    read = {tap for taps in sets.values() for tap in taps}
    assert read == {
        *(Tap(cut) for cut in "abcd"),
        *(Tap(cut, "std") for cut in "abcd"),
        Tap("d", "max"),
        Tap("b", "grid"),
        Tap("c", "grid"),
    }
    assert sets["middle-grid"] == (Tap("b", "grid"), Tap("c", "grid"))


def test_candidates_of_a_transformer() -> None:
    """Its last cut is a vector: what needs a map is taken from the tokens before it."""
    tokens = [Cut(name, (TensorSpec("NLC", (197, 8), 1),)) for name in "abc"]
    cuts = [*tokens, Cut("d", (TensorSpec("NC", (8,)),))]
    sets = {features.name: features.taps for features in candidate_sets(cuts)}
    assert sets["last"] == (Tap("d"),)
    assert sets["last-std"] == (Tap("d"), Tap("c", "std"))
    assert sets["last-max"] == (Tap("d"), Tap("c", "max"))
    assert sets["middle-grid"] == (Tap("b", "grid"), Tap("c", "grid"))
    assert all(tap.pooling == "avg" for taps in sets.values() for tap in taps if tap.cut == "d")


@pytest.mark.parametrize("cuts", [["a"], ["a", "b"], ["a", "b", "c"], list("abcdefghi")])
def test_candidates_are_few_and_differ(cuts: list[str]) -> None:
    sets = candidate_sets(maps(cuts))
    assert sets[0].taps == (Tap(cuts[-1]),)
    assert 1 <= len(sets) <= 9
    assert len({frozenset(features.taps) for features in sets}) == len(sets)
    assert all(features.taps for features in sets)


@pytest.mark.parametrize("head", HEAD_KINDS)
@pytest.mark.parametrize("metric", ["log_loss", "balanced_accuracy"])
def test_the_informative_set_is_chosen(head: HeadKind, metric: str) -> None:
    table, y = pictures(150, 3, distance=4)
    choice = pick(table, y, 3, head=head, metric=metric)
    assert choice.features.name in {"good", "both"}
    assert choice.method == "cross-validation"
    assert [row.features.name for row in choice.evidence] == [s.name for s in SETS]
    assert choice.strength in STRENGTHS[head]
    row = choice.chosen
    assert row is not None
    assert row.n == 150
    assert row.accuracy > 0.8
    assert row.behind <= row.behind_se or row.behind == 0


def test_one_standard_error_prefers_the_simple_and_yields_to_the_better() -> None:
    generator = np.random.default_rng(0)
    y = np.arange(200).astype(np.intp) % 2
    weak = (y[:, None] + generator.normal(size=(200, 4))).astype(np.float32)
    twin = (weak + generator.normal(size=(200, 4)) * 1e-3).astype(np.float32)
    strong = (3 * y[:, None] + generator.normal(size=(200, 4))).astype(np.float32)
    table = ArrayTable({Tap("weak"): weak, Tap("twin"): twin, Tap("strong"): strong})
    simple = FeatureSet("simple", (Tap("weak"),))
    twins = FeatureSet("twins", (Tap("weak"), Tap("twin")))
    better = FeatureSet("better", (Tap("weak"), Tap("strong")))
    assert pick(table, y, 2, sets=(simple, twins)).features == simple
    assert pick(table, y, 2, sets=(twins, simple)).features == twins
    choice = pick(table, y, 2, sets=(simple, better))
    assert choice.features == better
    first, second = choice.evidence
    assert (second.behind, second.behind_se) == (0, 0)
    assert first.behind > first.behind_se > 0
    assert first.behind == pytest.approx(first.log_loss - second.log_loss)


def test_of_sets_that_leave_nothing_to_be_gained_the_simplest_is_taken() -> None:
    generator = np.random.default_rng(0)
    y = np.arange(200).astype(np.intp) % 2
    far = (12 * y[:, None] + generator.normal(size=(200, 4))).astype(np.float32)
    farther = (60 * y[:, None] + generator.normal(size=(200, 4))).astype(np.float32)
    table = ArrayTable({Tap("far"): far, Tap("farther"): farther})
    simple = FeatureSet("simple", (Tap("far"),))
    sure = FeatureSet("sure", (Tap("far"), Tap("farther")))
    choice = pick(table, y, 2, sets=(simple, sure))
    first, second = choice.evidence
    assert first.behind > first.behind_se, "or this test shows nothing"
    assert second.log_loss < first.log_loss < 1e-3
    assert choice.features == simple


@pytest.mark.parametrize("head", HEAD_KINDS)
def test_random_labels_look_random(head: HeadKind) -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(120, 600)).astype(np.float32)
    y = generator.permutation(np.arange(120) % 2).astype(np.intp)
    choice = pick(ArrayTable({GOOD: X}), y, 2, sets=(FeatureSet("only", (GOOD,)),), head=head)
    row = choice.chosen
    assert row is not None
    assert 0.33 < row.accuracy < 0.67
    assert row.log_loss > 0.66


def test_evidence_equals_a_plain_cross_validation() -> None:
    table, y = pictures(90, 3)
    folds = deal(y)
    choice = pick(table, y, 3, folds=folds, sets=SETS[1:2])
    losses, right = np.empty(90), np.empty(90)
    for fold in range(5):
        train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        X = table.arrays[GOOD]
        head = fit_linear("logistic", X[train], y[train], 3, strength=choice.strength)
        proba = head.predict_proba(X[held])
        losses[held] = -np.log(proba[np.arange(len(held)), y[held]])
        right[held] = proba.argmax(axis=1) == y[held]
    row = choice.chosen
    assert row is not None
    assert row.log_loss == pytest.approx(losses.mean(), rel=0.02)
    assert row.accuracy == pytest.approx(right.mean(), abs=1 / 90)


@pytest.mark.parametrize("head", ["ridge", "prototype"])
def test_probabilities_of_scores_are_calibrated_on_held_out_pictures(head: HeadKind) -> None:
    table, y = pictures(300, 3, distance=1.2)
    choice = pick(table, y, 3, head=head, sets=SETS[1:2])
    new, truth = pictures(3000, 3, seed=5, distance=1.2)
    proba = fit_head(table, y, 3, np.arange(300), choice).predict_proba(
        new.read((GOOD,), np.arange(3000))
    )
    certainty, accuracy = proba.max(axis=1).mean(), np.mean(proba.argmax(axis=1) == truth)
    assert choice.temperature != 1
    assert certainty == pytest.approx(accuracy, abs=0.06)


def test_validation_rows_judge_and_are_not_trained_on() -> None:
    table, y = pictures(200, 3, distance=4)
    flipped = y.copy()
    flipped[150:] = (flipped[150:] + 1) % 3
    rows, validation = np.arange(150), np.arange(150, 200)
    honest = pick(table, y, 3, rows=rows, validation=validation)
    assert honest.method == "validation"
    assert honest.chosen is not None
    assert honest.chosen.n == 50
    assert honest.chosen.accuracy > 0.8
    fooled = pick(table, flipped, 3, rows=rows, validation=validation)
    assert fooled.evidence[1].accuracy < 0.2


@pytest.mark.parametrize("head", HEAD_KINDS)
def test_one_picture_a_class_has_nothing_to_choose_by(head: HeadKind) -> None:
    table, y = pictures(4, 4, distance=9)
    choice = pick(table, y, 4, folds=np.full(4, -1), head=head)
    assert choice.method == "none"
    assert choice.features == SETS[0]
    assert choice.strength == DEFAULT_STRENGTH[head]
    assert choice.chosen is None
    record = json.loads(json.dumps(choice.as_dict()))
    assert (record["n"], record["accuracy"], record["optimistic"]) == (0, None, True)
    choice = pick(table, y, 4, folds=np.full(4, -1), head=head, sets=SETS[1:])
    head_ = fit_head(table, y, 4, np.arange(4), choice)
    called = head_.predict_proba(table.read((GOOD,), np.arange(4))).argmax(axis=1)
    np.testing.assert_array_equal(called, y)


@pytest.mark.parametrize("per_class", [2, 3, 5])
def test_few_shot(per_class: int) -> None:
    table, y = pictures(per_class * 4, 4, distance=6)
    folds = deal(y, per_class)
    choice = pick(table, y, 4, folds=folds)
    assert choice.method == "cross-validation"
    new, truth = pictures(200, 4, seed=3, distance=6)
    head = fit_head(table, y, 4, np.arange(len(y)), choice)
    proba = head.predict_proba(new.read(choice.features.taps, np.arange(200)))
    assert np.mean(proba.argmax(axis=1) == truth) > 0.7


def test_pictures_in_no_fold_are_always_trained_on() -> None:
    table, y = pictures(60, 2)
    y[0] = 2
    folds = deal(y)
    folds[0] = -1
    choice = pick(table, y, 3, folds=folds)
    assert choice.chosen is not None
    assert choice.chosen.n == 59


def test_rows_outside_the_training_part_are_never_read() -> None:
    table, y = pictures(120, 3)
    arrays = {tap: X.copy() for tap, X in table.arrays.items()}
    for X in arrays.values():
        X[100:] = np.nan
    rows = np.random.default_rng(0).permutation(100)
    spoilt = pick(ArrayTable(arrays), y, 3, rows=rows)
    clean = pick(table, y, 3, rows=rows)
    assert spoilt == clean


def test_the_same_again_and_whatever_the_order_of_the_rows() -> None:
    table, y = pictures(120, 3)
    rows = np.arange(120)
    folds = deal(y)
    first = pick(table, y, 3, folds=folds)
    assert pick(table, y, 3, folds=folds) == first
    mixed = np.random.default_rng(1).permutation(120)
    other = pick(table, y, 3, rows=rows[mixed], folds=folds[mixed])
    assert (other.features, other.strength) == (first.features, first.strength)
    for one, two in zip(first.evidence, other.evidence, strict=True):
        assert two.log_loss == pytest.approx(one.log_loss, rel=1e-4)


def test_balanced_weights_enter_the_loss() -> None:
    table, y = pictures(200, 2, distance=1)
    few = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:20]])
    plain = pick(table, y, 2, rows=few, sets=SETS[1:2])
    fair = pick(table, y, 2, rows=few, sets=SETS[1:2], balanced=True)
    assert plain.chosen is not None
    assert fair.chosen is not None
    assert fair.chosen.balanced_accuracy > plain.chosen.balanced_accuracy
    assert fair.balanced


@pytest.mark.parametrize("head", HEAD_KINDS)
def test_a_heat_and_a_final_give_the_same_choice(
    head: HeadKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, y = pictures(300, 3)
    whole = pick(table, y, 3, head=head)
    monkeypatch.setattr(study, "SMALL", 0)
    staged = pick(table, y, 3, head=head)
    assert staged.features == whole.features
    assert staged.chosen is not None
    assert staged.chosen.n == 300
    assert (staged.folds, staged.of_folds) == (whole.folds, whole.of_folds) == (5, 5)
    noise = staged.evidence[0]
    assert (noise.features.name, noise.n) == ("noise", 60)
    assert noise.behind > noise.behind_se > 0


def test_enough_folds_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    table, y = pictures(300, 3)
    monkeypatch.setattr(study, "SMALL", 0)
    monkeypatch.setattr(study, "ENOUGH", 100)
    choice = pick(table, y, 3)
    assert choice.chosen is not None
    assert (choice.chosen.n, choice.folds, choice.of_folds) == (120, 2, 5)
    record = choice.as_dict()
    assert (record["folds"], record["of_folds"]) == (2, 5)
    for row in choice.evidence:
        assert np.isfinite([row.behind, row.behind_se]).all()


def splits_judged(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, ...]]]:
    """Record the held-out rows of each round of trials."""
    rounds: list[list[tuple[int, ...]]] = []
    original = study.run_trials

    def spy(matrix: Any, task: Any, splits: Any, *rest: Any) -> Any:
        rounds.append([tuple(held) for _, held in splits])
        return original(matrix, task, splits, *rest)

    monkeypatch.setattr(study, "run_trials", spy)
    return rounds


def test_one_large_fold_is_not_enough_and_the_heat_does_not_judge_the_final(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, y = pictures(300, 3)
    monkeypatch.setattr(study, "SMALL", 0)
    monkeypatch.setattr(study, "ENOUGH", 30)
    rounds = splits_judged(monkeypatch)
    choice = pick(table, y, 3)
    heat, final = rounds
    assert len(heat) == 1
    assert len(final) == choice.folds == 2
    assert heat[0] not in final


@pytest.mark.parametrize(("rare", "folds"), [(40, 3), (15, 5)])
def test_rare_classes_need_more_folds_where_classes_count_alike(
    rare: int, folds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, y = pictures(600, 2)
    rows = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:rare]])
    monkeypatch.setattr(study, "SMALL", 0)
    monkeypatch.setattr(study, "ENOUGH", 100)
    assert pick(table, y, 2, rows=rows).folds == 2
    assert pick(table, y, 2, rows=rows, metric="balanced_accuracy").folds == folds
    assert pick(table, y, 2, rows=rows, balanced=True).folds == folds


def test_a_more_complex_set_survives_a_heat_that_it_narrowly_loses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    y = np.arange(300).astype(np.intp) % 2
    folds = deal(y)
    weak = (y[:, None] + generator.normal(size=(300, 4))).astype(np.float32)
    extra = (y[:, None] + generator.normal(size=(300, 4))).astype(np.float32)
    first = folds == 0
    extra[first] = 0.5 + generator.normal(size=(first.sum(), 4))  # says nothing there
    table = ArrayTable({Tap("weak"): weak, Tap("extra"): extra})
    sets = (
        FeatureSet("simple", (Tap("weak"),)),
        FeatureSet("better", (Tap("weak"), Tap("extra"))),
    )
    rows = np.r_[np.flatnonzero(~first), np.flatnonzero(first)]
    heat = choose(table, y, 2, rows=rows[:240], sets=sets, validation=rows[240:])
    simple, better = heat.evidence
    assert 0 < better.log_loss - simple.log_loss < 2 * better.behind_se
    monkeypatch.setattr(study, "SMALL", 0)
    monkeypatch.setattr(study, "ENOUGH", 100)
    assert pick(table, y, 2, folds=folds, sets=sets).features.name == "better"


def test_few_of_the_more_complex_sets_reach_the_final() -> None:
    def heat(number: int, loss: float) -> Trial:
        losses = loss + np.random.default_rng(number).normal(size=50)
        losses += loss - losses.mean()
        empty = np.zeros(50)
        return Trial(number, 1.0, 1.0, np.arange(50), None, losses, *[empty] * 4)

    heats = [heat(number, 0.01 * abs(number - 3)) for number in range(9)]
    through = study._may_win(heats)
    assert [trial.number for trial in through] == [0, 1, 2, 3, 4, 5][: 4 + study.MORE_COMPLEX]
    assert [t.number for t in study._may_win([heat(0, 0.0), heat(1, 5.0)])] == [0]


@dataclass
class CountingTable:
    """A table that keeps a record of the rows it was asked for."""

    inner: ArrayTable
    asked: list[int] = field(default_factory=list)

    @property
    def n(self) -> int:
        return self.inner.n

    def dim(self, tap: Tap) -> int:
        return self.inner.dim(tap)

    def read(self, taps: Sequence[Tap], rows: np.ndarray) -> np.ndarray:
        self.asked.append(len(rows))
        return self.inner.read(taps, rows)


def test_a_large_problem_is_chosen_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    table, y = pictures(4000, 40, distance=5)
    monkeypatch.setattr(study, "SMALL", 1e6)
    monkeypatch.setattr(study, "HEAT", 3e8)
    monkeypatch.setattr(study, "HEAT_EACH", 0)
    counting = CountingTable(table)
    rows = np.arange(4000)
    options: dict[str, Any] = {"rows": rows, "folds": deal(y), "sets": SETS}
    choice = choose(counting, y, 40, **options, seed=1)
    assert choice.n_classes == study.SAMPLED_CLASSES
    assert choice.features.name in {"good", "both"}
    assert len(counting.asked) == 1
    assert study.FEWEST * 32 <= counting.asked[0] < 3200
    assert choose(counting, y, 40, **options, seed=1) == choice
    head = fit_head(table, y, 40, rows, choice)
    assert head.weight.shape == (40, 16 if choice.features.name == "good" else 24)


def test_a_sample_keeps_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    table, y = pictures(3000, 6)
    rare = np.concatenate([np.flatnonzero(y < 5), np.flatnonzero(y == 5)[:4]])
    monkeypatch.setattr(study, "SMALL", 0)
    monkeypatch.setattr(study, "HEAT", 1e8)
    monkeypatch.setattr(study, "HEAT_EACH", 0)
    choice = pick(table, y, 6, rows=rare)
    assert choice.n_classes == 6
    assert choice.chosen is not None
    assert choice.chosen.n < 600


def test_final_fit_reads_a_memory_map(tmp_path: Path) -> None:
    table, y = pictures(100, 3)
    choice = pick(table, y, 3, sets=SETS[1:2])
    np.save(tmp_path / "X.npy", table.arrays[GOOD])

    class Mapped(CountingTable):
        def read(self, taps: Sequence[Tap], rows: np.ndarray) -> np.ndarray:
            mapped: np.ndarray = np.load(tmp_path / "X.npy", mmap_mode="r")
            return mapped

    rows = np.arange(100)
    from_disk = fit_head(Mapped(table), y, 3, rows, choice)
    np.testing.assert_array_equal(from_disk.weight, fit_head(table, y, 3, rows, choice).weight)


def test_json_form() -> None:
    table, y = pictures(90, 3)
    choice = pick(table, y, 3)
    record = json.loads(json.dumps(choice.as_dict(), allow_nan=False))
    assert record["optimistic"] is True
    assert record["method"] == "cross-validation"
    assert record["n"] == 90
    assert [row["name"] for row in record["candidates"]] == [s.name for s in SETS]


@pytest.mark.parametrize("given", ["both", "neither", "no sets"])
def test_unclear_requests_are_refused(given: str) -> None:
    table, y = pictures(30, 2)
    folds = None if given == "neither" else deal(y)
    with pytest.raises(UserError, match="one of folds and validation"):
        choose(
            table,
            y,
            2,
            rows=np.arange(30),
            sets=() if given == "no sets" else SETS,
            folds=folds,
            validation=np.arange(3) if given == "both" else None,
        )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sample_takes_alike_from_folds_dealt_with_the_same_seed(seed: int) -> None:
    y = np.random.default_rng(seed).integers(0, 10, 20_000)
    dealt = folds(y, np.arange(len(y)), 5, seed)
    splits = [(np.flatnonzero(dealt != k), np.flatnonzero(dealt == k)) for k in range(5)]
    task = Task("logistic", y, 10, False, ROUGH)
    entries = [Entry(0, (0,), STRENGTHS["logistic"])]
    _, kept, inside = within_budget(task, splits, entries, (7000,), seed)
    assert len(kept) < len(y) / 2
    assert len(inside) == 5
    for train, held in inside:
        assert len(train) + len(held) == len(kept)
        assert len(held) == pytest.approx(len(kept) / 5, rel=0.1)


@pytest.mark.parametrize("head", ["ridge", "prototype"])
def test_the_temperature_is_that_of_all_classes(
    head: HeadKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of 32 of 200 classes chooses; what it says of probabilities does not carry over."""
    table, y = pictures(4000, 200, distance=5)
    monkeypatch.setattr(study, "SMALL", 0)
    monkeypatch.setattr(study, "HEAT", 1)
    monkeypatch.setattr(study, "HEAT_EACH", 0)
    choice = pick(table, y, 200, head=head, sets=SETS[1:2])
    assert choice.n_classes == 32
    new, truth = pictures(4000, 200, seed=8, distance=5)
    trained = fit_head(table, y, 200, np.arange(4000), choice)
    scores = trained.scores(new.read((GOOD,), np.arange(4000)))
    assert fit_temperature(scores[None], truth, np.ones(4000))[0] == pytest.approx(1, rel=0.15)


def test_a_given_strength_gets_its_temperature_measured() -> None:
    table, y = pictures(300, 3)
    choice = pick(table, y, 3, head="ridge", sets=SETS[1:2], strengths=(2.0,))
    assert choice.strength == 2.0
    assert choice.method == "cross-validation"
    new, truth = pictures(3000, 3, seed=5)
    scores = fit_head(table, y, 3, np.arange(300), choice).scores(new.arrays[GOOD])
    assert fit_temperature(scores[None], truth, np.ones(3000))[0] == pytest.approx(1, rel=0.2)
    alone = pick(table, y, 3, folds=np.full(300, -1), head="ridge", strengths=(2.0,))
    assert (alone.method, alone.strength) == ("none", 2.0)
    with pytest.raises(UserError, match="at least one"):
        pick(table, y, 3, strengths=())


def test_pictures_of_a_unit_count_together_in_the_standard_error() -> None:
    """Ten copies of each picture say no more than one."""
    table, y = pictures(100, 2, distance=1)
    rows = np.repeat(np.arange(100), 10)
    copies = ArrayTable({tap: X[rows] for tap, X in table.arrays.items()})
    folds = deal(y)
    options: dict[str, Any] = {"folds": folds[rows], "sets": SETS[1:], "strengths": (1.0,)}
    naive = pick(copies, y[rows], 2, **options)
    fair = pick(copies, y[rows], 2, units=rows, **options)
    for plain, wide in zip(naive.evidence, fair.evidence, strict=True):
        assert wide.behind == plain.behind
        assert wide.behind_se == pytest.approx(plain.behind_se * 10**0.5, rel=0.02)


@dataclass
class Listener:
    """Keeps what it hears."""

    tasks: list[tuple[str, int]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def start(self, task: str, total: int) -> None:
        self.tasks.append((task, total))
        self.steps.append(0)

    def advance(self, steps: int) -> None:
        self.steps[-1] += steps

    def finish(self) -> None: ...

    def say(self, text: str) -> None: ...


@pytest.mark.parametrize("small", [0.0, 1e12])
def test_progress_hears_of_every_fit(small: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "SMALL", small)
    table, y = pictures(150, 3)
    heard = Listener()
    choice = pick(table, y, 3, progress=heard)
    fit_head(table, y, 3, np.arange(150), choice, heard)
    assert heard.tasks[0] == ("reading features", 0)
    fits = [total for task, total in heard.tasks if task == "choosing the head"]
    assert fits == heard.steps[1:-1]
    assert fits[0] == (20 if small else 4)
    assert heard.tasks[-1] == ("training the head", 0)
    assert heard.steps[-1] > 3
