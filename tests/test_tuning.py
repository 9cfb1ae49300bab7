"""A fit that trains layers: from the command line to the bundle, killed and stopped on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import regraft
from commands import Finished, call, empty_store, finish, run, spawn
from pictures import write_classes
from regraft import proof, second_training, tuning
from regraft.backbones.pooling import Pool
from regraft.backbones.registry import get_backbone
from regraft.errors import UserError
from regraft.frozen.files import forget_checkpoint
from regraft.frozen.store import FeatureStore
from regraft.options import Overrides
from regraft.train.network import Part
from training.lessons import after

NETWORK, PIXELS = "timm:test_resnet", (64, 64)
STATED = Path(__file__).parent / "networks" / "stated.onnx"
SAID = ("--backbone", NETWORK, "--no-pretrained", "--size", "64")
SAVING = "import regraft.train.loop as l; l.SAVE_SECONDS = 0; from regraft.cli import main; main()"
COUNTS = {"ants": 14, "bees": 14}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    # So alike that there is something to learn: the stripes of one class in the noise of another.
    return write_classes(folder, COUNTS, noise=140.0)


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


def fitted(photos: Path, out: Path, strategy: str, **options: Any) -> regraft.FitResult:
    """Fit a small network; every head on frozen features is empty, so there is much to gain."""
    begins = mock.patch("regraft.learn.first_head", _empty_head)
    rival = mock.patch("regraft.against_frozen.first_head", _empty_head)
    again = mock.patch("regraft.second_training.first_head", _empty_head)
    with begins, rival, again:
        return regraft.fit(
            photos,
            out,
            backbone=options.pop("backbone", NETWORK),
            pretrained=options.pop("pretrained", False),
            overrides=options.pop("overrides", Overrides(size=PIXELS)),
            strategy=strategy,
            **{"lr": 3e-3, "epochs": 3, "views": 2, **options},
        )


def _empty_head(self: Any, lot: Any, choice: Any, train: Any) -> Any:
    from regraft.heads.linear import LinearHead

    cuts = {cut.name: cut for cut in self.backbone.cuts}
    width = sum(cuts[tap.cut].width(tap.pooling) for tap in choice.features.taps)
    return LinearHead("logistic", np.zeros((2, width), np.float32), np.zeros(2, np.float32))


@pytest.fixture(scope="module")
def tuned(photos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        out = tmp_path_factory.mktemp("tuned") / "cats.regraft"
        return fitted(photos, out, "partial", train_from="layer3"), out


def test_the_record_says_what_was_trained(tuned):
    record = tuned[0].record
    assert record["strategy"]["name"] == "partial"
    (phase,) = record["strategy"]["phases"]
    assert (phase["train_from"], phase["rate"], phase["epochs"]) == ("layer3", 3e-3, 3)
    (training,) = record["training"]
    assert training["train_from"] == "layer3"
    assert training["epochs"] == 3
    assert training["kept_epoch"] > 0
    assert len(training["held_out"]) == 4
    assert training["held_out"][training["kept_epoch"]][0] < training["held_out"][0][0]
    assert record["seconds"]["training"] > 0
    assert json.loads(json.dumps(record)) == record


def test_the_card_says_what_was_trained(tuned):
    card = " ".join((tuned[1] / "README.md").read_text("utf-8").split())
    assert "layers from layer3 on trained here, the rest frozen; licence of the weights" in card


def test_frozen_layers_have_the_same_bits_in_the_bundle(tuned, cache: Path):
    source = get_backbone(
        NETWORK, cache, pretrained=False, seed=0, overrides=Overrides(size=PIXELS)
    ).chain()
    before, after = source.weights(), load_file(tuned[1] / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert {name.partition(".")[0] for name in moved} == {"layer3", "layer4"}


@pytest.mark.parametrize(
    ("network", "strategy"),
    [
        ("timm:test_resnet", "norm"),
        pytest.param("timm:test_efficientnet_gn", "partial", marks=pytest.mark.slow),
        ("timm:test_efficientnet_gn", "gradual"),
        ("timm:test_vit", "partial"),
        pytest.param("timm:test_vit", "lora", marks=pytest.mark.slow),
    ],
)
def test_frozen_weights_have_the_same_bits_in_any_bundle(
    network: str, strategy: str, photos: Path, cache: Path, tmp_path: Path
):
    if strategy == "lora":
        pytest.importorskip("peft")
    size = Overrides(size=None if "vit" in network else PIXELS)
    source = get_backbone(network, cache, pretrained=False, seed=0, overrides=size)
    names = [cut.name for cut in source.probes]
    start = {"partial": names[1], "gradual": names[max(0, len(names) - 4)]}.get(strategy)
    said: dict[str, Any] = {"train_from": start} if strategy == "partial" else {}
    said |= {"backbone": network, "overrides": size, "lr": 1e-2, "epochs": 8}
    made = fitted(photos, tmp_path / "m", strategy, **said)
    assert made.record["strategy"]["name"] == strategy, "or this test shows nothing"
    before, found = source.chain().weights(), load_file(tmp_path / "m" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], found[name])}
    assert moved
    if start is not None:
        assert moved <= after(start, source)
    if strategy == "norm":
        assert not any(before[name].ndim > 1 for name in moved)
    if strategy == "lora":
        assert all(before[name].ndim == 2 for name in moved)
    assert np.isfinite(
        regraft.load(tmp_path / "m").predict_proba(sorted(photos.rglob("*.jpg")))
    ).all()


def test_the_bundle_says_what_the_network_says(tuned, photos: Path, cache: Path):
    model = regraft.load(tuned[1])
    paths = sorted(photos.rglob("*.jpg"))
    backbone = get_backbone(str(tuned[1]), cache)
    pixels = np.stack([backbone.preprocess.encoded(path.read_bytes()) for path in paths])
    preprocess = backbone.preprocess
    x = (torch.from_numpy(pixels).float() / 255 - torch.tensor(preprocess.mean)) / torch.tensor(
        preprocess.std
    )
    cuts, found = {cut.name: cut for cut in backbone.cuts}, []
    for tap in tuned[0].record["strategy"]["taps"]:
        maps = backbone.chain().prefix(tap["cut"]).eval()(x.permute(0, 3, 1, 2))
        found.append(Pool(cuts[tap["cut"]], tap["pooling"])(maps).detach().numpy())
    vectors = np.concatenate(found, axis=1)
    expected = model.head.predict_proba(vectors)
    assert expected.std() > 0
    tolerance = 1e-3 if model.precision == "f32" else 5e-2
    np.testing.assert_allclose(model.predict_proba(paths), expected, atol=tolerance)


def test_a_tuned_model_is_a_source_and_its_ancestry_is_shown(
    tuned, photos: Path, cache: Path, tmp_path: Path
):
    out = tmp_path / "dogs"
    fitted(
        photos,
        out,
        "full",
        backbone=str(tuned[1]),
        pretrained=True,
        overrides=Overrides(),
        epochs=1,
    )
    shown = run("show", out, "--json").json
    assert [(a["name"], a["strategy"]) for a in shown["ancestors"]] == [
        ("timm:test_resnet", None),
        ("cats.regraft", "partial"),
        ("dogs", shown["strategy"]["name"]),
    ]
    assert shown["ancestors"][1]["task"] == "ants, bees (2 classes)"
    assert 0 <= shown["ancestors"][1]["accuracy"] <= 1
    text = run("show", out).out
    assert "ancestry, oldest first" in text
    assert "its layers trained (partial)" in text
    assert text.index("timm:test_resnet: trained on") < text.index("cats.regraft: ants, bees")
    source = get_backbone(str(tuned[1]), cache)
    assert source.origin.trained_on.startswith("ants, bees (2 classes), before that ")
    assert (
        "no bundle" in run("show", tmp_path).error or "config.json" in run("show", tmp_path).error
    )


@pytest.mark.parametrize("strategy", ["gradual", "full", "scratch", "norm"])
def test_every_strategy_ends_with_a_model(strategy: str, photos: Path, tmp_path: Path):
    result = fitted(photos, tmp_path / "m", strategy, epochs=2)
    record = result.record
    assert len(record["training"]) == (3 if strategy == "gradual" else 1)
    assert record["strategy"]["name"] in (strategy, "features")
    probabilities = regraft.load(tmp_path / "m").predict_proba(sorted(photos.rglob("*.jpg")))
    assert np.isfinite(probabilities).all()


def test_training_that_brings_nothing_leaves_the_network_and_says_so(photos: Path, tmp_path: Path):
    easy = write_classes(tmp_path / "easy", COUNTS)
    never_better = mock.patch("regraft.train.tune.Tuned.improved", False)
    with never_better:
        record = regraft.fit(
            easy,
            tmp_path / "m",
            backbone=NETWORK,
            pretrained=False,
            overrides=Overrides(size=PIXELS),
            strategy="full",
            lr=1e-3,
            epochs=1,
            views=1,
        ).record
    assert len(record["training"]) == 1
    assert (record["strategy"]["name"], record["strategy"]["phases"]) == ("features", [])
    assert "; frozen; licence" in (tmp_path / "m" / "README.md").read_text("utf-8")
    assert any("no pass lowered the loss" in note for note in record["notes"])
    plain = regraft.fit(
        easy, tmp_path / "p", backbone=NETWORK, pretrained=False, overrides=Overrides(size=PIXELS)
    ).record
    assert record["test"] == plain["test"]


def test_a_network_that_a_head_on_the_frozen_one_outdoes_is_not_kept(photos: Path, tmp_path: Path):
    easy = write_classes(tmp_path / "easy", {"ants": 60, "bees": 60})
    said = {"backbone": NETWORK, "pretrained": False, "overrides": Overrides(size=PIXELS)}
    with mock.patch("regraft.learn.first_head", _empty_head):  # training lowers this loss at once
        record = regraft.fit(
            easy, tmp_path / "m", strategy="full", lr=1e-3, epochs=1, views=1, **said
        ).record
    assert record["training"][0]["kept_epoch"] == 1
    against = record["against_frozen"]
    assert against["behind"]
    assert against["frozen_log_loss"] < against["log_loss"]
    assert record["strategy"]["name"] == "features"
    assert any(f"a head on {against['features']} of the frozen" in n for n in record["notes"])
    plain = regraft.fit(easy, tmp_path / "p", **said).record
    assert record["test"] == plain["test"]
    assert plain["against_frozen"] is None


def test_a_network_that_is_kept_was_compared_with_the_best_head_on_the_frozen_one(tuned):
    against = tuned[0].record["against_frozen"]
    assert not against["behind"]
    assert against["log_loss"] < against["frozen_log_loss"] == pytest.approx(np.log(2), abs=0.01)


def test_in_the_end_a_network_is_trained_on_what_said_when_to_stop_too(tuned, photos: Path):
    record = tuned[0].record
    assert record["trained_on_all"]
    assert any("trained once more" in note for note in record["notes"])
    assert [phase["passes"] for phase in record["strategy"]["phases"]] == [None]


@pytest.mark.parametrize("ends", ["time", "explosion"])
def test_where_a_second_training_fails_the_first_one_is_kept(
    ends: str, photos: Path, tmp_path: Path
):
    what = {"side_effect": tuning.OutOfTime()} if ends == "time" else {"return_value": None}
    with mock.patch("regraft.tuning.Studio.tune_again", **what):
        record = fitted(photos, tmp_path / "m", "partial", train_from="layer3").record
    assert record["strategy"]["name"] == "partial"
    assert not record["trained_on_all"]
    assert any("time was up" in note for note in record["notes"]) == (ends == "time")
    assert np.isfinite(
        regraft.load(tmp_path / "m").predict_proba(sorted(photos.rglob("*.jpg")))
    ).all()


def test_a_second_training_that_goes_wrong_is_not_kept(photos: Path, tmp_path: Path):
    real, seen = second_training.prove, []

    def prove(studio: object, lesson: object, trained: object) -> object:
        outcome = real(studio, lesson, trained)
        seen.append(len(outcome.held_out))
        return replace(outcome, held_out=-outcome.held_out) if len(seen) == 1 else outcome

    with mock.patch("regraft.second_training.prove", prove):
        record = fitted(photos, tmp_path / "m", "partial", train_from="layer3").record
    assert len(seen) == 2
    assert not record["trained_on_all"]
    assert any("worse than the first" in note for note in record["notes"])
    assert record["test"] == fitted_once(photos, tmp_path / "n").record["test"]


def fitted_once(photos: Path, out: Path) -> regraft.FitResult:
    """Fit the same without a second training."""
    with mock.patch("regraft.tuning.Studio.tune_again", return_value=None):
        return fitted(photos, out, "partial", train_from="layer3")


def test_only_features_up_to_a_depth(photos: Path, tmp_path: Path):
    said = ("--strategy", "features", "--depth", "layer2", "--json")
    record = run("fit", photos, "--out", tmp_path / "m", *SAID, *said).json
    opened = get_backbone(NETWORK, Path(os.environ["REGRAFT_CACHE"]), pretrained=False)
    names = [cut.name for cut in opened.cuts]
    assert all(names.index(cut) <= names.index("layer2") for cut in record["strategy"]["cuts"])
    done = run("fit", photos, "--out", tmp_path / "n", *SAID, "--depth", "layer9")
    assert "depth must be a cut of" in done.error
    assert "layer4" in done.error


def test_a_disk_without_room_changes_no_model(tmp_path: Path, monkeypatch):
    photos = write_classes(tmp_path / "photos", {"ants": 12, "bees": 12}, first=800, noise=120.0)
    put, activations = FeatureStore.put_batches, []

    def stored(self: FeatureStore, batches: Any, *, scattered: bool = False) -> None:
        activations.append(scattered)
        put(self, batches, scattered=scattered)

    monkeypatch.setattr(FeatureStore, "put_batches", stored)
    usage = SimpleNamespace(free=10)
    with mock.patch("regraft.tuning.shutil.disk_usage", return_value=usage):
        full = fitted(photos, tmp_path / "m", "partial", train_from="layer3")
    assert not any(activations)
    plain = fitted(photos, tmp_path / "n", "partial", train_from="layer3")
    assert any(activations)
    assert full.record["test"] == plain.record["test"]
    for name in ("head.safetensors", "model.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "n" / name).read_bytes()


@pytest.mark.parametrize("depth", ["layer1", "layer3"])
def test_what_is_tested_does_not_depend_on_what_is_kept(
    depth: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def near_copies(_: object, features: np.ndarray, *__: object) -> tuple[tuple[int, ...], ...]:
        asked.append(np.array(features))
        return ()

    monkeypatch.setattr("regraft.kept_together.near_copies", near_copies)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    said = (*SAID, "--precision", "f32", "--json")
    run("fit", photos, "--out", tmp_path / "m", *said)
    whole, asked[:] = list(asked), []
    shutil.rmtree(tmp_path / "cache")
    record = run("fit", photos, "--out", tmp_path / "n", *said, "--depth", depth).json
    assert depth in record["strategy"]["cuts"]
    assert whole
    for features, of_whole in zip(asked, whole, strict=True):
        np.testing.assert_array_equal(features, of_whole)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--strategy", "partial", "--train-from", "layer9"], "train_from must be a cut of"),
        (["--strategy", "all"], "--strategy must be one of 'auto'"),
        (
            ["--strategy", "full", "--train-from", "layer3"],
            "train_from needs strategy 'partial', got 'layer3' with 'full'",
        ),
        (["--epochs", "3"], "epochs needs strategy 'partial' or"),
        (["--strategy", "full", "--lr", "-1"], "lr must lie in (0, 1]"),
        (["--strategy", "full", "--mixup", "-1"], "mixup must lie in [0, 100]"),
        (
            ["--strategy", "scratch", "--l2-sp", "1"],
            "l2_sp must be left out with strategy 'scratch'",
        ),
        (["--l2-sp", "1"], "l2_sp needs strategy 'partial' or"),
        (["--strategy", "partial", "--train-from", ""], "train_from must be a cut of"),
        (["--strategy", "lora"], "has none where it trains"),
    ],
)
def test_mistakes(options: list[str], part: str, photos: Path, tmp_path: Path):
    done = run("fit", photos, "--out", tmp_path / "m", *SAID, *options)
    assert part in done.error
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("network", "options", "part"),
    [
        (NETWORK, ["--strategy", "partial", "--train-from", "layer9"], "train_from must be"),
        (NETWORK, ["--strategy", "lora"], "has none where it trains"),
        (f"file:{STATED}", ["--strategy", "full"], "only runs frozen"),
    ],
)
def test_what_cannot_train_is_said_before_pictures_are_read(
    network: str, options: list[str], part: str, photos: Path, tmp_path: Path, monkeypatch
):
    def reads(*_: object) -> None:
        raise AssertionError("pictures were read")

    monkeypatch.setattr("regraft.workshop.Workshop.gather", reads)
    said = ("--backbone", network, *(SAID[2:] if network == NETWORK else ()), *options)
    assert part in run("fit", photos, "--out", tmp_path / "m", *said).error


def test_a_network_file_cannot_train(photos: Path, tmp_path: Path):
    done = run("fit", photos, "--out", tmp_path / "m", "--backbone", f"file:{STATED}",
               "--strategy", "full")  # fmt: skip
    assert "only runs frozen" in done.error


def test_mixing_and_the_pull_get_into_every_phase(photos: Path, tmp_path: Path):
    asked: list[Any] = []

    def told(tuner: Any) -> None:
        asked.extend(tuner.phases)
        raise UserError("enough")

    with mock.patch("regraft.train.tune.Tuner.run", told), pytest.raises(UserError, match="enough"):
        fitted(photos, tmp_path / "m", "gradual", mixup=0.2, l2_sp=10)
    assert len(asked) == 3
    assert {(phase.mixup, phase.pull) for phase in asked} == {(0.2, 10)}


def test_a_pull_of_all_the_way_back_leaves_the_layers(photos: Path, tmp_path: Path, cache: Path):
    size = Overrides(size=PIXELS)
    before = get_backbone(NETWORK, cache, pretrained=False, seed=0, overrides=size)
    fitted(photos, tmp_path / "m", "partial", train_from="layer3", l2_sp=1e9, epochs=8)
    found = load_file(tmp_path / "m" / "model.safetensors")
    weights = before.chain().weights()
    for name, tensor in weights.items():
        if "running_" in name:  # statistics are no weights
            continue
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)


def test_one_picture_of_a_class_is_too_few(tmp_path: Path):
    lonely = write_classes(tmp_path / "p" / "train", {"ants": 1, "bees": 1})
    write_classes(tmp_path / "p" / "test", {"ants": 2, "bees": 2}, first=5)
    done = run("fit", lonely.parent, "--out", tmp_path / "m", *SAID, "--strategy", "full")
    assert "some class needs two pictures in train" in done.error


def test_a_loss_that_never_is_a_number_leaves_no_bundle(photos: Path, tmp_path: Path):
    def no_number(self: Part, *tensors: torch.Tensor) -> torch.Tensor:
        return forward(self, *tensors) * (float("nan") if self.training else 1.0)

    forward = Part.forward
    with mock.patch.object(Part, "forward", no_number), pytest.raises(UserError) as caught:
        fitted(photos, tmp_path / "m", "full")
    assert "give a lower --lr" in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_a_graph_that_says_something_else_is_refused(photos: Path, tmp_path: Path):
    real = proof._check
    with (
        mock.patch.object(proof, "_check", lambda ours, theirs, p: real(ours, theirs[:, ::-1], p)),
        pytest.raises(UserError, match="differs from the network that was trained"),
    ):
        fitted(photos, tmp_path / "m", "partial", train_from="layer4", precision="f32")
    assert not (tmp_path / "m").exists()


DEPTHS = """
import regraft.tuning as tuning
sets = tuning.candidate_sets
def several(cuts):
    return tuple(s for s in sets(cuts) if len(s.cuts) > 1 and cuts[-1].name in s.cuts)[-1:]
tuning.candidate_sets = several
"""


@pytest.mark.parametrize(
    "strategy", ["partial", pytest.param("gradual", marks=pytest.mark.slow), "full"]
)
def test_a_head_that_reads_several_depths_gets_into_the_bundle(
    strategy: str, photos: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tuning, "candidate_sets", tuning.candidate_sets)  # put back in the end
    exec(DEPTHS, {})
    start = {"train_from": "layer2"} if strategy == "partial" else {}
    record = fitted(photos, tmp_path / "m", strategy, **start).record
    assert record["strategy"]["name"] == strategy
    assert len(record["strategy"]["cuts"]) == {"partial": 4, "gradual": 3, "full": 6}[strategy]
    model, paths = regraft.load(tmp_path / "m"), sorted(photos.rglob("*.jpg"))
    backbone = get_backbone(str(tmp_path / "m"), cache)
    preprocess, cuts = backbone.preprocess, {cut.name: cut for cut in backbone.cuts}
    pixels = np.stack([preprocess.encoded(path.read_bytes()) for path in paths])
    scale = torch.tensor(preprocess.std)
    x = (torch.from_numpy(pixels).float() / 255 - torch.tensor(preprocess.mean)) / scale
    found = []
    for tap in record["strategy"]["taps"]:
        maps = backbone.chain().prefix(tap["cut"]).eval()(x.permute(0, 3, 1, 2))
        found.append(Pool(cuts[tap["cut"]], tap["pooling"])(maps).detach().numpy())
    expected = model.head.predict_proba(np.concatenate(found, axis=1))
    assert expected.std() > 0
    tolerance = 1e-3 if model.precision == "f32" else 5e-2
    np.testing.assert_allclose(model.predict_proba(paths), expected, atol=tolerance)


LONG = ("--strategy", "partial", "--train-from", "layer4", "--epochs", "40", "--lr", "0.001",
        "--views", "2", "--json")  # fmt: skip


def started(photos: Path, out: Path, cache: Path, code: str) -> Any:
    return spawn("fit", photos, "--out", out, *SAID, *LONG, cache=cache, code=code)


def interrupted(cache: Path, process: Any, stop: Callable[[Any], None]) -> Finished:
    """Stop a fit as soon as it has saved a checkpoint."""
    folder, deadline = cache / "training", time.monotonic() + 120
    while not list(folder.glob("*.safetensors")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    stop(process)
    return finish(process)


def bits(model: Path) -> list[bytes]:
    return [(model / name).read_bytes() for name in ("model.safetensors", "head.safetensors")]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(SAVING, id="last depth"),
        pytest.param(DEPTHS + SAVING, id="several", marks=pytest.mark.slow),
    ],
)
def test_a_killed_and_a_stopped_fit_go_on_and_end_with_the_same_bits(
    code: str, photos: Path, cache: Path, tmp_path: Path
):
    cache, whole = empty_store(cache, tmp_path / "cache"), tmp_path / "whole"
    assert finish(started(photos, whole, cache, code)).code == 0
    assert not list((cache / "training").glob("*"))
    for name, stop in (
        ("killed", lambda process: process.kill()),
        ("stopped", lambda process: process.send_signal(signal.SIGINT)),
    ):
        out = tmp_path / name
        done = interrupted(cache, started(photos, out, cache, code), stop)
        assert not out.exists()
        if name == "stopped":
            assert done.code == 130, done.err
            assert "goes on from what is stored" in done.err
            assert "Traceback" not in done.err
        left = list((cache / "training").glob("*.safetensors"))
        assert len(left) == 1
        again = finish(started(photos, out, cache, code))
        assert again.code == 0, again.err
        assert bits(out) == bits(whole)
        assert not list((cache / "training").glob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["partial", "gradual", "full", "norm"])
def test_a_fit_that_is_killed_again_and_again_ends_with_the_same_bits(
    strategy: str, photos: Path, cache: Path, tmp_path: Path
):
    """At any instant: while the rate is sought, between phases, before anything was saved."""
    cache, moments = empty_store(cache, tmp_path / "cache"), random.Random(strategy)
    said = ("--strategy", strategy, "--epochs", "6", "--views", "2", "--json")

    def started(out: Path) -> Any:
        return spawn("fit", photos, "--out", out, *SAID, *said, cache=cache, code=EMPTY + SAVING)

    began = time.monotonic()
    assert finish(started(tmp_path / "whole")).code == 0
    takes = time.monotonic() - began
    killed = 0
    for _ in range(6):
        process = started(tmp_path / "m")
        time.sleep(moments.uniform(0.1, 0.5) * takes)
        killed += process.poll() is None
        process.kill()
        finish(process)
        if (tmp_path / "m").exists():
            break
    assert killed
    if not (tmp_path / "m").exists():
        assert finish(started(tmp_path / "m")).code == 0
    assert bits(tmp_path / "m") == bits(tmp_path / "whole")


EMPTY = """
import numpy as np
import regraft.learn, regraft.against_frozen, regraft.second_training
from regraft.heads.linear import LinearHead
def empty(shop, lot, choice, train):
    width = sum(lot.table.dim(tap) for tap in choice.features.taps)
    return LinearHead("logistic", np.zeros((2, width), np.float32), np.zeros(2, np.float32))
for module in (regraft.learn, regraft.against_frozen, regraft.second_training):
    module.first_head = empty
"""


@pytest.mark.slow
def test_a_fit_that_is_killed_in_its_second_training_ends_with_the_same_bits(
    photos: Path, cache: Path, tmp_path: Path
):
    code = EMPTY + SAVING
    cache, whole, out = empty_store(cache, tmp_path / "cache"), tmp_path / "whole", tmp_path / "m"
    done = finish(started(photos, whole, cache, code))
    assert done.code == 0, done.err
    assert json.loads((whole / "config.json").read_text("utf-8"))["regraft"]["trained_on_all"]
    process = started(photos, out, cache, code)
    while len(list((cache / "training").glob("*.safetensors"))) < 2:
        assert process.poll() is None, "it ended before its second training was seen"
        time.sleep(0.01)
    process.kill()
    finish(process)
    assert not out.exists()
    again = finish(started(photos, out, cache, code))
    assert again.code == 0, again.err
    assert bits(out) == bits(whole)
    assert not list((cache / "training").glob("*"))


def test_checkpoints_go_with_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    left = tmp_path / "training" / "x.safetensors"
    left.parent.mkdir()
    left.write_bytes(bytes(1000))
    with FeatureStore(tmp_path) as store:
        store.trim()
        assert left.exists(), "somebody may go on from it"
        long_ago = time.time() - 31 * 24 * 3600
        os.utime(left, (long_ago, long_ago))
        store.trim()
        assert not left.exists()
    begun = left.parent / ".x.safetensors.regraft-tmp-abc"
    begun.mkdir()
    for path in (left, begun / ".tmp123"):  # the second: what a killed writer leaves
        path.write_bytes(bytes(1000))
    assert run("cache", "clear", "--json").json["freed_bytes"] >= 2000
    assert not left.exists()
    assert not begun.exists()
    begun.mkdir()
    (begun / ".tmp123").write_bytes(bytes(1000))
    forget_checkpoint(left)
    assert not begun.exists()


def test_precisions_other_than_the_asked_are_not_used(photos: Path, cache: Path, tmp_path: Path):
    done = call("fit", photos, "--out", tmp_path / "m", *SAID, "--strategy", "partial",
                "--train-from", "layer4", "--epochs", "1", "--lr", "0.001", "--views", "1",
                "--precision", "f32", "--json", cache=cache)  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["strategy"]["precision"] == "f32"
