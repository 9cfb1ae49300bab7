"""A head that reads several depths begins where the frozen one ended, and ends as a plain one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from regraft.backbones.pooling import Pool
from regraft.data.views import View
from regraft.heads.fitting import fit_linear
from regraft.heads.linear import LinearHead
from regraft.heads.scaling import scaling_of
from regraft.strategy import Tap
from regraft.train.batches import Batch
from regraft.train.network import Trainee
from regraft.train.objective import losses
from regraft.train.reading import Reading
from training.lessons import SHORT, Lesson, middle

STRENGTH = 0.03


def taps_of(lesson: Lesson) -> tuple[Tap, ...]:
    """The last two probes, and the deviations of a map where there is one."""
    before, last = lesson.backbone.probes[-2:]
    more = [Tap(cut.name, "std") for cut in (before, last) if "std" in cut.poolings]
    return (Tap(before.name), Tap(last.name), *more)


def features_of(lesson: Lesson, taps: tuple[Tap, ...], rows: np.ndarray) -> np.ndarray:
    """What the network says, tap by tap, from pixels on."""
    material = lesson.tuner([SHORT]).material
    preprocess = lesson.backbone.preprocess
    pixels = np.stack([material.sources[row].load().prepare(preprocess) for row in rows])
    part = Trainee(lesson.backbone, lesson.tuner([SHORT]).head).part(SHORT)
    x = part.tensors(pixels.reshape(len(pixels), -1))
    cuts = {cut.name: cut for cut in lesson.backbone.cuts}
    found = []
    with torch.no_grad():
        for tap in taps:
            maps = lesson.backbone.chain().prefix(tap.cut).eval()(*x)
            found.append(Pool(cuts[tap.cut], tap.pooling)(maps).numpy())
    return np.concatenate(found, axis=1)


@pytest.fixture(scope="module")
def started(lesson: Lesson) -> tuple[Lesson, LinearHead, Reading, np.ndarray]:
    material = lesson.tuner([SHORT]).material
    taps = taps_of(lesson)
    features = features_of(lesson, taps, material.train)
    cuts = {cut.name: cut for cut in lesson.backbone.cuts}
    widths = [cuts[tap.cut].width(tap.pooling) for tap in taps]
    y = material.y[material.train]
    head = fit_linear("logistic", features, y, 3, strength=STRENGTH, widths=widths)
    reading = Reading(taps, scaling_of(features, widths), STRENGTH / len(y))
    return lesson, head, reading, features


def test_the_start_is_the_frozen_head(started):
    lesson, head, reading, features = started
    rows = lesson.tuner([SHORT]).material.train
    expected = head.scores(features)
    for start in (None, lesson.backbone.probes[-2].name):
        tuner = lesson.tuner([SHORT])
        phase = replace(SHORT, train_from=start)
        part = Trainee(lesson.backbone, head, "cpu", reading).part(phase).eval()
        teaching = tuner.teaching(Trainee(lesson.backbone, head, "cpu", reading), phase, 0)
        stored = teaching.train.activations.read(View(0), rows.tolist())
        with torch.no_grad():
            found = part(*part.tensors(stored)).numpy()
        # What lies behind a boundary is stored in eight bits.
        assert np.allclose(found, expected, atol=1e-3 if start is None else 0.2)


def test_the_start_is_the_minimum_of_the_loss(started):
    """All pictures in one step: nothing pulls at the head; without the penalty something does."""
    lesson, head, reading, _ = started
    rows = lesson.tuner([SHORT]).material.train
    pulls = []
    for penalised in (reading, replace(reading, penalty=0.0)):
        trainee = Trainee(lesson.backbone, head, "cpu", penalised)
        teaching = lesson.tuner([SHORT]).teaching(trainee, SHORT, 0)
        part = trainee.part(SHORT)
        part.eval()
        stored = teaching.train.activations.read(View(0), rows.tolist())
        batch = Batch(stored, teaching.train.y[rows])
        losses(part, part, SHORT, teaching, batch, 0)[0].backward()
        pulls.append(float(part.head.weight.grad.norm()))
    assert pulls[0] < 0.02 * pulls[1]


def test_what_ends_reads_the_raw_features_of_the_trained_network(started):
    lesson, head, reading, _ = started
    # An empty head, so that there is something to gain.
    empty = replace(head, weight=np.zeros_like(head.weight), bias=np.zeros_like(head.bias))
    tuner = replace(lesson.tuner([replace(SHORT, epochs=4)]), head=empty, reading=reading)
    tuner.checkpoint.remove()
    tuned = tuner.run()
    tuner.checkpoint.remove()
    assert tuned.improved
    material, preprocess = tuner.material, lesson.backbone.preprocess
    rows = material.held_out
    pixels = np.stack([material.sources[row].load().prepare(preprocess) for row in rows])
    trained = replace(lesson, backbone=tuned.backbone)
    features = features_of(trained, reading.taps, rows)
    assert np.allclose(tuned.head.scores(features), tuned.scores(pixels), atol=1e-3)


def test_columns_that_never_vary_stay_out():
    values = np.random.default_rng(0).normal(size=(20, 4))
    values[:, 2] = 5.0
    y = np.arange(20) % 2
    head = fit_linear("logistic", values, y, 2, strength=STRENGTH)
    reading = Reading((Tap("a"),), scaling_of(values, [4]), 0.0)
    weight, bias = reading.scaled(head)
    assert not weight[:, 2].any()
    again = reading.unscaled(weight, bias)
    assert np.allclose(again[0], head.weight, atol=1e-6)
    assert np.allclose(again[1], head.bias, atol=1e-5)


def test_a_map_of_zeros_has_a_gradient(convolutional: Lesson):
    cut = next(cut for cut in convolutional.backbone.probes if "std" in cut.poolings)
    x = torch.zeros(2, *cut.tensors[0].shape, requires_grad=True)
    Pool(cut, "std")((x,)).sum().backward()
    assert x.grad.isfinite().all()


def test_a_later_start_reads_later_cuts(convolutional: Lesson):
    """What lies before the layers that train is not at hand while they do."""
    start = middle(convolutional.backbone)
    first = Tap(convolutional.backbone.probes[0].name)
    width = convolutional.backbone.probes[0].width("avg")
    head = LinearHead("logistic", np.zeros((3, width), np.float32), np.zeros(3, np.float32))
    values = np.random.default_rng(0).normal(size=(9, width))
    reading = Reading((first,), scaling_of(values, [width]), 0.0)
    trainee = Trainee(convolutional.backbone, head, "cpu", reading)
    with pytest.raises(Exception, match="must begin before it ends"):
        trainee.part(replace(SHORT, train_from=start))
