"""What a training does when it goes well, and when it does not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from pictures import texture
from regraft.data.views import View
from regraft.errors import UserError
from regraft.frozen.activations import spread
from regraft.frozen.store import FeatureStore
from regraft.heads.linear import softmax
from regraft.options import FitOptions, Overrides
from regraft.price import Pace
from regraft.progress import Silent
from regraft.proof import _check as check_graph
from regraft.strategy import TUNING, Phase
from regraft.train import loop, objective, rates
from regraft.train.batches import steps_of
from regraft.train.compute import Arithmetic, is_depthwise, training_device
from regraft.train.loop import PhaseRun
from regraft.train.network import Part, Trainee, boundary_before
from regraft.train.price import price
from regraft.train.rates import RateTrial
from regraft.train.recipes import recipe, views_within
from regraft.train.report import PhaseReport
from regraft.train.speed import _fastest, _others, choose_arithmetic
from regraft.train.statistics import moves
from regraft.train.teaching import DivergedError, Held, NoNumberError, judged
from training.lessons import (
    CLASSES,
    SHORT,
    TRANSFORMER,
    Lesson,
    changed,
    middle,
    same,
    weights,
    with_all,
)


class Heard(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_it_learns(lesson: Lesson):
    start = middle(lesson.backbone)
    phase = Phase(start, epochs=12, patience=12, rate=3e-3, views=2, batch=8)
    report = lesson.train(phase).reports[0]
    assert report.history[0].log_loss == pytest.approx(math.log(3))
    assert report.best.log_loss < 0.8 * math.log(3)
    assert report.best.epoch >= report.lowest.epoch > 0


def test_the_best_weights_are_kept_and_not_the_last(convolutional: Lesson):
    phase = Phase(None, epochs=6, patience=2, rate=0.3, views=1, batch=8, average=0.0)
    report = convolutional.train(phase).reports[0]
    assert report.best.epoch < report.history[-1].epoch
    assert report.best.log_loss == min(held.log_loss for held in report.history)


def _rates(lesson: Lesson, phase: Phase) -> list[float]:
    """Train, and return the part of the peak rate that each step was taken at."""
    found: list[float] = []
    average = PhaseRun._update_average

    def update(self: PhaseRun) -> None:
        group = self._optimiser.param_groups[0]
        found.append(group["lr"] / group["peak"])
        average(self)

    with mock.patch.object(PhaseRun, "_update_average", update):
        lesson.train(phase)
    return found


@pytest.mark.parametrize(
    ("batch", "passes", "rise"),
    [
        (8, 10, 10),  # three steps a pass: the first tenth would be three steps
        (24, 12, 4),  # a step a pass: a third of them at most
        (2, 10, 12),  # plenty: a tenth of all steps, which is a pass here
        (2, 20, 12),  # a pass at most
    ],
)
def test_the_rate_rises_over_some_steps_and_falls(
    batch: int, passes: int, rise: int, convolutional: Lesson
):
    start = convolutional.backbone.probes[-1].name
    phase = Phase(start, epochs=passes, patience=passes, rate=1e-4, batch=batch)
    found = _rates(convolutional, phase)
    assert len(found) == passes * steps_of(24, batch)
    assert found[:rise] == pytest.approx([(n + 1) / rise for n in range(rise)])
    assert found[rise:] == sorted(found[rise:], reverse=True)
    assert found[-1] < 0.1


def test_the_first_steps_do_not_undo_what_is_known(convolutional: Lesson):
    """Adam's first steps are as long as the rate: at the full one the loss trebles here."""
    phase = Phase(None, epochs=12, patience=12, rate=1e-3, batch=24, depth_decay=1.0)
    taught = convolutional.train(with_all(phase, passes=60, epochs=60, rate=3e-3, average=0.0))
    losses: list[float] = []
    cross_entropy = objective.cross_entropy

    def heard(*values: Any) -> torch.Tensor:
        loss = cross_entropy(*values)
        losses.append(float(loss.detach()))
        return loss

    tuner = replace(convolutional.tuner([phase]), backbone=taught.backbone, head=taught.head)
    with mock.patch.object(objective, "cross_entropy", heard):
        tuner.run()
    tuner.checkpoint.remove()
    assert losses[0] < 0.7 * math.log(3), "or this test shows nothing"
    assert max(losses) < 1.1 * losses[0]
    assert losses[-1] < 0.1 * losses[0]


def test_mixing_keeps_the_mean_of_a_batch_and_blurs_what_differs(convolutional: Lesson):
    seen: list[torch.Tensor] = []
    forward = Part.forward

    def watched(self: Part, *tensors: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append(tensors[0].detach().double())
        return forward(self, *tensors)

    phase = with_all(SHORT, train_from=middle(convolutional.backbone), epochs=1, batch=24)
    with mock.patch.object(Part, "forward", watched):
        plain = convolutional.train(phase)
        mixed = convolutional.train(with_all(phase, mixup=1000.0))  # by halves, nearly
    one, other = seen
    torch.testing.assert_close(other.mean(0), one.mean(0), rtol=1e-4, atol=1e-4)
    assert 0.3 < float(other.var(0).sum() / one.var(0).sum()) < 0.75
    # Half the answer belongs to the partner: the head learns from it too.
    assert not np.array_equal(plain.head.bias, mixed.head.bias)


def test_what_is_kept_is_an_average_of_the_weights(convolutional: Lesson):
    before = weights(convolutional.backbone)

    def moved(average: float) -> float:
        phase = with_all(SHORT, passes=1, average=average)
        after = weights(convolutional.train(phase).backbone)
        return sum(float((after[n] - before[n]).float().norm() ** 2) for n in before) ** 0.5

    assert 0.2 < moved(0.98) / moved(0.0) < 0.9


def test_a_gradient_is_cut_to_a_length(convolutional: Lesson):
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *given: object) -> object:
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(math.sqrt(sum(float(g.double().norm() ** 2) for g in grads if g is not None)))
        return step(self, *given)

    forward = Part.forward

    def steep(self: Part, *tensors: torch.Tensor) -> torch.Tensor:
        return forward(self, *tensors) * (100.0 if self.training else 1.0)

    phase = with_all(SHORT, train_from=middle(convolutional.backbone), epochs=1, batch=24)
    with mock.patch.object(torch.optim.AdamW, "step", watched):
        with mock.patch.object(Part, "forward", steep):
            convolutional.train(phase)
        assert norms == [pytest.approx(1.0, rel=1e-3)]


def test_a_checkpoint_is_written_once_a_minute_at_least(convolutional: Lesson, tmp_path: Path):
    now, saved = [0.0], [0.0]
    between, save = PhaseRun._between, PhaseRun._save

    def slow(self: PhaseRun) -> None:
        now[0] += 17.0  # seconds that a step takes
        between(self)

    def saves(self: PhaseRun) -> None:
        saved.append(now[0])
        save(self)

    clock = mock.Mock(monotonic=lambda: now[0])
    with (
        mock.patch("regraft.train.loop.time", clock),
        mock.patch.object(PhaseRun, "_between", slow),
        mock.patch.object(PhaseRun, "_save", saves),
    ):
        convolutional.train(with_all(SHORT, epochs=8), file=tmp_path / "t.safetensors")
    assert now[0] > 300
    assert max(np.diff([*saved, now[0]])) <= 60


def _poisoned(steps: set[int]):
    """Let the loss of some forward passes in training be no number."""
    count = iter(range(10_000))
    forward = Part.forward

    def poisoned(self: Part, *tensors: torch.Tensor) -> torch.Tensor:
        scores = forward(self, *tensors)
        return scores * math.nan if self.training and next(count) in steps else scores

    return mock.patch.object(Part, "forward", poisoned)


@pytest.mark.parametrize("steps", [{0}, {2}, {4, 6}])
def test_a_loss_that_is_no_number_goes_back_and_lowers_the_rate(
    steps: set[int], convolutional: Lesson
):
    heard = Heard()
    with _poisoned(steps):
        tuned = convolutional.train(SHORT, progress=heard)
    report = tuned.reports[0]
    assert len(report.notes) == len(steps)
    assert list(report.notes) == heard.lines
    assert "back to the best weights" in report.notes[0]
    assert f"{SHORT.rate * 0.25:.1e}" in report.notes[0]
    assert all(tensor.isfinite().all() for tensor in weights(tuned.backbone).values())
    assert np.isfinite(tuned.head.weight).all()
    assert report.history[-1].epoch == SHORT.epochs


def test_a_loss_that_never_is_a_number_ends_with_an_error(convolutional: Lesson):
    with (
        _poisoned(set(range(10_000))),
        pytest.raises(DivergedError, match="the loss exploded 6 times"),
    ):
        convolutional.train(SHORT)


def test_a_rate_that_explodes_is_not_chosen(convolutional: Lesson):
    phase = with_all(SHORT, train_from=middle(convolutional.backbone), rate=None, epochs=1)
    heard = Heard()
    with mock.patch.object(rates, "RATES", (1e-3, 1e4)):
        report = convolutional.train(phase, progress=heard).reports[0]
    assert report.phase.rate == 1e-3
    assert [trial.rate for trial in report.rates] == [1e-3, 1e4]
    assert report.rates[1].log_loss > report.rates[0].log_loss
    assert heard.lines == []


def test_deeper_layers_learn_faster_and_vectors_do_not_decay(lesson: Lesson):
    trainee = _trainee(lesson)
    groups = trainee.part(with_all(SHORT, depth_decay=0.1)).groups(1e-2)
    peaks = [group["peak"] for group in groups]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] == pytest.approx(1e-2)
    assert peaks[-1] == pytest.approx(1e-3)
    for group in groups:
        flat = {parameter.ndim < 2 for parameter in group["params"]}
        assert flat == {group["weight_decay"] == 0}


def test_every_weight_that_trains_gets_a_gradient_and_no_other(lesson: Lesson):
    start = middle(lesson.backbone)
    for what in ("all", "norm"):
        part = _trainee(lesson).part(with_all(SHORT, train_from=start, what=what)).train()
        tensors = _random_tensors(lesson, start)
        torch.nn.functional.cross_entropy(part(*tensors), torch.tensor([0, 1])).backward()
        trained = {name for name, p in part.named_parameters() if p.requires_grad}
        assert trained
        assert {name for name, p in part.named_parameters() if p.grad is not None} == trained
        assert len(trained) == sum(len(group["params"]) for group in part.groups(1e-3))
        if what == "norm" and lesson.backbone.name != TRANSFORMER:  # whose last part is a norm
            assert len(trained) < len(list(part.parameters()))


def test_training_mode_leaves_what_is_still(convolutional: Lesson):
    for still in (True, False):
        part = _trainee(convolutional).part(with_all(SHORT, still_norms=still)).train()
        norms = [m for m in part.modules() if isinstance(m, torch.nn.modules.batchnorm._NormBase)]
        assert norms
        assert {norm.training for norm in norms} == {not still}
        assert part.trunk.training


def test_statistics_stay_where_those_of_a_batch_would_wreck_the_start(convolutional: Lesson):
    """Running statistics of random weights describe no picture: a head that knows them fails."""
    phase = with_all(SHORT, still_norms=False)
    tuner = convolutional.tuner([phase])
    empty = _trainee(convolutional)
    teaching = tuner.teaching(empty, phase, 0)
    before = {name: tensor.clone() for name, tensor in empty.part(phase).state_dict().items()}
    assert moves(empty.part(phase), teaching)
    after = empty.part(phase).state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    knowing = _trainee(convolutional)
    with torch.no_grad():
        knowing.head.weight.normal_(0, 30, generator=torch.Generator().manual_seed(0))
    part = knowing.part(phase)
    rows = teaching.train.activations.read(View(0), list(range(8)))
    fitting = part.eval()(*part.tensors(rows)).argmax(1).numpy()
    taught = replace(teaching, train=replace(teaching.train, rows=np.arange(8), y=fitting))
    assert not moves(part, taught)
    report = convolutional.train(phase).reports[0]
    assert not report.phase.still_norms


def test_the_pull_keeps_weights_near_the_source(convolutional: Lesson):
    phase = with_all(SHORT, train_from=middle(convolutional.backbone), rate=1e-2)
    before = weights(convolutional.backbone)

    def distance(phase: Phase) -> float:
        after = weights(convolutional.train(phase).backbone)
        return sum(float((after[n] - before[n]).float().square().sum()) for n in before)

    free, held = distance(phase), distance(with_all(phase, pull=50.0))
    assert 0 < held < 0.5 * free


def test_class_weights_change_what_is_learned(convolutional: Lesson):
    phase = with_all(SHORT, train_from=middle(convolutional.backbone))
    plain = convolutional.train(phase)
    weighted = convolutional.train(phase, weights=np.array([10.0, 1.0, 1.0]))
    assert changed(weights(plain.backbone), weights(weighted.backbone))
    pixels = np.stack(
        [texture(label, number, 64, noise=90.0) for label in CLASSES for number in (99, 100)]
    )
    shares = [softmax(tuned.scores(pixels))[:, 0].mean() for tuned in (weighted, plain)]
    assert shares[0] > shares[1]


def test_where_the_frozen_part_ends(convolutional: Lesson):
    backbone = convolutional.backbone
    names = [cut.name for cut in backbone.cuts]
    assert boundary_before(backbone, None) is None
    assert boundary_before(backbone, names[0]) is None
    assert boundary_before(backbone, "layer2").name == "layer1"
    # A module that can be cut inside, at conv1.2 and conv1.5, trains as a whole.
    assert boundary_before(backbone, "conv1.5").name == "conv1.2"
    assert boundary_before(backbone, "conv1") is None
    for wrong in ("blocks.99", names[-1] + "x", ""):
        with pytest.raises(UserError, match="train_from must be a cut of") as caught:
            boundary_before(backbone, wrong)
        assert list(caught.value.problems) == [cut.name for cut in backbone.probes]


def test_arithmetic_is_measured_once(convolutional: Lesson):
    tuner = convolutional.tuner([SHORT])
    trainee = _trainee(convolutional)
    part = trainee.part(SHORT)
    teaching = tuner.teaching(trainee, SHORT, 0)
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    with mock.patch("regraft.train.speed.has_bf16", return_value=True):
        first = choose_arithmetic(part, teaching, convolutional.store)
        with mock.patch("regraft.train.speed._fastest", side_effect=AssertionError):
            assert choose_arithmetic(part, teaching, convolutional.store) == first
    assert first.device == "cpu"
    assert not first.compiled
    assert all(torch.equal(before[n], t) for n, t in part.state_dict().items())
    with mock.patch("regraft.train.speed.has_bf16", return_value=False):
        assert choose_arithmetic(part, teaching, convolutional.store) == Arithmetic("cpu")


def test_a_step_in_bfloat16_is_a_step(convolutional: Lesson):
    phase = with_all(SHORT, train_from=convolutional.backbone.probes[-2].name)
    chosen = Arithmetic("cpu", bf16=True)
    with mock.patch("regraft.train.tune.choose_arithmetic", return_value=chosen):
        report = convolutional.train(phase).reports[0]
    assert report.arithmetic.bf16
    assert report.best.log_loss < math.log(3)


def test_a_network_trains_wherever_it_is_put(lesson: Lesson):
    """PyTorch's "meta" device has shapes and no values: what stays behind raises there."""
    trainee = Trainee(lesson.backbone, _head(lesson), "meta")
    start = middle(lesson.backbone)
    part = trainee.part(with_all(SHORT, train_from=start)).train()
    assert {p.device.type for p in (*part.parameters(), *part.buffers())} == {"meta"}
    boundary = boundary_before(lesson.backbone, start)
    rows = np.zeros((2, 2 * boundary.width("map")), np.uint8)
    loss = torch.nn.functional.cross_entropy(
        part(*part.tensors(rows)), torch.tensor([0, 1], device="meta")
    )
    loss.backward()
    assert part.head.weight.grad.device.type == "meta"
    whole = trainee.part(SHORT)
    size = lesson.backbone.preprocess.size
    pixels = np.zeros((2, 3 * size[0] * size[1]), np.uint8)
    assert whole(*whole.tensors(pixels)).shape == (2, 3)


def test_where_layers_are_trained():
    assert training_device("cuda", processor_only=False) == "cuda"
    for available, only, expected in (
        (True, False, "mps"),
        (True, True, "cpu"),
        (False, False, "cpu"),
    ):
        with mock.patch("torch.backends.mps.is_available", return_value=available):
            assert training_device("cpu", processor_only=only) == expected


def test_recipes(convolutional: Lesson):
    probes = convolutional.backbone.probes
    for name in TUNING:
        phases = recipe(name, probes, 99, views=3, epochs=4, rate=1e-3)
        assert {(p.views, p.epochs, p.rate) for p in phases} == {(3, 4, 1e-3)}
    assert recipe("full", probes, 99)[0].train_from is None
    assert [recipe("full", probes, n)[0].still_norms for n in (15, 16)] == [True, False]
    assert recipe("norm", probes, 99)[0].still_norms
    assert not recipe("scratch", probes, 99)[0].still_norms
    assert recipe("scratch", probes, 99)[0].depth_decay == 1
    assert recipe("norm", probes, 99)[0].what == "norm"
    assert recipe("lora", probes, 99)[0].what == "lora"
    assert recipe("partial", probes, 99, train_from="layer3")[0].train_from == "layer3"
    starts = [phase.train_from for phase in recipe("gradual", probes, 99)]
    names = [cut.name for cut in probes]
    assert [names.index(start) for start in starts] == sorted(
        map(names.index, starts), reverse=True
    )
    for wrong in ("features", "auto", "all"):
        with pytest.raises(UserError, match="strategy must be one of 'partial'"):
            recipe(wrong, probes, 99)
    with pytest.raises(UserError, match="train_from needs strategy 'partial'"):
        recipe("full", probes, 99, train_from="layer3")


def test_few_pictures_are_seen_more_often(convolutional: Lesson):
    probes = convolutional.backbone.probes
    counts = (1, 300, 800, 1600, 100_000)
    passes = [recipe("partial", probes, count)[0].epochs for count in counts]
    assert passes == [30, 30, 24, 12, 8]
    assert [recipe("scratch", probes, count)[0].epochs for count in counts] == [40, 40, 40, 30, 8]


def test_the_rate_has_fallen_half_way_before_training_is_given_up(convolutional: Lesson):
    for name in TUNING:
        for count in (10, 1600, 100_000):
            for phase in recipe(name, convolutional.backbone.probes, count):
                assert 2 * phase.patience >= phase.epochs - 1


def test_scores_become_probabilities(convolutional: Lesson):
    phase = Phase(middle(convolutional.backbone), 12, 12, rate=3e-3, batch=8, label_smoothing=0.3)
    tuner = convolutional.tuner([phase])
    tuner.checkpoint.remove()
    tuned = tuner.run()
    tuner.checkpoint.remove()
    best = tuned.reports[0].best
    assert best.temperature < 0.9
    held_out = tuner.material.held_out
    pixels = np.stack(
        [
            tuner.material.sources[row].load().prepare(convolutional.backbone.preprocess)
            for row in held_out
        ]
    )
    again, _ = judged(
        0, tuned.scores(pixels).astype(float), tuner.material.y[held_out], np.ones(6), np.arange(6)
    )
    assert again.log_loss == pytest.approx(best.log_loss, rel=1e-3)
    assert again.temperature == pytest.approx(1, rel=1e-3)


def test_views_fit_the_disk():
    assert views_within(1000, 1000, 1 << 40) == 8
    assert views_within(1000, 1000, 5_000_000) == 5
    assert views_within(1000, 1000, 1_000_000) == 2
    assert views_within(1000, 1000, 999_999) == 8, "all are computed anew in any case"


def test_what_is_computed_anew_in_each_pass_is_priced(convolutional: Lesson):
    phase = with_all(SHORT, train_from=middle(convolutional.backbone), epochs=4, views=2)
    each = [Pace(trained=0.0, frozen=1.0)]
    one_view = 24 * convolutional.tuner([phase]).boundary(phase).bytes_on_disk
    found = [price(convolutional.tuner([phase], budget=n * one_view), each) for n in (2, 1, 0)]
    assert [p.fixed for p in found] == [2 * 24 + 6, 24 + 6, 0]
    assert [p.per_pass for p in found] == [0, 12, 24 + 6]


def test_nothing_is_stored_where_the_disk_is_slower_than_the_engine(
    convolutional: Lesson, tmp_path: Path
):
    phase = with_all(SHORT, train_from=middle(convolutional.backbone), epochs=3, views=3)
    plain = convolutional.train(phase)
    for seconds, expected in ((0.0, 3 * 24 + 6), (1e6, 6 + 24)):
        with FeatureStore(tmp_path / str(seconds)) as store:
            slow = Lesson(convolutional.backbone, store, convolutional.cache)
            with mock.patch.object(FeatureStore, "cold_read_seconds", return_value=seconds):
                assert same(plain, slow.train(phase))
            assert store.info().rows == expected


def test_a_network_with_one_probe_trains_gradually_too(convolutional: Lesson):
    (phase,) = recipe("gradual", convolutional.backbone.probes[-1:], 99)
    assert phase.train_from == convolutional.backbone.probes[-1].name


def test_some_rows_are_spread_over_all():
    rows = np.arange(100, 200)
    assert spread(rows, 3).tolist() == [100, 149, 199]
    assert spread(rows, 500).tolist() == rows.tolist()
    assert spread(rows[:1], 8).tolist() == [100]


def test_held_out_losses_weigh_classes_as_training_does(convolutional: Lesson):
    start = middle(convolutional.backbone)
    phase = Phase(start, epochs=12, patience=12, rate=3e-3, views=2, batch=8)
    uneven = np.array([5.0, 1.0, 0.25])
    tuner = convolutional.tuner([phase], weights=uneven)
    teaching = replace(tuner.teaching(tuner.trainee(), phase, 0), rate=3e-3)
    run = PhaseRun(tuner.trainee().part(phase), phase, teaching)
    run.run()
    held, y = run.history[-1], teaching.held_out.y[teaching.held_out.rows]
    losses = np.array(run.last_losses)
    assert held.log_loss == pytest.approx(np.average(losses, weights=uneven[y]))
    assert held.log_loss != pytest.approx(losses.mean())


@pytest.mark.parametrize(("gain", "kept"), [(-1e-3, 0), (0.0, 0), (1e-3, 2)])
def test_from_random_weights_any_lower_loss_counts_and_no_higher_one(
    gain: float, kept: int, convolutional: Lesson
):
    def told(epoch: int, *rest: Any) -> tuple[Held, np.ndarray]:
        held, losses = judged(epoch, *rest)
        return (replace(held, gain=gain, error=1.0) if epoch else held), losses

    with mock.patch("regraft.train.loop.judged", told):
        report = convolutional.train(with_all(SHORT, epochs=2)).reports[0]
    assert report.best.epoch == kept


@pytest.mark.parametrize("rare", [2, 1, 0])
def test_a_rare_class_is_no_explosion(rare: int, convolutional: Lesson):
    """A picture of one in a thousand multiplies the loss of its batch; the rate is not at fault.

    One of them has a wrong label, too.
    """
    heard = Heard()
    phase = with_all(SHORT, epochs=3, patience=3, batch=4)
    some = np.where(np.arange(3) == rare, 300.0, 0.7)
    tuner = convolutional.tuner([phase], weights=some, progress=heard)
    y = tuner.material.y.copy()
    y[6 + np.flatnonzero(y[6:] != rare)[0]] = rare
    tuner = replace(tuner, material=replace(tuner.material, y=y))
    report = tuner.run().reports[0]
    tuner.checkpoint.remove()
    assert report.notes == ()
    assert not any("exploded" in line for line in heard.lines)


def test_a_view_that_is_hard_for_any_weights_is_no_explosion(convolutional: Lesson):
    real = loop.losses

    def harder(*said: Any) -> tuple[torch.Tensor, torch.Tensor]:
        more = 50.0 if said[-1] >= 3 else 0.0  # from the second pass on, three steps each
        return tuple(loss + more for loss in real(*said))

    with mock.patch.object(loop, "losses", harder):
        hard = convolutional.train(with_all(SHORT, batch=8))
    assert hard.reports[0].notes == ()
    assert same(hard, convolutional.train(with_all(SHORT, batch=8)))


def test_a_rare_class_has_its_weight_in_batches_that_hold_none_of_it_too(convolutional: Lesson):
    # 24 pictures train, 8 of each class; say that the last one is two in a hundred.
    weights = np.array([1 / 1.47, 1 / 1.47, 1 / 0.06])
    tuner = convolutional.tuner([SHORT], weights=weights)
    trainee = tuner.trainee()
    teaching = tuner.teaching(trainee, SHORT, 0)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(100, 3, generator=generator)
    y = torch.tensor([0] * 49 + [1] * 49 + [2] * 2)[torch.randperm(100, generator=generator)]
    batches = [
        float(
            objective.cross_entropy(
                scores[n : n + 10], y[n : n + 10], teaching.class_weights, SHORT.label_smoothing
            )
        )
        for n in range(0, 100, 10)
    ]
    losses = -scores.log_softmax(1)[torch.arange(100), y].numpy()
    each_class = [losses[y == label].mean() for label in range(3)]
    assert np.mean(batches) == pytest.approx(np.mean(each_class), rel=1e-2)


def _says_nothing(when: set[int]) -> mock.mock._patch:
    """Let the network say what is no number in some of its evaluations."""
    forward, count = Part.forward, iter(range(1000))

    def broken(self: Part, *tensors: torch.Tensor) -> torch.Tensor:
        scores = forward(self, *tensors)
        return scores * math.nan if not self.training and next(count) in when else scores

    return mock.patch.object(Part, "forward", broken)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_held_out_loss_that_is_no_number_is_an_explosion(convolutional: Lesson, guarded: bool):
    phase = with_all(SHORT, epochs=3, patience=3, guarded=guarded)
    with _says_nothing({2}):  # after the second pass
        report = convolutional.train(phase).reports[0]
    assert all(math.isfinite(held.log_loss) for held in report.history)
    assert len(report.history) == 4
    assert report.notes == (
        "the loss exploded in pass 2: back to the best weights, with a rate of 2.5e-04",
    )
    with _says_nothing(set(range(1, 1000))), pytest.raises(DivergedError, match="exploded 6 times"):
        convolutional.train(phase)
    with _says_nothing({0}), pytest.raises(NoNumberError, match="is no number"):
        convolutional.train(phase)


def test_a_compiler_that_fails_is_left_alone(convolutional: Lesson):
    trainee = _trainee(convolutional)
    part = trainee.part(SHORT)
    teaching = convolutional.tuner([SHORT]).teaching(trainee, SHORT, 0)
    plain = Arithmetic("cpu")
    with mock.patch("torch.compile", side_effect=RuntimeError("no compiler")):
        assert _fastest(part, teaching, [replace(plain, compiled=True)], 10) == plain


@pytest.mark.parametrize(
    ("ours", "precision", "right"),
    [
        ([[0.501, 0.499]], "bf16", True),  # a near tie
        ([[0.2, 0.8]], "bf16", False),
        ([[0.2, 0.8]], "f32", False),
        ([[math.nan, math.nan]], "f32", False),
        ([[math.nan, math.nan]], "bf16", False),
        ([[0.499, 0.501]], "f32", True),
    ],
)
def test_the_graph_is_compared_with_the_network(ours: list, precision: str, right: bool):
    network = np.array([[0.499, 0.501]]) if right else np.array([[0.9, 0.1]])
    if right:
        check_graph(np.array(ours), network, precision)
    else:
        with pytest.raises(UserError, match="differs from the network that was trained"):
            check_graph(np.array(ours), network, precision)


def test_no_infinity_reaches_json():
    held = Held(0, math.inf, 0.5, 1.0)
    report = PhaseReport(SHORT, (RateTrial(1.0, math.inf),), (held,), held, Arithmetic(), 1.0, ())
    assert report.as_dict()["rates_tried"] == [[1.0, None]]
    assert report.as_dict()["held_out"] == [[None, 0.5]]
    json.dumps(report.as_dict(), allow_nan=False)


def test_steps_of_a_pass():
    assert [steps_of(count, 32) for count in (1, 15, 32, 47, 49, 320)] == [1, 1, 1, 1, 2, 10]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (
            {"strategy": "partial", "depth": "x"},
            ["depth needs strategy 'auto' or 'features', got 'x' with 'partial'"],
        ),
        (
            {"strategy": "full", "train_from": "x"},
            ["train_from needs strategy 'partial', got 'x' with"],
        ),
        ({"lr": 0.1}, ["lr needs strategy 'partial' or 'gradual'", "leave lr out"]),
        ({"strategy": "full", "lr": 0.0, "epochs": 0}, ["lr must lie in (0, 1]", "epochs must be"]),
        ({"strategy": "full", "views": 1.5}, ["views must be a whole number"]),
        ({"strategy": "full", "head": "ridge"}, ["head must be 'logistic' where layers train"]),
        ({"strategy": "all"}, ["strategy must be one of 'auto', 'features'"]),
        ({"budget": "30s"}, ["budget must be a number of seconds or None, got '30s'"]),
        ({"strategy": "full", "lr": "x"}, ["lr must be a number or None, got 'x'"]),
        ({"test_fraction": None}, ["test_fraction must be a number, got None"]),
        ({"backbone": 7, "pretrained": "no"}, ["backbone must be a text", "pretrained must be"]),
        ({"overrides": {"size": (64, 64)}}, ["overrides must be an Overrides, got {'size'"]),
        ({"seed": True}, ["seed must be a whole number from 0 to 2**32 - 1, got True"]),
        ({"depth": 3}, ["depth must be a text or None, got 3"]),
    ],
)
def test_settings_that_break_a_rule(values: dict[str, object], parts: list[str]):
    with pytest.raises(UserError) as caught:
        FitOptions(**values)
    for part in parts:
        assert part in str(caught.value)


def test_whole_numbers_of_numpy_are_whole_numbers():
    options = FitOptions(strategy="full", epochs=np.int64(2), views=np.int32(3), seed=np.uint8(4))
    assert json.dumps([options.epochs, options.views, options.seed]) == "[2, 3, 4]"


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"size": (64.5, 64)}, "size must be a height and a width in pixels"),
        ({"size": (math.nan, 64)}, "size must be a height and a width in pixels"),
        ({"crop": "big"}, "crop must lie in (0, 1] or be 'squash', got 'big'"),
        ({"mean": (True, 0, 0)}, "mean must be three numbers"),
    ],
)
def test_overrides_that_break_a_rule(values: dict[str, object], part: str):
    with pytest.raises(UserError) as caught:
        Overrides(**values)
    assert part in str(caught.value)


def test_orders_are_decided_by_the_seed(convolutional: Lesson):
    teaching = convolutional.tuner([SHORT]).teaching(_trainee(convolutional), SHORT, 0)

    def order(seed: tuple[int, ...], skip: int = 0) -> list[list[int]]:
        batches = teaching.train.shuffled(View(0), 8, seed, skip)
        return [batch.y.tolist() for batch in batches]

    assert order((0, 0)) == order((0, 0))
    assert order((0, 0)) != order((0, 1))
    assert order((0, 0), skip=1) == order((0, 0))[1:]


def test_what_goes_wrong_while_batches_are_fetched_is_raised_in_training(convolutional: Lesson):
    tuner = convolutional.tuner([SHORT])
    trainee = _trainee(convolutional)
    teaching = tuner.teaching(trainee, SHORT, 0)
    with (
        mock.patch.object(teaching.train.activations, "read", side_effect=UserError("gone")),
        pytest.raises(UserError, match="gone"),
    ):
        PhaseRun(trainee.part(SHORT), SHORT, teaching).run()


def _head(lesson: Lesson):
    return lesson.tuner([SHORT]).head


def _trainee(lesson: Lesson) -> Trainee:
    return Trainee(lesson.backbone, _head(lesson))


def _random_tensors(lesson: Lesson, start: str) -> tuple[torch.Tensor, ...]:
    boundary = boundary_before(lesson.backbone, start)
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, *spec.shape, generator=generator) for spec in boundary.tensors)


def test_depthwise_convolutions_may_stay_in_float32(lesson: Lesson):
    """Whichever module calls for them; all else is computed in bfloat16 then."""
    trainee = Trainee(lesson.backbone, _head(lesson))
    part = trainee.part(SHORT).train()
    pixels = np.stack([texture(label, 0, noise=90.0) for label in ("ants", "bees")])
    size = lesson.backbone.preprocess.size
    rows = np.resize(pixels, (2, *size, 3)).reshape(2, -1)
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    for module in part.modules():
        if isinstance(module, torch.nn.Conv2d):
            alone = is_depthwise(module.weight)
            module.register_forward_hook(
                lambda _module, _given, found, alone=alone: seen[alone].add(found.dtype)
            )
    with Arithmetic("cpu", bf16=True, depthwise_f32=True).context():
        scores = part(*part.tensors(rows))
    scores.sum().backward()
    assert seen[False] == {torch.bfloat16}
    has_any = any(is_depthwise(p) for p in part.parameters())
    assert seen[True] == ({torch.float32} if has_any else set())
    offered = Arithmetic("cpu", bf16=True, depthwise_f32=True)
    with mock.patch("regraft.train.speed.has_bf16", return_value=True):
        assert (offered in _others(Arithmetic(), part)) == has_any
    gradients = {n: p.grad for n, p in part.named_parameters() if p.grad is not None}
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())


def test_depthwise_convolutions_of_any_make_are_found():
    called = []

    class Own(torch.nn.Module):
        def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            called.append(torch.nn.functional.conv2d(x, weight, padding=1, groups=len(weight)))
            return called[-1]

    x = torch.randn(1, 4, 5, 5)
    own = Own()
    with Arithmetic("cpu", bf16=True, depthwise_f32=True).context():
        own(x, torch.randn(4, 1, 3, 3))
    with Arithmetic("cpu", bf16=True).context():
        own(x, torch.randn(4, 1, 3, 3))
    assert [found.dtype for found in called] == [torch.float32, torch.bfloat16]


def test_depthwise_weights_may_be_computed_too():
    """Mixtures of experts mix their weights in the forward pass, in bfloat16 then."""
    x = torch.randn(1, 4, 5, 5)
    with Arithmetic("cpu", bf16=True, depthwise_f32=True).context():
        mixed = (torch.randn(4, 2) @ torch.randn(2, 9)).view(4, 1, 3, 3)
        assert mixed.dtype == torch.bfloat16
        found = torch.nn.functional.conv2d(x, weight=mixed, padding=1, groups=4)
    assert found.dtype == torch.float32


def test_the_usual_rate_is_taken_unless_another_is_clearly_better(convolutional: Lesson):
    tuner = convolutional.tuner([SHORT])
    teaching = tuner.teaching(tuner.trainee(), SHORT, 0)
    n = 120
    everyone = np.arange(n)
    held_out = replace(teaching.held_out, rows=everyone, y=everyone % 3, units=everyone)
    teaching = replace(teaching, held_out=held_out)
    noise = np.random.default_rng(0).normal(0, 0.3, n)

    def trials(better: float) -> list[RateTrial]:
        return [
            RateTrial(1e-4, 0.5, [0.5] * n),
            RateTrial(rates.USUAL, 0.4, [0.4] * n),
            RateTrial(1e-3, 0.4 - better, list(0.4 - better + noise - noise.mean())),
            RateTrial(3e-3, math.inf, []),
        ]

    guarded = replace(SHORT, guarded=True)
    assert rates.best_rate(trials(0.03), guarded, teaching, 3) == rates.USUAL
    assert rates.best_rate(trials(0.35), guarded, teaching, 3) == 1e-3
    assert rates.best_rate(trials(0.03), SHORT, teaching, 3) == 1e-3, "from random weights"
    exploded = [replace(t, log_loss=math.inf) if t.rate == rates.USUAL else t for t in trials(0.0)]
    assert rates.best_rate(exploded, guarded, teaching, 3) == 1e-3


def test_a_trial_on_a_part_of_the_held_out_pictures(
    convolutional: Lesson, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rates, "_HELD_OUT", 4)
    report = convolutional.train(replace(SHORT, rate=None, guarded=True)).reports[0]
    assert report.phase.rate in rates.RATES
