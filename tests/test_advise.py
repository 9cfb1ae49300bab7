"""What the advisor measures, on data of which the answer is known."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_digits, load_sample_images

from commands import call, run
from pictures import texture, write_classes
from regraft.advice.advice import _from_anywhere
from regraft.advice.advisor import _measured_with
from regraft.advice.contenders import Contender
from regraft.advice.depth import DepthCurve, depth_curve, shorter_sets
from regraft.advice.distance import ALIKE, STRANGE, DomainDistance, domain_distance
from regraft.advice.growth import Growth, learning_curve
from regraft.advice.outcome import Race
from regraft.advice.probe import Exam, probe
from regraft.advice.sentences import of_depth
from regraft.advice.shorten import does_as_well, shortened
from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.registry import get_backbone
from regraft.candidates import candidate_sets
from regraft.data.manifest import read_manifest
from regraft.frozen.extract import FrozenPass
from regraft.frozen.plan import plan_of
from regraft.frozen.sources import MemorySource
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.heads.tables import ArrayTable
from regraft.opening import open_backbone, plan_up_to
from regraft.options import DEFAULT_BACKBONE, FitOptions, Overrides
from regraft.progress import Silent
from regraft.selection import choose
from regraft.strategy import FeatureSet, Tap
from regraft.workshop import Workshop

SHARED = Path(os.environ.get("REGRAFT_DATA", Path(__file__).parents[2] / "shared" / "data"))
CUTS = [Cut(name, (TensorSpec("NCHW", (8, 7, 7)),)) for name in ("low", "middle", "top")]
TOGETHER = FeatureSet("all", tuple(Tap(cut.name) for cut in CUTS))


def exam(
    features: dict[str, np.ndarray], y: np.ndarray, units: np.ndarray | None = None, **other: Any
) -> Exam:
    return Exam(
        table=ArrayTable({Tap(name): X for name, X in features.items()}),
        y=y,
        n_classes=int(y.max()) + 1,
        rows=other.get("rows", np.arange(len(y))),
        units=np.arange(len(y)) if units is None else units,
        balanced=other.get("balanced", False),
        metric=other.get("metric", "log_loss"),
        seed=0,
        progress=Silent(),
    )


def depths(signal: dict[str, float], n: int = 240, seed: int = 0) -> tuple[Any, np.ndarray]:
    """Features of three depths that tell three classes apart more or less well."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    centres = rng.normal(size=(3, 8))
    made = {name: rng.normal(size=(n, 8)) + s * centres[y] for name, s in signal.items()}
    return made, y


def curve_of(signal: dict[str, float], n: int = 240, units: Any = None) -> DepthCurve:
    made, y = depths(signal, n)
    return depth_curve(exam(made, y, units), CUTS, [TOGETHER])


def test_where_a_middle_depth_is_best_the_top_is_in_the_way():
    curve = curve_of({"low": 0.3, "middle": 1.5, "top": 0.5})
    assert curve.best is not None
    assert curve.best.features.name == "middle"
    assert curve.in_the_way == ("top",)
    assert curve.method == "leave-one-out"
    assert curve.n == 240


def test_where_the_last_depth_is_as_good_as_any_nothing_is_in_the_way():
    made, y = depths({"low": 0.3, "middle": 0.8, "top": 2.0})
    twins = {**made, "top": made["middle"] + np.random.default_rng(0).normal(0, 0.02, (240, 8))}
    for features in (made, twins):
        curve = depth_curve(exam(features, y), CUTS, [TOGETHER])
        assert curve.best is curve.points[-1]
        assert curve.in_the_way == ()


def test_a_rare_class_that_counts_as_much_as_others_is_told_apart():
    rng = np.random.default_rng(0)
    y = (np.arange(600) < 30).astype(np.intp)
    made = {name: rng.normal(size=(600, 8)) for name in ("low", "middle", "top")}
    made["top"][:, 0] += 3.0 * y
    balanced = depth_curve(exam(made, y, balanced=True), CUTS, [])
    assert balanced.method == "leave-one-out"
    assert balanced.tells
    assert balanced.best is balanced.points[-1]
    assert balanced.points[-1].log_loss < 0.5


def test_depths_together_are_probed_too():
    curve = curve_of({"low": 0.8, "middle": 0.8, "top": 0.8})
    (together,) = curve.together
    assert together.accuracy.value > max(point.accuracy.value for point in curve.points)


def test_few_pictures_are_probed_in_folds_and_groups_are_left_out_whole():
    assert curve_of({"low": 1, "middle": 1, "top": 1}, n=45).method == "cross-validation"
    units = np.arange(240) // 4
    assert curve_of({"low": 1, "middle": 1, "top": 1}, units=units).method == "leave-group-out"


def test_twins_of_a_group_do_not_vouch_for_each_other():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(60, 40)), 4, axis=0) + rng.normal(0, 0.01, (240, 40))
    y, units = np.repeat(rng.permutation(np.arange(60) % 2), 4), np.repeat(np.arange(60), 4)
    shares = []
    for some in (np.arange(240), units):
        trials, _ = probe(exam({"x": X}, y, some), [FeatureSet("x", (Tap("x"),))])
        shares.append(trials[0].accuracy.value)
    assert shares[0] > 0.8  # each finds its twins
    assert shares[1] < 0.65  # there is nothing else to be found


def test_answers_that_are_all_right_are_no_certainty():
    curve = curve_of({"low": 0.3, "middle": 9.0, "top": 9.0}, n=60)
    assert curve.points[1].accuracy.value == 1
    assert 1 / 60 > curve.points[1].log_loss > 1 / 6000


def test_a_class_of_one_picture_is_not_judged():
    made, y = depths({"x": 1.0}, n=90)
    y[0] = 3
    trials, method = probe(exam(made, y), [FeatureSet("x", (Tap("x"),))])
    assert method == "cross-validation"
    assert len(trials[0].rows) == 89
    nobody = exam({"x": made["x"][:2]}, np.array([0, 1]))
    assert probe(nobody, [FeatureSet("x", (Tap("x"),))]) == ([], "none")
    same = dict.fromkeys(("low", "middle", "top"), made["x"][:2])
    assert depth_curve(exam(same, np.array([0, 1])), CUTS, []).best is None


def test_whether_the_task_is_alike_is_said_where_accuracy_climbs_to_the_last_depth():
    assert "serves here too." in of_depth(
        curve_of({"low": 0.3, "middle": 0.8, "top": 2.0}), "log_loss"
    )
    kept = of_depth(curve_of({"low": 0.3, "middle": 0.5, "top": 3.0}), "log_loss", whole=False)
    assert "of those that are kept" in kept
    assert "alike" not in kept
    above = of_depth(curve_of({"low": 0.3, "middle": 1.5, "top": 0.5}), "log_loss")
    assert "more surely" in above
    assert "in the way" in above


def test_what_balanced_accuracy_decided_is_told_by_balanced_accuracy():
    rng = np.random.default_rng(0)
    y = (np.arange(600) < 60).astype(np.intp)
    made = {name: rng.normal(size=(600, 8)) for name in ("low", "middle", "top")}
    made["middle"][:, 0] += 4.0 * y
    curve = depth_curve(exam(made, y, balanced=True, metric="balanced_accuracy"), CUTS, [])
    best, last = curve.points[1], curve.points[2]
    assert curve.in_the_way == ("top",)
    told = of_depth(curve, "balanced_accuracy")
    assert f"balanced accuracy {best.balanced_accuracy:.1%}" in told
    assert f"top ({last.balanced_accuracy:.1%})" in told
    assert best.balanced_accuracy > last.balanced_accuracy


def test_of_two_depths_the_last_can_be_better():
    made, y = depths({"low": 0.2, "top": 3.0})
    two = [CUTS[0], CUTS[2]]
    assert depth_curve(exam(made, y), two, []).climbs


@pytest.mark.parametrize("signal", [1.2, 20.0])
def test_depths_that_do_the_same_say_nothing_of_the_source(signal: float):
    curve = curve_of({"low": signal, "middle": signal, "top": signal})
    assert curve.tells
    if curve.best is curve.points[-1]:
        assert not curve.climbs
        assert "cannot be told from that" in of_depth(curve, "log_loss")
    else:
        assert "alike" not in of_depth(curve, "log_loss")


def test_labels_that_mean_nothing_are_no_task():
    told = 0
    for seed in range(40):
        n = (12, 24, 45, 120)[seed % 4]
        cuts = [Cut(f"c{k}", (TensorSpec("NCHW", (8, 7, 7)),)) for k in range(9)]
        rng = np.random.default_rng(seed)
        made = {cut.name: rng.normal(size=(n, 64)) for cut in cuts}
        curve = depth_curve(exam(made, rng.permutation(np.arange(n) % 3)), cuts, [])
        told += curve.tells
        assert curve.tells or "No depth tells" in of_depth(curve, "log_loss")
        assert curve.guess == pytest.approx(1 / 3)
    assert told <= 3


@pytest.mark.parametrize("counts", [(60, 60, 1), (30, 30, 1, 1)])
def test_labels_that_mean_nothing_are_no_task_where_a_class_is_not_judged(counts):
    told = 0
    for seed in range(15):
        rng = np.random.default_rng(seed)
        y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        made = {cut.name: rng.normal(size=(len(y), 32)) for cut in CUTS}
        told += depth_curve(exam(made, y, balanced=True), CUTS, []).tells
    assert told <= 1


def test_a_class_that_nearly_all_pictures_are_of_is_a_guess_and_no_knowledge():
    rng = np.random.default_rng(0)
    y = (np.arange(200) >= 188).astype(np.intp)
    curve = depth_curve(exam({c.name: rng.normal(size=(200, 8)) for c in CUTS}, y), CUTS, [])
    assert curve.points[-1].accuracy.value > 0.9
    assert curve.guess == pytest.approx(0.94)
    assert not curve.tells


def test_of_few_pictures_the_gain_is_not_certain():
    X, y = load_digits(return_X_y=True)
    some = np.isin(y, (3, 8))
    X, y = X[some].astype(np.float64), (y[some] == 8).astype(np.intp)
    inside = []
    for seed in range(12):
        growth, gain = grown(60, seed, (X, y))
        assert growth.gain is not None
        assert growth.gain_ci95 is not None
        low, high = growth.gain_ci95
        assert low <= growth.gain <= high
        assert high - low > 0.01
        inside.append(low - 0.005 <= max(0.0, gain) <= high + 0.005)
    assert np.mean(inside) > 0.85


def grown(n: int, seed: int, digits: Any = None) -> tuple[Growth, float]:
    """The learning curve of some digits, and what twice as many really add."""
    X, y = digits or load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    X, y = X[order].astype(np.float64), y[order]
    features = FeatureSet("x", (Tap("x"),))
    shares = []
    for count in (n, 2 * n):
        trials, _ = probe(exam({"x": X[:count]}, y[:count]), [features])
        shares.append(trials[0].right[trials[0].rows < n].mean())
    return learning_curve(exam({"x": X[:n]}, y[:n]), features), float(shares[1] - shares[0])


def test_the_gain_of_twice_the_pictures_is_foretold():
    told, came, inside = [], [], []
    for seed in range(12):
        growth, gain = grown(300, seed)
        assert growth.gain is not None
        assert growth.gain_ci95 is not None
        assert growth.pictures == (60, 120, 240)
        assert growth.accuracy[0] < growth.accuracy[-1]
        told.append(growth.gain)
        came.append(gain)
        inside.append(growth.gain_ci95[0] - 0.005 <= gain <= growth.gain_ci95[1] + 0.005)
    assert np.mean(told) == pytest.approx(np.mean(came), abs=0.015)
    assert np.mean(inside) > 0.85


def test_of_many_pictures_the_law_carries_a_sample_on():
    rng = np.random.default_rng(0)
    y = np.arange(6000) % 2
    X = rng.normal(size=(6000, 30)) + 0.25 * rng.normal(size=(2, 30))[y]
    whole = exam({"x": X}, y)
    growth = learning_curve(whole, FeatureSet("x", (Tap("x"),)))
    few = learning_curve(exam({"x": X}, y, rows=whole.sampled().rows), FeatureSet("x", (Tap("x"),)))
    assert growth.accuracy == few.accuracy
    assert growth.gain is not None
    assert few.gain is not None
    assert 0 <= growth.gain < few.gain


def test_the_gain_is_measured_on_pictures_of_all_classes():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [60, 60, 3])
    X = rng.normal(size=(123, 8)) + 9.0 * np.eye(3, 8)[np.minimum(y, 1)]  # the third is never told
    growth = learning_curve(exam({"x": X}, y), FeatureSet("x", (Tap("x"),)))
    assert growth.pictures == (49, 98), "a quarter has one picture of the third class, or none"
    assert growth.n == 122
    assert growth.accuracy[-1] < 1
    y, units = np.repeat([0, 1], 100), np.repeat(np.arange(10), 20)
    X = rng.normal(size=(200, 8)) + 0.5 * np.eye(2, 8)[y]
    growth = learning_curve(exam({"x": X}, y, units), FeatureSet("x", (Tap("x"),)))
    assert growth.n == 200
    assert growth.pictures == (80, 160)


def test_the_law_carries_a_sample_of_classes_on_only_as_far_as_they_go():
    rng = np.random.default_rng(0)
    y = np.concatenate([np.full(9000, 0), np.repeat(np.arange(1, 300), 10)])
    X = rng.normal(size=(300, 12))[y] + rng.normal(size=(len(y), 12))
    whole = exam({"x": X}, y)
    some = whole.sampled()
    assert 0 not in y[some.rows], "this draw has small classes alone"
    features = FeatureSet("x", (Tap("x"),))
    assert learning_curve(whole, features) == learning_curve(some, features)


def test_of_very_many_classes_some_are_probed():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(400), 10)
    centres = rng.normal(size=(400, 24))
    made = {c.name: 3 * centres[y] + rng.normal(size=(4000, 24)) for c in CUTS}
    whole = exam(made, y)
    some = whole.sampled()
    assert some.n_classes == 75
    assert set(np.bincount(some.y[some.rows])) == {10}
    assert some.sampled() is some
    curve = depth_curve(whole, CUTS, [])
    assert (curve.n_classes, curve.n) == (75, 750)
    assert curve.points[-1].accuracy.value > 0.9
    assert "of 75 of the 400 classes" in of_depth(curve, "log_loss", n_classes=400)


def test_where_nothing_can_be_gained_none_is_promised():
    made, y = depths({"x": 20.0}, n=120)
    growth = learning_curve(exam(made, y), FeatureSet("x", (Tap("x"),)))
    assert growth.accuracy[-1] == 1
    assert growth.gain == 0
    few = learning_curve(exam({"x": made["x"][:6]}, y[:6]), FeatureSet("x", (Tap("x"),)))
    assert few == Growth((), (), None, None)


@pytest.fixture(scope="module")
def embedded(cache: Path) -> Backbone:
    return get_backbone(DEFAULT_BACKBONE, cache)


def distance_of(backbone: Backbone, cache: Path, pixels: list[np.ndarray]) -> DomainDistance:
    sources = [MemorySource(p, str(n)) for n, p in enumerate(pixels)]
    rows = np.arange(len(pixels))
    return domain_distance(backbone, sources, rows, cache, seed=0, progress=Silent())


def photographs() -> list[Image.Image]:
    """Crops of two photographs."""
    return [
        Image.fromarray(photo[row : row + 240, column : column + 240])
        for photo in load_sample_images().images
        for row in (0, 90, 180)
        for column in (0, 130, 260, 390)
    ]


def pages(count: int) -> list[np.ndarray]:
    """Printed pages."""
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        page = Image.new("RGB", (300, 300), "white")
        draw = ImageDraw.Draw(page)
        for line in range(8, 290, 14):
            text = "".join(rng.choice(list("abcdefghijklm nopqrst uvwxyz "), 46))
            draw.text((8, line), text, fill="black")
        made.append(np.asarray(page))
    return made


def test_distance_grows_with_blur_and_noise_and_reaches_one(embedded, cache):
    photos = photographs()
    rng = np.random.default_rng(1)
    plain = distance_of(embedded, cache, [np.asarray(photo) for photo in photos])
    blurred = [
        distance_of(
            embedded, cache, [np.asarray(p.filter(ImageFilter.GaussianBlur(r))) for p in photos]
        )
        for r in (3, 8)
    ]
    noisy = distance_of(
        embedded,
        cache,
        [
            np.clip(np.asarray(p) + rng.normal(0, 80, (240, 240, 3)), 0, 255).astype(np.uint8)
            for p in photos
        ],
    )
    noise = distance_of(
        embedded, cache, [rng.integers(0, 256, (224, 224, 3), dtype=np.uint8) for _ in range(24)]
    )
    assert plain.overall < blurred[0].overall < blurred[1].overall
    assert plain.overall < noisy.overall < noise.overall
    assert noise.overall == pytest.approx(1, abs=0.1)
    assert noise.strange
    assert not plain.strange
    # Blur changes what the first layers see, and what is shown stays the same longer.
    assert blurred[0].looks > 2 * blurred[0].content
    assert plain.n == 24
    assert [stage.cut for stage in plain.stages][-1] == embedded.probes[-1].name


@pytest.mark.slow
def test_few_pictures_seem_hardly_farther_than_many(embedded, cache):
    photos = [np.asarray(photo) for photo in photographs()]
    many = distance_of(embedded, cache, photos).overall
    few = np.mean([distance_of(embedded, cache, photos[k::2]).overall for k in range(2)])
    assert few < 1.6 * many


def test_pages_of_text_are_no_photographs(embedded, cache):
    assert distance_of(embedded, cache, pages(24)).strange


@pytest.mark.skipif(not SHARED.exists(), reason="needs real pictures")
@pytest.mark.parametrize(
    ("folder", "alike"),
    [
        ("imagenet_sample", True),
        ("hymenoptera/train", True),
        ("flowers5/train", True),
        ("ham10000_mel_nv/train", False),
        ("mnist_sample/train", False),
    ],
)
def test_real_pictures_are_told_apart(embedded, cache, folder, alike):
    paths = sorted(p for p in (SHARED / folder).rglob("*") if p.suffix in (".jpg", ".png"))
    pixels = [np.asarray(Image.open(p).convert("RGB")) for p in paths[:: max(1, len(paths) // 64)]]
    distance = distance_of(embedded, cache, pixels)
    assert (distance.overall < ALIKE) is alike
    assert distance.content < STRANGE


def test_a_network_without_statistics_is_stood_in_for(cache):
    size = Overrides(size=(160, 160))
    vit = get_backbone("timm:test_vit", cache, pretrained=False, overrides=size)
    distance = distance_of(vit, cache, [texture("moss", n) for n in range(4)])
    assert distance.measured_with == DEFAULT_BACKBONE


PARTS = {"train": {"ants": 24, "bees": 24}, "test": {"ants": 6, "bees": 6}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("advised")
    for part, counts in PARTS.items():
        write_classes(folder / part, counts, first=100 if part == "test" else 0, noise=120.0)
    return folder


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


def advised(photos: Path, *options: str, budget: str = "0") -> dict[str, Any]:
    record = run("advise", photos, "--json", "--budget", budget, *options).json
    del record["seconds"]
    return record


def test_advice_as_json(photos):
    record = advised(photos)
    assert record["case"].startswith("small, ")
    assert 0 <= record["similarity"] <= 1
    assert record["per_class"] == {"min": 24, "median": 24, "max": 24}
    assert [point["cut"] for point in record["depth_curve"]][-1] == "bn2"
    for point in (*record["depth_curve"], *record["together"], *record["candidates"]):
        low, high = point["ci95"]
        assert 0 <= low <= point["accuracy"] <= high <= 1
    assert record["chosen"]["features"] in [row["features"] for row in record["candidates"]]
    assert len(record["reasons"]) == 5 + (record["chosen"]["depth"] is not None)
    assert record["probe"]["n"] == 48


@pytest.mark.parametrize("points_to_the_last", [True, False])
def test_it_advises_what_a_fit_chooses(points_to_the_last, photos, tmp_path, monkeypatch):
    if points_to_the_last:
        monkeypatch.setattr("regraft.advice.shorten.shorter_sets", lambda *_: ())
    chosen = advised(photos)["chosen"]
    said = ("--depth", chosen["depth"]) if chosen["depth"] else ()
    fitted = run("fit", photos, "--out", tmp_path / "m", *said, "--json").json["strategy"]
    assert fitted["cuts"] == chosen["cuts"]
    assert fitted["pooling"] == chosen["poolings"]
    assert fitted["head"] == chosen["head"]
    assert not (points_to_the_last and chosen["depth"])


def test_layers_that_are_in_the_way_are_left_out(photos, tmp_path, monkeypatch):
    real, noise = StoredFeatures.read, ("blocks.4", "blocks.5", "blocks.6", "bn2")

    def read(self: StoredFeatures, taps: Any, rows: Any) -> Any:
        found, start = np.array(real(self, taps, rows)), 0
        for tap in taps:
            width = self.dim(tap)
            if tap.cut in noise:
                made = np.random.default_rng(width).normal(size=(self.n, width))
                found[:, start : start + width] = made[rows]
            start += width
        return found

    monkeypatch.setattr(StoredFeatures, "read", read)
    record = advised(photos)
    chosen = record["chosen"]
    assert record["in_the_way"][-1] == "bn2"
    assert chosen["depth"] in ("blocks.2", "blocks.3")
    assert chosen["features"].endswith(f", up to {chosen['depth']}")
    told = " ".join(record["reasons"])
    assert f"kept up to {chosen['depth']} and what lies above is left out" in told
    fitted = run("fit", photos, "--out", tmp_path / "m", "--budget", "1s", "--json").json
    assert fitted["strategy"]["features"] == chosen["features"]
    assert not set(fitted["strategy"]["cuts"]) & set(noise)
    file = tmp_path / "advice.json"
    file.write_text(json.dumps(record))
    told_depth = run("fit", photos, "--out", tmp_path / "n", "--strategy", file, "--json").json
    assert told_depth["strategy"]["cuts"] == chosen["cuts"]
    assert told_depth["strategy"]["taps"] == fitted["strategy"]["taps"]
    assert told_depth["test"] == fitted["test"]
    assert run("predict", tmp_path / "m", photos / "test", "--json").code == 0
    won = Race((), Contender("partial", "blocks.5"), 2, None, 0, 1.0, 60.0, passes_on_all=1)
    monkeypatch.setattr("regraft.advice.advisor.race_on", lambda *_, **__: won)
    trained = advised(photos, budget="5m")
    assert trained["chosen"]["strategy"] == "partial"
    assert "is left out" not in " ".join(trained["reasons"])


def duel(n: int, sizes: Sequence[int] | None, better: str) -> tuple[Any, FeatureSet]:
    """Let two sets compete, of which one is clearly better, in folds of these sizes."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % 2)
    made = {name: rng.normal(size=(n, 6)) for name in ("short", "whole")}
    made[better][:, 0] += 3.0 * y
    sets = [FeatureSet(name, (Tap(name),)) for name in made]
    dealt = np.arange(n) % 5 if sizes is None else np.repeat(np.arange(len(sizes)), sizes)
    table = ArrayTable({Tap(name): X for name, X in made.items()})
    return choose(table, y, 2, rows=np.arange(n), sets=sets, folds=dealt), sets[0]


@pytest.mark.parametrize("sizes", [None, (2800, 550, 550, 550, 550)])
@pytest.mark.parametrize("small", [True, False])
def test_a_shorter_network_is_taken_where_it_is_better_and_only_then(sizes, small, monkeypatch):
    """Whoever is clearly worse may leave after the first fold, be that a small one or a large."""
    if not small:
        monkeypatch.setattr("regraft.heads.study.SMALL", 0)
    n = 5000 if sizes or not small else 300
    for better, expected in (("short", True), ("whole", False)):
        found, features = duel(n, sizes, better)
        assert does_as_well(found, features) is expected


def test_of_few_pictures_no_layers_are_left_out():
    """Ten pictures of lesions were told apart by the first block alone, by chance."""
    signal = {"low": 9.0, "middle": 0.0, "top": 0.0}
    assert curve_of(signal, n=24).tells
    assert shorter_sets(curve_of(signal, n=24), CUTS) == ()
    assert shorter_sets(curve_of(signal, n=60), CUTS)
    assert shorter_sets(curve_of({"low": 0.3, "middle": 0.8, "top": 2.0}), CUTS) == ()


def test_what_is_left_out_is_compared_by_all_that_a_fit_up_to_there_compares():
    sets = shorter_sets(curve_of({"low": 0.3, "middle": 2.5, "top": 0.0}), CUTS)
    assert [s.taps for s in sets] == [s.taps for s in candidate_sets(CUTS[:2])]
    assert {tap.pooling for s in sets for tap in s.taps} > {"avg"}


@pytest.mark.parametrize(
    ("found", "parity", "told"),
    [("f32", "refused", "f32"), ("f32", None, "auto"), ("bf16", "passed", "auto")],
)
def test_a_fit_computes_as_the_advice_where_bfloat16_would_not_do(
    found: str, parity: str | None, told: str
):
    shop: Any = SimpleNamespace(options=FitOptions())
    lot: Any = SimpleNamespace(extraction=SimpleNamespace(precision=found, parity=parity))
    assert _measured_with(shop, lot).precision == told


def test_without_time_for_another_pass_nothing_is_left_out():
    curve = curve_of({"low": 0.3, "middle": 2.5, "top": 0.0})
    asked = []
    shop: Any = SimpleNamespace(
        options=SimpleNamespace(depth=None), cuts=CUTS, with_taps=lambda *said: asked.append(said)
    )
    lot: Any = "the pictures"
    choice: Any = "what there is"
    kept = shortened(shop, lot, choice, 10.0, curve)
    assert (kept.lot, kept.choice, kept.depth) == (lot, choice, None)
    assert kept.sentence is not None
    assert "there was no time" in kept.sentence
    assert asked[0][0] == lot
    assert asked[0][2] == 10.0


def test_a_pass_of_the_shorter_network_is_given_up_where_it_takes_too_long(
    photos, cache, monkeypatch
):
    monkeypatch.setattr("regraft.workshop._TIMED", 4)
    monkeypatch.setattr("regraft.workshop._AT_ONCE", 8)
    options = FitOptions(precision="f32")
    backbone = open_backbone(options, cache)
    more = [Tap("blocks.2", "std"), Tap("blocks.1", "max")]
    with FeatureStore(cache) as store:
        shop = Workshop(backbone, plan_up_to(backbone, None), store, cache, options, Silent())
        lot = shop.gather(read_manifest(photos))
        assert shop.with_taps(lot, [Tap("blocks.2")]) is lot
        assert shop.with_taps(lot, more, time.perf_counter() - 1) is None
        wider = shop.with_taps(lot, more)
        assert wider is not None
        rows = np.array([3, 1, 30])
        mixed = [Tap("bn2"), more[0], Tap("blocks.1"), more[1]]
        found = wider.table.read(mixed, rows)
        assert found.shape[1] == sum(wider.table.dim(tap) for tap in mixed)
        alone = [wider.table.read([tap], rows) for tap in mixed]
        np.testing.assert_array_equal(found, np.concatenate(alone, axis=1))
        np.testing.assert_array_equal(alone[0], lot.table.read(mixed[:1], rows))
        plan = plan_of(more, backbone.cuts)
        frozen = FrozenPass(backbone, plan, store, lot.device, "f32", Silent())
        spaces = frozen.run(lot.sources).spaces
        direct = StoredFeatures(store, plan, spaces, lot.digests, cache)
        for tap, values in zip(mixed[1::2], alone[1::2], strict=True):
            np.testing.assert_array_equal(values, direct.read([tap], rows))


def test_an_advice_that_takes_longer_than_it_may_says_so(photos):
    assert not any("longer than" in reason for reason in advised(photos, budget="0")["reasons"])
    late = advised(photos, budget="0.1s")["reasons"][-1]
    assert "longer than the 0.1 s that were given" in late


def test_the_test_part_changes_nothing(photos, tmp_path):
    poisoned = tmp_path / "poisoned"
    shutil.copytree(photos, poisoned)
    for number, path in enumerate(sorted((poisoned / "test" / "ants").iterdir())):
        path.replace(poisoned / "test" / "bees" / f"moved{number}.jpg")
    for number, path in enumerate(sorted((poisoned / "test" / "bees").iterdir())):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(path)
    write_classes(poisoned / "test", {"ants": 1}, first=500)
    assert advised(poisoned) == advised(photos)


def test_an_advice_finds_its_network_from_another_folder(photos, tmp_path, monkeypatch):
    run("fit", photos, "--out", tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    advice = advised(photos, "--backbone", "first")
    (tmp_path / "advice.json").write_text(json.dumps(advice))
    monkeypatch.chdir(tmp_path.parent)
    said = ("--strategy", tmp_path / "advice.json", "--json")
    record = run("fit", photos, "--out", tmp_path / "second", *said).json
    assert record["strategy"]["backbone"] == str(tmp_path / "first")


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("timm:resnet18", "timm:resnet18"),
        ("file:a.onnx", "file:{here}/a.onnx"),
        ("timm:resnet18@w.pth", "timm:resnet18@{here}/w.pth"),
        ("timm:resnet18@/w.pth", "timm:resnet18@/w.pth"),
    ],
)
def test_spellings_from_anywhere(spelling, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _from_anywhere(spelling) == expected.format(here=tmp_path)


def test_same_seed_same_advice(photos):
    assert advised(photos, "--seed", "3") == advised(photos, "--seed", "3")


def test_random_weights_have_no_source(photos):
    record = advised(photos, "--no-pretrained", "--backbone", "timm:test_resnet", "--size", "64")
    assert record["distance"] is None
    assert record["similarity"] is None
    assert len(record["reasons"]) == 4


def test_two_pictures_a_class_are_enough_for_an_answer(tmp_path):
    record = advised(write_classes(tmp_path / "few", {"ants": 2, "bees": 2}))
    assert record["depth_curve"] == []
    assert record["candidates"] == []
    assert record["chosen"]["features"] == "last"
    assert any("Too few" in reason for reason in record["reasons"])
    assert record["not_tried"] == ["training layers: there are too few pictures to hold some back"]
    fitted = run("fit", tmp_path / "few", "--out", tmp_path / "m", "--json").json
    assert not any("--budget" in note for note in fitted["notes"]), "it would not help"


def test_what_takes_no_part_is_listed(tmp_path):
    photos = write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    (photos / "ants" / "empty.jpg").touch()
    (photos / "bees" / "twin.png").write_bytes((photos / "ants" / "000.jpg").read_bytes())
    done = run("advise", photos, "--budget", "0", "--json")
    assert [entry["path"] for entry in done.json["skipped"]] == ["ants/empty.jpg"]
    assert done.json["conflicts"][0]["labels"] == ["ants", "bees"]
    assert "1 picture stands under more than one label" in done.json["notes"]
    assert "1 file was skipped" in done.err
    assert "ants/000.jpg = bees/twin.png" in done.err


def test_what_a_person_reads_fits_a_narrow_window(photos, cache):
    shown = call("advise", photos, "--budget", "0", cache=cache, env={"COLUMNS": "60"})
    assert shown.code == 0
    assert "advised:" in shown.out
    assert "leave-one-out" in shown.out
    assert "█" in shown.out


def test_mistakes_are_named(tmp_path, photos):
    for said in (("--no-pretrained",), ("--budget", "0")):
        assert "control compares" in run("advise", photos, "--control", *said).error
    assert "no-such" in run("advise", tmp_path / "no-such").error
    photos = write_classes(tmp_path / "one", {"ants": 3})
    assert "at least 2 classes" in run("advise", photos).error
    wrong = run("advise", write_classes(tmp_path / "p", {"a": 2, "b": 2}), "--depth", "blocks.99")
    assert "depth must be a cut" in wrong.error
