"""What is frozen stays, to the bit; and the same training ends with the same bits."""

from __future__ import annotations

import itertools
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from regraft.frozen.store import FeatureStore
from regraft.strategy import TUNING
from regraft.train import checkpoint, rates
from regraft.train.batches import Batch
from regraft.train.checkpoint import Checkpoint, Saved
from regraft.train.compute import Arithmetic
from regraft.train.loop import PhaseRun
from regraft.train.recipes import recipe
from regraft.train.teaching import Stopped
from training.lessons import (
    COUNT,
    SHORT,
    Lesson,
    after,
    changed,
    middle,
    same,
    stopping,
    weights,
    with_all,
)


def _phases(strategy: str, lesson: Lesson) -> list:
    start = middle(lesson.backbone) if strategy == "partial" else None
    phases = recipe(
        strategy, lesson.backbone.probes, COUNT, train_from=start, rate=3e-3, epochs=3, views=1
    )
    return [with_all(phase, batch=8, guarded=False) for phase in phases]


@pytest.mark.parametrize("strategy", [name for name in TUNING if name != "lora"])
def test_the_frozen_part_keeps_its_bits(strategy: str, lesson: Lesson):
    before = weights(lesson.backbone)
    phases = _phases(strategy, lesson)
    tuned = lesson.train(*phases)
    assert not changed(before, weights(lesson.backbone)), "the source itself must stay"
    starts = [phase.train_from for phase in phases]
    trained = (
        set(before)
        if None in starts
        else set().union(*(after(start, lesson.backbone) for start in starts))
    )
    moved = changed(before, weights(tuned.backbone))
    assert tuned.improved, "or this test shows nothing"
    assert moved
    assert moved <= trained
    if strategy == "norm":
        assert all(name.rpartition(".")[2] in ("weight", "bias") for name in moved)
        assert not any(before[name].ndim > 1 for name in moved)
    if all(report.phase.still_norms for report in tuned.reports):
        assert not any("running_" in name for name in moved)


def test_statistics_move_where_a_phase_says_so(convolutional: Lesson):
    before = weights(convolutional.backbone)
    tuned = convolutional.train(with_all(SHORT, still_norms=False))
    moved = changed(before, weights(tuned.backbone))
    assert any("running_mean" in name for name in moved)


def test_adapters_are_merged_into_linear_layers_and_nothing_else(transformer: Lesson):
    pytest.importorskip("peft")
    before = weights(transformer.backbone)
    start = middle(transformer.backbone)
    tuned = transformer.train(with_all(SHORT, train_from=start, what="lora"))
    after_it = weights(tuned.backbone)
    moved = changed(before, after_it)
    assert moved
    assert moved <= after(start, transformer.backbone)
    assert all(name.endswith(".weight") and before[name].ndim == 2 for name in moved)
    for name in moved:  # what was added has the rank of the adapters
        values = torch.linalg.svdvals((after_it[name] - before[name]).double())
        assert int((values > 1e-4 * values[0]).sum()) <= SHORT.rank
    assert not any("lora" in name for name, _ in tuned.backbone.chain().root.named_modules())


def test_the_same_training_twice(lesson: Lesson):
    phase = with_all(SHORT, train_from=middle(lesson.backbone), mixup=0.3, label_smoothing=0.1)
    first = lesson.train(phase)
    assert same(first, lesson.train(phase))
    assert not same(first, lesson.train(phase, seed=1))


def test_stored_and_computed_activations_train_the_same_bits(lesson: Lesson, tmp_path: Path):
    phase = with_all(SHORT, train_from=middle(lesson.backbone))
    stored = lesson.train(phase)
    again = lesson.train(phase)
    rows_before = lesson.store.info().rows
    computed = lesson.train(with_all(phase), budget=0, seed=0)
    assert same(stored, again)
    assert same(stored, computed)
    assert lesson.store.info().rows == rows_before
    # and where nothing at all is stored before
    fresh = Lesson(lesson.backbone, type(lesson.store)(tmp_path / "empty"), lesson.cache)
    assert same(stored, fresh.train(phase, budget=0))
    assert fresh.store.info().rows == 0
    fresh.store.close()


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 5, 8])  # in the tests between passes, too
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    steps: int, lesson: Lesson, tmp_path: Path
):
    phases = [
        with_all(SHORT, train_from=lesson.backbone.probes[-2].name, views=1, epochs=1),
        with_all(SHORT, train_from=middle(lesson.backbone), mixup=0.2),
    ]
    whole = lesson.train(*phases)
    file = tmp_path / "training.safetensors"
    with stopping(steps) as stop, pytest.raises(Stopped):
        lesson.tuner(phases, file=file, stop=stop).run()
    assert file.exists()
    assert same(whole, lesson.tuner(phases, file=file).run())


@pytest.mark.parametrize("steps", [1, 4, 6, 9])  # before, at and after the explosion
def test_a_training_that_went_back_goes_on_the_same_way(
    steps: int, convolutional: Lesson, tmp_path: Path
):
    phase = with_all(
        SHORT, train_from=middle(convolutional.backbone), epochs=3, patience=3, pull=10.0
    )
    step, uneven = PhaseRun._step, np.array([3.0, 1.0, 0.5])

    def explodes(self: PhaseRun, batch: Batch) -> bool:
        at = (self._state.epoch, self._state.step, self._state.backs)
        return at != (1, 1, 0) and step(self, batch)

    file = tmp_path / "training.safetensors"
    with mock.patch.object(PhaseRun, "_step", explodes):
        whole = convolutional.train(phase, weights=uneven)
        assert len(whole.reports[0].notes) == 1
        with stopping(steps) as stop, pytest.raises(Stopped):
            convolutional.tuner([phase], file=file, stop=stop, weights=uneven).run()
        assert same(whole, convolutional.tuner([phase], file=file, weights=uneven).run())


@pytest.mark.parametrize("steps", [1, 5])
def test_adapters_that_were_stopped_end_with_the_same_bits(
    steps: int, transformer: Lesson, tmp_path: Path
):
    pytest.importorskip("peft")
    phase = with_all(SHORT, what="lora")
    whole, file = transformer.train(phase), tmp_path / "training.safetensors"
    with stopping(steps) as stop, pytest.raises(Stopped):
        transformer.tuner([phase], file=file, stop=stop).run()
    assert same(whole, transformer.tuner([phase], file=file).run())


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 6])
def test_a_training_that_was_stopped_while_the_rate_was_sought(
    steps: int, convolutional: Lesson, tmp_path: Path
):
    phase = with_all(SHORT, train_from=middle(convolutional.backbone), rate=None, epochs=1)
    file = tmp_path / "training.safetensors"
    with mock.patch.object(rates, "RATES", (1e-4, 1e-3)):
        with stopping(steps) as stop, pytest.raises(Stopped):
            convolutional.tuner([phase], file=file, stop=stop).run()
        kept = Checkpoint(file).load()
        assert kept is not None
        assert kept.note["run"] is not None  # the trial goes on where it was
        assert kept.note["begun"]["rate"] is None
        resumed = convolutional.tuner([phase], file=file).run()
        assert same(convolutional.train(phase), resumed)
    assert len(resumed.reports[0].rates) == 2
    assert resumed.reports[0].phase.rate in [trial.rate for trial in resumed.reports[0].rates]


@pytest.mark.parametrize("looks", [0, 1, 5, 9, 13])
def test_a_wish_to_stop_is_heard_before_the_first_step(
    looks: int, convolutional: Lesson, tmp_path: Path
):
    """While the arithmetic is chosen, and while it is seen whether statistics may move."""
    phase = with_all(SHORT, train_from=middle(convolutional.backbone), still_norms=False)
    several = [Arithmetic("cpu", bf16=True), Arithmetic("cpu", bf16=True, depthwise_f32=True)]
    store = FeatureStore(tmp_path / "empty")  # nothing is known of what is faster
    fresh = Lesson(convolutional.backbone, store, convolutional.cache)
    file, count = tmp_path / "training.safetensors", itertools.count()
    with (
        mock.patch("regraft.train.speed._others", return_value=several),
        mock.patch.object(PhaseRun, "run", side_effect=AssertionError("too late")),
        pytest.raises(Stopped),
    ):
        fresh.tuner([phase], file=file, stop=lambda: next(count) >= looks).run()
    assert same(fresh.train(phase), fresh.tuner([phase], file=file).run())
    store.close()


@pytest.mark.parametrize("trials", [1, 2])
def test_trials_of_rates_are_kept(trials: int, convolutional: Lesson, tmp_path: Path):
    phase = with_all(SHORT, train_from=middle(convolutional.backbone), rate=None, epochs=1)
    file = tmp_path / "training.safetensors"

    def stop() -> bool:
        kept = Checkpoint(file).load()
        return kept is not None and len(kept.note["begun"]["trials"]) >= trials

    with mock.patch.object(rates, "RATES", (1e-4, 1e-3)):
        whole = convolutional.train(phase)
        with pytest.raises(Stopped):
            convolutional.tuner([phase], file=file, stop=stop).run()
        resumed = convolutional.tuner([phase], file=file).run()
    assert same(whole, resumed)
    assert resumed.reports[0].rates == whole.reports[0].rates


def test_a_damaged_checkpoint_is_no_checkpoint(convolutional: Lesson, tmp_path: Path):
    file = tmp_path / "training.safetensors"
    for content in (b"", b"{}", b"\x08\0\0\0\0\0\0\0{}      "):
        file.write_bytes(content)
        assert Checkpoint(file).load() is None
    phase = with_all(SHORT, epochs=1)
    assert same(convolutional.train(phase), convolutional.tuner([phase], file=file).run())


def test_a_checkpoint_is_replaced_whole(tmp_path: Path):
    place = Checkpoint(tmp_path / "a" / "training.safetensors")
    place.save(Saved({"x": torch.zeros(3)}, {"n": 1}))
    place.save(Saved({"x": torch.ones(3)}, {"n": 2}))
    found = place.load()
    assert found is not None
    assert torch.equal(found.tensors["x"], torch.ones(3))
    assert found.note == {"n": 2}
    killed = tmp_path / "a" / ".training.safetensors.regraft-tmp-killed"
    killed.mkdir()
    (killed / "half").write_bytes(b"half")
    place.remove()
    assert not list((tmp_path / "a").iterdir())


def test_who_is_done_leaves_the_writing_of_another_process_alone(tmp_path: Path, monkeypatch):
    place = Checkpoint(tmp_path / "training.safetensors")
    real = checkpoint.save_file

    def save_file(*given: object) -> None:
        place.remove()  # another process with the same command has finished
        real(*given)

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    place.save(Saved({"x": torch.ones(3)}, {}))
    found = place.load()
    assert found is not None
    assert torch.equal(found.tensors["x"], torch.ones(3))


def test_scores_of_the_result_are_those_that_were_tested(lesson: Lesson):
    tuned = lesson.train(with_all(SHORT, train_from=middle(lesson.backbone), views=1))
    material = lesson.tuner([SHORT]).material
    pixels = np.stack(
        [
            material.sources[row].load().prepare(lesson.backbone.preprocess)
            for row in material.held_out
        ]
    )
    scores = torch.from_numpy(tuned.scores(pixels))
    y = torch.from_numpy(material.y[material.held_out])
    loss = float(torch.nn.functional.cross_entropy(scores, y))
    best = tuned.reports[-1].best
    assert loss == pytest.approx(best.log_loss, rel=0.02, abs=0.02)  # the boundary is in bfloat16
    assert COUNT > len(y) > 0
