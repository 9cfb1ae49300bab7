"""A report from the command line, read as a browser does and as a person would."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import regraft
from commands import run
from pictures import write_classes, write_texture
from regraft import app_report, energy
from regraft.advice.growth import Growth
from regraft.assessing.ranking import rank_class
from regraft.energy import Energy, check_country, energy_of, metered
from regraft.errors import MissingExtraError, UserError
from regraft.metrics import evaluate_predictions
from regraft.report import plots
from regraft.report import words as words_of
from regraft.report.plots import Chart, class_chart, growth_chart, roc_chart
from regraft.report.words import energy_words

LABELS = ("<b>ants<∕b> & co", "a $x^2$ 'quoted' \"label\"", "_bees")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MOST_BYTES = 5_000_000


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


@pytest.fixture(scope="module")
def made(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with its report, and one of an evaluation; names are as odd as names can be."""
    root = tmp_path_factory.mktemp("report")
    photos = write_classes(root / "photos", {"ants": 15, "bees": 15, "cats": 15}, noise=120.0)
    for old, new in zip(("ants", "bees", "cats"), LABELS, strict=True):
        (photos / old).rename(photos / new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        fitted = run("fit", photos, "--out", root / "m", "--report", "--country", "FRA", "--json")
        written = root / "evaluated.html"
        evaluated = run("evaluate", root / "m", photos, "--report", written, "--json")
    return fitted.json, evaluated.json, root / "m" / "report.html", written


class _Page(HTMLParser):
    """Text and tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_a_fit_and_an_evaluation_say_where_their_report_is(made):
    fitted, evaluated, first, second = made
    assert fitted["report"] == str(first)
    assert evaluated["report"] == str(second)
    assert first.is_file()
    assert second.is_file()
    assert regraft.load(first.parent).classes == tuple(sorted(LABELS))


@pytest.mark.parametrize("which", [2, 3])
def test_a_report_asks_for_nothing_and_is_small(made, which: int):
    page = _Page(made[which])
    assert made[which].stat().st_size < MOST_BYTES
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data-picture"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    text = made[which].read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)|@import", text)


@pytest.mark.parametrize("which", [2, 3])
def test_names_are_text_and_never_markup(made, which: int):
    page = _Page(made[which])
    assert not any(tag == "b" for tag, _ in page.tags)
    for label in LABELS:
        assert " ".join(label.split()) in page.text
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(names)) == len(names)


def test_the_figures_are_those_of_the_json(made):
    fitted, evaluated, first, second = made
    for record, path in ((fitted["test"], first), (evaluated, second)):
        text = _Page(path).text
        low, high = record["ci95"]
        assert f"{record['accuracy']:.1%}" in text
        assert f"{low:.1%} to {high:.1%}" in text
        for row in record["per_class"]:
            assert f"{row['recall']:.1%} ({row['recall_ci95'][0]:.1%} to" in text
    assert f"{evaluated['macro_f1']:.3f}" in _Page(second).text


def test_every_section_is_there(made):
    text = _Page(made[2]).text
    for heading in (
        "What was done, and why",
        "The network, from the picture to the answer",
        "The numbers",
        "What more pictures would bring",
        "Pictures it finds hard",
        "What each depth sees",
        "A map of the pictures",
        "What is wrong with the pictures",
        "Time, energy and CO₂",
        "How to use the model",
    ):
        assert heading in text
    assert "Twice the pictures: about" in text
    assert "What more pictures would bring" not in _Page(made[3]).text


def test_an_evaluation_on_pictures_of_training_says_so_in_the_report(made):
    assert made[1]["optimistic"]
    assert "were used to train this model" in _Page(made[3]).text
    assert "were used to train" not in _Page(made[2]).text
    assert "the pictures have parts" not in _Page(made[2]).text


def test_energy_is_named_as_what_it_is(made):
    record = made[0]["energy"]
    assert record["how"] in ("measured", "estimated")
    assert record["joules"] > 0
    assert record["country"] == "FRA"
    assert record["co2_grams"] > 0
    text = _Page(made[2]).text
    assert ("estimated, not measured" in text) == (record["how"] == "estimated")
    assert "CO₂ (FRA)" in text


def test_the_test_part_has_the_same_figures_with_a_report_and_without(
    made, tmp_path, monkeypatch, cache
):
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))
    photos = made[3].parent / "photos"
    plain = run("fit", photos, "--out", tmp_path / "m", "--json").json
    assert plain["test"] == made[0]["test"]
    assert (plain["report"], plain["energy"]) == (None, None)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (("--report", "{tmp}"), "report must be a file"),
        (("--report", "{tmp}/nowhere/r.html"), "report must lie in a folder that exists"),
        (("--report", "{tmp}/report.txt"), "report must end in .html"),
        (("--report", "{photos}/r.html"), "report must lie outside the pictures"),
        (("--report", "{tmp}/mine.html"), "report must not replace another file"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_first(made, tmp_path: Path, said, problem):
    model, photos = made[2].parent, made[3].parent / "photos"
    (tmp_path / "mine.html").write_text("<p>my own</p>")
    where = [part.format(tmp=tmp_path, photos=photos) for part in said]
    assert problem in run("evaluate", model, photos, *where).error


def test_a_country_needs_a_report_and_three_letters(made, tmp_path: Path):
    photos = made[3].parent / "photos"
    assert (
        "country belongs to a report"
        in run("fit", photos, "--out", tmp_path / "m", "--country", "FRA").error
    )
    said = ("--report", "--country", "France")
    assert "code of three letters" in run("fit", photos, "--out", tmp_path / "m", *said).error
    said = ("--report", "--country", "ATA")  # a country of which nobody knows the mix
    assert "code of three letters" in run("fit", photos, "--out", tmp_path / "m", *said).error
    assert not (tmp_path / "m").exists()


def test_a_model_that_is_no_better_than_a_guess_is_called_that(
    made, tmp_path: Path, cache, monkeypatch
):
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))
    mixed = tmp_path / "mixed"
    for number in range(12):
        for label, shown in ((LABELS[0], "xs"), (LABELS[1], "ys")):
            write_texture(mixed / label / f"{number}.jpg", shown, number)
    done = run("evaluate", made[2].parent, mixed, "--report", tmp_path / "r.html", "--json").json
    if done["ci95"][0] <= 0.5:
        assert "do not rely on it" in _Page(tmp_path / "r.html").text
    else:
        pytest.fail("the made pictures are told apart after all")


def test_without_codecarbon_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(energy, "_installed", lambda: False)
    with metered() as meter:
        assert meter.read() is None
    assert "not measured" in energy_words(None)
    with pytest.raises(MissingExtraError, match=r"regraft\[report\]"):
        check_country("FRA")


def test_more_work_takes_more_energy():
    taken = []
    for size in (50, 1500):
        with metered() as meter:
            np.linalg.svd(np.random.default_rng(0).normal(0, 1, (size, size)))
        found = meter.read()
        assert found is not None
        assert found.co2_grams is None
        assert Energy.from_dict(json.loads(json.dumps(found.as_dict()))) == found
        taken.append(found)
    assert taken[1].seconds > taken[0].seconds
    assert taken[1].joules > taken[0].joules > 0


@pytest.mark.parametrize(
    ("joules", "words"), [(12.3, "12 J"), (7200, "7.2 kJ (2 Wh)"), (7.2e6, "7.2 MJ (2 kWh)")]
)
def test_energies_have_units_that_suit_them(joules: float, words: str):
    assert energy_of(joules) == words
    assert "estimated" in energy_words(Energy(joules, False, 1.0, None, None))


def charts() -> list[Chart]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    proba = rng.dirichlet(np.ones(3), 60)
    units = np.arange(60)
    rankings = [rank_class(name, y == k, proba[:, k], units, 3) for k, name in enumerate(LABELS)]
    found = evaluate_predictions(y, proba, LABELS, units)
    return [
        roc_chart([ranking for ranking in rankings if ranking]),
        class_chart(found.per_class),
        growth_chart(Growth((40, 80, 160), (0.7, 0.8, 0.85), 0.0, (0.0, 0.03))),
    ]


def test_charts_are_whole_take_their_colours_from_the_page_and_are_the_same_each_time():
    first, second = charts(), charts()
    for chart, again in zip(first, second, strict=True):
        assert chart == again
        ET.fromstring(chart.svg)
        assert "var(--ink)" in chart.svg or "var(--soft)" in chart.svg
        assert not any(placeholder in chart.svg for placeholder in plots._VARIABLES)
        assert "<style" not in chart.svg
        assert "<script" not in chart.svg
    assert "_bees" in first[0].svg.replace("\u200b", "")
    assert "a $x^2$" in first[1].svg


@pytest.fixture(scope="module")
def browser() -> Any:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


def opened(browser: Any, path: Path, scheme: str, width: int) -> tuple[Any, list[str], list[str]]:
    page = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}
    ).new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    return page, errors, [url for url in requests if not url.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_has_nothing_to_complain_of(made, browser, scheme: str, width: int):
    from axe_playwright_python.sync_playwright import Axe

    page, errors, requests = opened(browser, made[2], scheme, width)
    page.wait_for_timeout(200)
    assert errors == []
    assert requests == [made[2].as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).length")
    assert broken == 0
    found = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == []


def test_the_map_shows_pictures_to_a_pointer_and_to_keys(made, browser):
    page, errors, _ = opened(browser, made[2], "light", 1200)
    page.focus("#points")
    page.keyboard.press("ArrowRight")
    first = page.inner_text("#words")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#words") != first
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#words") == first
    assert page.get_attribute("#shown", "src").startswith("data:image/webp")
    page.locator("#points .point").nth(3).hover()
    assert page.inner_text("#words") not in ("", first)
    assert errors == []


def test_a_report_is_replaced_with_its_model_and_by_a_newer_one(made, tmp_path: Path):
    photos, model = made[3].parent / "photos", tmp_path / "m"
    shutil.copytree(made[2].parent, model)
    assert run("fit", photos, "--out", model, "--force", "--json").json["report"] is None
    assert not (model / "report.html").exists()
    place = tmp_path / "r.html"
    for _ in range(2):
        assert run("evaluate", model, photos, "--report", place, "--json").code == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["r.html"]


def test_pictures_that_go_away_while_it_is_drawn_are_left_out(made, tmp_path: Path, monkeypatch):
    photos = tmp_path / "photos"
    shutil.copytree(made[3].parent / "photos", photos)
    real = app_report.report_html

    def late(subject):
        first, second = [picture.path for picture in subject.report.pictures[:2]]
        first.unlink()
        second.write_bytes(b"no picture")
        return real(subject)

    monkeypatch.setattr(app_report, "report_html", late)
    done = run("evaluate", made[2].parent, photos, "--report", tmp_path / "r.html", "--json")
    assert done.code == 0, done.err
    assert len(re.findall('class="point', (tmp_path / "r.html").read_text("utf-8"))) > 40


def test_a_report_that_fails_leaves_the_model_and_its_record(made, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(app_report, "_write", mock.Mock(side_effect=UserError("no space left")))
    photos = made[3].parent / "photos"
    record = run("fit", photos, "--out", tmp_path / "m", "--report", "--json").json
    assert record["report"] is None
    assert any("no space left" in note for note in record["notes"])
    assert regraft.load(tmp_path / "m").classes


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("scratch", "All layers were trained on your pictures from random weights, as a control."),
        ("norm", "The normalisations and biases of all layers were trained further"),
        ("partial", "The layers from layer3 on were trained further"),
    ],
)
def test_what_was_done_is_said_of_every_strategy(strategy: str, words: str):
    phase = {"train_from": "layer3" if strategy == "partial" else None,
             "what": "norm" if strategy == "norm" else "all"}  # fmt: skip
    info = {
        "strategy": {"name": strategy, "phases": [phase], "head": "logistic", "cuts": ["layer4"]},
        "backbone": {"architecture": "a_net", "trained_on": "ImageNet"},
        "counts": {"train": 80, "val": 0, "test": 20},
        "selection": {"accuracy": 0.9, "candidates": [1, 2], "method": "cross-validation", "n": 80},
        "against_frozen": {"frozen_log_loss": 0.4, "log_loss": 0.3, "n": 16},
        "trained_on_all": strategy == "norm",
        "calibration": None,
    }
    told = " ".join(words_of.done(info))
    assert words in told
    assert ("with random weights" in told) == (strategy == "scratch")
    assert f"It learned from {80 if strategy == 'norm' else 64} pictures" in told
    assert ("was chosen among" in told) == (strategy != "scratch")


def test_verdicts_of_odd_cases():
    def second(confusion: list[list[int]]) -> str:
        y, called = [], []
        for truly, row in enumerate(confusion):
            for column, count in enumerate(row):
                y += [truly] * count
                called += [column] * count
        proba = np.eye(len(confusion))[called] * 0.8 + 0.1
        labels = [f"c{k}" for k in range(len(confusion))]
        units = np.arange(len(y))
        found = evaluate_predictions(
            np.array(y), proba / proba.sum(1, keepdims=True), labels, units
        )
        return words_of._weakness(found)

    assert "made no mistake among these 200" in second([[100, 0], [0, 100]])
    assert "do not rely on it" in second([[10, 10], [10, 10]])
    assert "most often takes “c0” for “c1” (10 times)" in second([[90, 10], [10, 90]])
    assert "weakest at “c1”, of which it finds about 80 in 100" in second([[95, 5], [20, 80]])
    assert "do not rely" not in second([[149, 1], [0, 0]])
