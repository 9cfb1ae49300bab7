"""Which network: LogME against the evidence itself, and the choice among several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import helmert
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from commands import run
from pictures import write_classes
from regraft.advice.backbones import _foretold, names_of
from regraft.advice.logme import logme
from regraft.errors import UserError

LITE0, LITE1 = (f"embedded:efficientnet_lite{number}" for number in (0, 1))


def evidence(X: np.ndarray, target: np.ndarray) -> float:
    """Maximise the marginal likelihood of a linear model, as it is defined, off the intercept."""
    off = helmert(len(X))
    X, target = off @ X, off @ target

    def loss(logs: np.ndarray) -> float:
        alpha, beta = np.exp(np.clip(logs, -12, 12))
        covariance = np.eye(len(X)) / beta + X @ X.T / alpha
        return -float(multivariate_normal.logpdf(target, np.zeros(len(X)), covariance))

    starts = [minimize(loss, start, method="Nelder-Mead") for start in ([0, 1], [3, 2], [-2, 0])]
    return -min(found.fun for found in starts) / len(X)


@pytest.mark.parametrize(("n", "dim"), [(40, 6), (20, 50)])
def test_logme_is_the_maximum_of_the_evidence(n, dim):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    X = rng.normal(size=(n, dim)) + rng.normal(size=(3, dim))[y]
    expected = np.mean([evidence(X, (y == label).astype(float)) for label in range(3)])
    assert logme(X, y, 3) == pytest.approx(expected, abs=2e-4)


def test_logme_rises_with_what_the_features_tell():
    rng = np.random.default_rng(1)
    y = np.arange(120) % 4
    noise, centres = rng.normal(size=(120, 20)), rng.normal(size=(4, 20))
    scores = [logme(noise + signal * centres[y], y, 5) for signal in (0.0, 0.5, 2.0)]
    assert scores == sorted(scores)
    assert np.isfinite(logme(np.zeros((12, 3)), np.arange(12) % 2, 2))


def test_names():
    assert names_of("timm:resnet18") == ["timm:resnet18"]
    assert names_of(f"{LITE0}, {LITE1},{LITE0}") == [LITE0, LITE1]
    assert LITE0 in names_of("auto")
    for wrong in ("timm:a,,timm:b", "auto,timm:a"):
        with pytest.raises(UserError, match=rf"several with commas between.* got '{wrong}'"):
            names_of(wrong)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"ants": 12, "bees": 12}
    return write_classes(tmp_path_factory.mktemp("compared"), counts, noise=120.0)


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


def test_of_several_networks_that_are_as_good_logme_takes_one(photos, tmp_path):
    said = ("--backbone", f"{LITE1},{LITE0},timm:no_such_network", "--json")
    record = run("advise", photos, *said, "--budget", "0").json
    rows = record["backbones"]
    assert [row["name"] for row in rows] == [LITE0, LITE1]
    assert rows[0]["multiply_adds"] < rows[1]["multiply_adds"]
    level = [row for row in rows if row["behind"] <= row["behind_se"]]
    expected = max(level, key=lambda row: row["logme"])["name"]
    assert record["backbone"] == expected
    assert any("no_such_network" in line for line in record["not_tried"])
    assert "2 networks" in record["reasons"][0]
    fitted = run("fit", photos, "--out", tmp_path / "m", *said).json
    assert fitted["strategy"]["backbone"] == expected
    assert [row["logme"] for row in fitted["backbones"]] == [row["logme"] for row in rows]
    assert any("no_such_network" in line for line in fitted["not_tried"])
    assert any("no_such_network" in note for note in fitted["notes"])


def test_what_looking_at_a_network_takes_is_foretold_by_what_it_costs():
    def network(cost: int | None) -> Any:
        return SimpleNamespace(description=SimpleNamespace(multiply_adds=cost))

    def seen(cost: int | None, seconds: float, within: float) -> Any:
        return SimpleNamespace(multiply_adds=cost, seconds=seconds, pass_seconds=within)

    assert _foretold(network(100), []) == 0
    assert _foretold(network(100), [seen(1, 5.0, 3.0), seen(50, 9.0, 8.0)]) == 302
    assert _foretold(network(1), [seen(10, 3.0, 2.0), seen(None, 4.0, 1.0)]) == 4
    assert _foretold(network(None), [seen(10, 3.0, 2.0)]) == 3


def test_networks_are_compared_on_the_same_parts(tmp_path, monkeypatch):
    from regraft import kept_together

    photos = write_classes(tmp_path / "photos", {"ants": 9, "bees": 9}, first=700)
    pairs = iter([((0, 1),), ((2, 3),), ((4, 5),)])
    monkeypatch.setattr(kept_together, "near_copies", lambda *_: next(pairs))
    said = ("--backbone", f"{LITE1},{LITE0}", "--report", "--json")
    record = run("fit", photos, "--out", tmp_path / "m", *said).json
    assert record["report"], record["notes"]
    assert next(pairs) == ((2, 3),), "one network said what shows the same, for all"


def test_where_no_network_can_be_used_all_reasons_are_told(photos):
    error = run("advise", photos, "--backbone", "timm:none_such,timm:nor_this").error
    assert "none of the networks can be used" in error
    assert "none_such" in error
    assert "nor_this" in error


def test_a_network_that_cannot_be_converted_is_no_matter_for_the_others(photos, monkeypatch):
    from regraft.advice import backbones

    look = backbones._look

    def fails(shop, manifest, clock):
        if shop.options.backbone == LITE0:
            raise RuntimeError("no such operator")
        return look(shop, manifest, clock)

    monkeypatch.setattr(backbones, "_look", fails)
    said = ("--backbone", f"{LITE0},{LITE1}", "--budget", "0", "--json")
    record = run("advise", photos, *said).json
    assert record["backbone"] == LITE1
    assert f"{LITE0}: no such operator" in record["not_tried"]


def test_a_network_that_cannot_train_what_is_asked_for_is_not_compared(photos, tmp_path):
    stated = Path(__file__).parent / "networks" / "stated.onnx"
    said = ("--backbone", f"file:{stated},timm:none_such", "--strategy", "full")
    error = run("fit", photos, "--out", tmp_path / "m", *said).error
    assert "none of the networks can be used" in error
    assert "only runs frozen" in error
    assert "frozen pass" not in error, "it is said before pictures are read"


def test_pictures_that_no_network_can_use_are_not_blamed_on_networks(tmp_path):
    few = write_classes(tmp_path / "few", {"ants": 1, "bees": 1})
    alone = run("advise", few, "--backbone", LITE0).error.partition("error: ")[2]
    error = run("advise", few, "--backbone", f"{LITE0},{LITE1}").error
    assert error.endswith(alone)
    assert "none of the networks" not in error


def test_without_time_for_a_second_network_the_first_is_taken(photos):
    said = ("--backbone", f"{LITE0},{LITE1}", "--budget", "0.001s", "--json")
    record = run("advise", photos, *said).json
    assert [row["name"] for row in record["backbones"]] == [LITE0]
    assert record["race"] is None
    assert any("no time was left for it" in line for line in record["not_tried"])
