"""scikit-learn's contract: its own checks on feature matrices, their likes on pictures."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from pictures import texture
from regraft.backbones.registry import get_backbone
from regraft.errors import UserError
from regraft.estimator import FrozenFeatures, HeadClassifier, TransferClassifier
from regraft.frozen.devices import Processor
from regraft.frozen.engine import OpenVinoEngine, run_all
from regraft.frozen.extract import FrozenPass
from regraft.frozen.precision import Parity
from regraft.frozen.store import StoreMiss
from regraft.frozen.table import StoredFeatures
from regraft.heads.fitting import STRENGTHS
from regraft.options import FitOptions
from regraft.strategy import HEAD_KINDS, Tap

LABELS = ("brick", "cloth", "grass")
PER_CLASS = 8
NOT_WEIGHTS = "class_weight is 'balanced' or None: there are no weights by class, and no dict"

Pixels = NDArray[np.uint8]


@parametrize_with_checks(
    [HeadClassifier(head) for head in HEAD_KINDS],
    expected_failed_checks=lambda _: {"check_class_weight_classifiers": NOT_WEIGHTS},
)
def test_scikit_learns_own_checks_of_the_heads(estimator, check):
    check(estimator)


@pytest.fixture(autouse=True)
def _use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


def draw(first: int = 0, count: int = PER_CLASS, labels: tuple[str, ...] = LABELS) -> Pixels:
    return np.stack([texture(a, n) for a in labels for n in range(first, first + count)])


X = draw()
Y = np.repeat(LABELS, PER_CLASS)
NEW = draw(100, 3)
NEW_Y = np.repeat(LABELS, 3)


def classifier(**settings: object) -> TransferClassifier:
    return TransferClassifier(precision="f32", **settings)


def transformer(**settings: object) -> FrozenFeatures:
    return FrozenFeatures(precision="f32", **settings)


both = pytest.mark.parametrize("make", [classifier, transformer])


def outputs(estimator: TransferClassifier | FrozenFeatures, pictures: object) -> np.ndarray:
    if isinstance(estimator, FrozenFeatures):
        return estimator.transform(pictures)
    return estimator.predict_proba(pictures)


class Runs:
    """Counts the pictures that go through an engine, and in which arithmetic."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures = 0
        self.precisions: list[str] = []
        start, make = OpenVinoEngine.start, OpenVinoEngine.__init__

        def counted(engine, pixels, done):
            self.pictures += len(pixels)
            return start(engine, pixels, done)

        def noted(engine, model, precision):
            self.precisions.append(precision)
            make(engine, model, precision)

        monkeypatch.setattr(OpenVinoEngine, "start", counted)
        monkeypatch.setattr(OpenVinoEngine, "__init__", noted)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


# What scikit-learn checks of every estimator, on pictures.


@both
def test_parameters_are_stored_as_they_are_and_nothing_else(make):
    estimator = make()
    assert vars(estimator) == estimator.get_params()
    odd = {name: object() for name in estimator.get_params()}
    estimator.set_params(**odd)
    assert estimator.get_params() == odd
    with pytest.raises(ValueError, match="Invalid parameter 'deepness'"):
        estimator.set_params(deepness=3)
    with pytest.raises(TypeError, match="deepness"):
        make(deepness=3)


def test_defaults_are_those_of_the_options():
    options = FitOptions()
    for name, default in TransferClassifier().get_params().items():
        assert default == getattr(options, {"random_state": "seed"}.get(name, name))


@pytest.mark.parametrize(
    ("estimator", "text"),
    [
        (TransferClassifier(head="ridge"), "TransferClassifier(head='ridge')"),
        (FrozenFeatures(cuts=("bn1",)), "FrozenFeatures(cuts=('bn1',))"),
        (HeadClassifier(strength=2.0), "HeadClassifier(strength=2.0)"),
    ],
)
def test_repr_shows_what_differs(estimator, text):
    assert repr(estimator) == text


@both
def test_fit_returns_self_and_only_adds_names_with_an_underscore(make):
    estimator = make()
    before = estimator.get_params()
    assert estimator.fit(X, Y) is estimator
    assert estimator.get_params() == before
    assert all(name.endswith("_") for name in set(vars(estimator)) - set(before))


@both
def test_neither_fit_nor_use_changes_its_input(make):
    pictures, labels = X.copy(), Y.copy()
    pictures.flags.writeable = labels.flags.writeable = False
    estimator = make().fit(pictures, labels)
    fitted = pickle.dumps(estimator)
    outputs(estimator, pictures)
    assert pickle.dumps(estimator) == fitted
    np.testing.assert_array_equal(pictures, X)
    np.testing.assert_array_equal(labels, Y)


@both
def test_fitting_again_gives_exactly_the_same(make):
    estimator = make().fit(X, Y)
    first = outputs(estimator, NEW)
    np.testing.assert_array_equal(outputs(estimator.fit(X, Y), NEW), first)
    np.testing.assert_array_equal(outputs(make().fit(X, Y), NEW), first)


@both
def test_clone_is_unfitted_and_equal(make):
    estimator = make().fit(X, Y)
    twin = clone(estimator)
    assert twin.get_params() == estimator.get_params()
    with pytest.raises(NotFittedError):
        outputs(twin, X)
    np.testing.assert_array_equal(outputs(twin.fit(X, Y), NEW), outputs(estimator, NEW))


@both
def test_use_before_fit_is_refused(make):
    with pytest.raises(NotFittedError):
        outputs(make(), X)


@both
def test_copies_and_pickles_give_the_same(make, tmp_path):
    estimator = make().fit(X, Y)
    expected = outputs(estimator, NEW)
    joblib.dump(estimator, tmp_path / "estimator")
    for twin in (
        pickle.loads(pickle.dumps(estimator)),
        copy.deepcopy(estimator),
        joblib.load(tmp_path / "estimator"),
    ):
        np.testing.assert_array_equal(outputs(twin, NEW), expected)


@both
def test_order_and_company_of_a_picture_do_not_matter(make):
    estimator = make().fit(X, Y)
    expected = outputs(estimator, NEW)
    order = np.random.default_rng(0).permutation(len(NEW))
    np.testing.assert_allclose(outputs(estimator, NEW[order]), expected[order], atol=1e-6)
    alone = [outputs(estimator, NEW[i : i + 1])[0] for i in range(len(NEW))]
    np.testing.assert_allclose(alone, expected, atol=1e-6)


@both
def test_the_result_does_not_depend_on_what_is_stored(make, cache, tmp_path, monkeypatch):
    estimator = make().fit(X, Y)
    expected = outputs(estimator, NEW)
    (tmp_path / "networks").symlink_to(cache / "networks")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    np.testing.assert_allclose(outputs(estimator, NEW[::-1])[::-1], expected, atol=1e-6)


@both
def test_every_kind_of_input_gives_the_same(make, tmp_path):
    estimator = make().fit(X, Y)
    expected = outputs(estimator, NEW)
    paths = []
    for number, pixels in enumerate(NEW):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    objects = np.empty(len(paths), dtype=object)
    objects[:] = paths
    kinds = {
        "list of arrays": list(NEW),
        "tuple": tuple(NEW),
        "images": [Image.fromarray(pixels) for pixels in NEW],
        "paths": paths,
        "texts": [str(path) for path in paths],
        "array of paths": objects,
        "array of texts": np.array([str(path) for path in paths]),
        "mixture": [paths[0], str(paths[1]), Image.fromarray(NEW[2]), *NEW[3:]],
    }
    for kind, pictures in kinds.items():
        np.testing.assert_allclose(outputs(estimator, pictures), expected, atol=1e-6, err_msg=kind)


@both
def test_empty_input_is_refused(make):
    with pytest.raises(ValueError, match="at least one picture, got 0"):
        make().fit([], [])
    estimator = make().fit(X, Y)
    for nothing in ([], X[:0]):
        with pytest.raises(ValueError, match="at least one picture, got 0"):
            outputs(estimator, nothing)


@both
@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (X[0], "3 axes; put a single picture into a list"),
        (np.array([["a.png"], ["b.png"]]), "2 axes"),
        ("a.png", "the single one 'a.png'; put it into a list"),
        (Path("a.png"), r"the single one PosixPath\('a.png'\)"),
        (Image.fromarray(X[0]), "the single one <PIL.Image"),
    ],
)
def test_a_single_picture_or_a_table_is_refused(make, pictures, said):
    with pytest.raises(UserError, match=said):
        make().fit(pictures, ["a", "b"])


@both
def test_every_unreadable_picture_is_named(make, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    bad = [tmp_path / "text.jpg", tmp_path / "gone.jpg", tmp_path / "empty.jpg"]
    estimator = make().fit(X, Y)
    for use in (
        lambda pictures: make().fit(pictures, ["a", "b"] * 3),
        lambda pictures: outputs(estimator, pictures),
    ):
        with pytest.raises(UserError) as caught:
            use([*X[:2], *bad, X[3] / 255.0])
        assert "4 of 6 are not" in caught.value.message
        assert [problem.split(": ")[0] for problem in caught.value.problems] == [
            *map(str, bad),
            "picture 5",
        ]
        assert "must be uint8" in caught.value.problems[-1]


@both
def test_rows_that_vanish_meanwhile_are_computed_again(make, monkeypatch):
    estimator = make().fit(X, Y)
    expected = outputs(estimator, NEW)
    read, misses = StoredFeatures.read, [StoreMiss("5ace", [bytes(32)])]

    def evicted(table, taps, rows):
        if misses:
            raise misses.pop()
        return read(table, taps, rows)

    misses *= 3  # one cut after the other
    monkeypatch.setattr(StoredFeatures, "read", evicted)
    np.testing.assert_array_equal(outputs(estimator, NEW), expected)
    assert not misses


@both
def test_nothing_stays_open(make):
    estimator = make().fit(X, Y)
    outputs(estimator, X)
    folder = Path("/proc/self/fd")
    before = len(list(folder.iterdir()))
    outputs(estimator, X)
    assert len(list(folder.iterdir())) == before


@both
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"backbone": "resnet18"}, "backbone must name its source too, got 'resnet18'"),
        ({"precision": "fp16"}, "precision must be one of 'auto', 'bf16', 'f32', got 'fp16'"),
        ({"device": "tpu"}, "device must be one of"),
    ],
)
def test_wrong_parameters_are_refused_in_fit(make, wrong, said):
    with pytest.raises(UserError, match=said):
        make().set_params(**wrong).fit(X, Y)


def test_tags_say_pictures_not_matrices():
    for estimator in (TransferClassifier(), FrozenFeatures()):
        tags = get_tags(estimator).input_tags
        assert (tags.one_d_array, tags.two_d_array, tags.string) == (True, False, True)
    assert is_classifier(TransferClassifier())
    assert get_tags(TransferClassifier()).target_tags.required
    assert not get_tags(FrozenFeatures()).target_tags.required


# The classifier of pictures.


@pytest.mark.parametrize("head", HEAD_KINDS)
def test_it_learns_and_tells_what_it_did(head):
    model = classifier(head=head).fit(X, Y)
    proba = model.predict_proba(NEW)
    assert proba.shape == (len(NEW), 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(NEW), model.classes_[proba.argmax(axis=1)])
    assert model.score(NEW, NEW_Y) == accuracy_score(NEW_Y, model.predict(NEW)) == 1
    assert model.head_.kind == model.strategy_.head == model.selection_.head == head
    assert model.strategy_.features == model.selection_.features
    assert model.selection_.method == "cross-validation"
    assert model.selection_.chosen.n == len(X)
    assert model.strategy_.precision == "f32"


@pytest.mark.parametrize(
    "names",
    [
        np.array(["a", "long name", "ü"]),
        np.array(["a", "b", "c"], dtype=object),
        np.array([7, -1, 3]),
        np.array([1, 2, 3], dtype=np.uint8),
        np.array([2.0, 1.0, 0.0]),
        np.array([True, False, False]),
    ],
    ids=lambda names: str(names.dtype),
)
def test_labels_keep_their_type(names):
    model = classifier(head="prototype").fit(X, names[np.repeat(range(3), PER_CLASS)])
    predicted = model.predict(NEW)
    assert predicted.dtype == model.classes_.dtype == names.dtype
    np.testing.assert_array_equal(model.classes_, np.unique(names))
    np.testing.assert_array_equal(predicted, names[np.repeat(range(3), 3)])


def test_lists_of_labels_will_do():
    model = classifier(head="prototype").fit(list(X), Y.tolist())
    assert model.predict(NEW).tolist() == NEW_Y.tolist()


def test_a_column_of_labels_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        model = classifier(head="prototype").fit(X, Y[:, None])
    assert model.predict(NEW).shape == (len(NEW),)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "requires y to be passed, but the target y is None"),
        (Y[:-1], "inconsistent numbers of samples"),
        (np.stack([Y, Y], axis=1), "1d array"),
        (np.zeros(len(Y)), "at least two classes, got 1 class"),
        (["only"] * len(Y), "at least two classes, got 1 class"),
        (np.linspace(0, 1, len(Y)), "continuous"),
        ([np.nan, *range(1, len(Y))], "contains NaN"),
        (["a", None] * (len(Y) // 2), "of one kind"),
    ],
)
def test_labels_that_are_none_are_refused(labels, said):
    with pytest.raises(ValueError, match=said):
        classifier().fit(X, labels)


@pytest.mark.parametrize("seed", [None, True, -1, 2**32, 1.0, np.random.RandomState(0)])
@pytest.mark.parametrize("make", [classifier, HeadClassifier])
def test_the_seed_must_be_a_whole_number(make, seed):
    with pytest.raises(UserError, match=r"random_state must be a whole number from 0"):
        make(random_state=seed).fit(X.reshape(len(X), -1) if make is HeadClassifier else X, Y)


def test_the_seed_decides_the_folds_and_numpys_integers_will_do():
    def evidence(seed: int) -> list[float]:
        chosen = classifier(random_state=seed).fit(X, Y).selection_
        return [candidate.log_loss for candidate in chosen.evidence]

    assert evidence(1) == evidence(np.int64(1))
    assert evidence(1) != evidence(2)


def test_copies_of_a_picture_are_held_out_together():
    copies = np.concatenate([X[:1], X[:1], X[:1], X[-1:], X[-1:], X[-1:]])
    assert classifier().fit(copies, [0, 0, 0, 1, 1, 1]).selection_.method == "none"


def test_groups_are_held_out_together():
    model = classifier().fit(X, Y, groups=Y)
    assert model.selection_.method == "none"
    assert model.score(NEW, NEW_Y) == 1
    numbers = np.tile(np.arange(PER_CLASS) // 4, 3)
    halves = classifier().fit(X, Y, groups=numbers)
    assert halves.selection_.method == "cross-validation"
    apart = classifier().fit(X, Y, groups=[None] * len(X))
    assert apart.selection_.as_dict() == classifier().fit(X, Y).selection_.as_dict()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(X, Y, groups=numbers[:-1])


class Missing:
    """Like pandas.NA, which is neither equal to anything nor unequal."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = object.__hash__


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, Missing()])
@pytest.mark.parametrize("other", ["a", 7])
def test_what_is_missing_among_groups_is_no_group(missing, other):
    apart = classifier().fit(X, Y).selection_.as_dict()
    groups = [other] + [missing] * (len(X) - 1)
    assert classifier().fit(X, Y, groups=groups).selection_.as_dict() == apart


def test_groups_of_different_kinds_are_different_groups():
    # Were 1 and "1" one group, each class would be one unit, and nothing could be held out.
    groups = [[1, "1"], [2, "2"], [3, "3"]]
    codes = np.unique(Y, return_inverse=True)[1]
    mixed = [groups[code][row % 2] for row, code in enumerate(codes)]
    assert classifier().fit(X, Y, groups=mixed).selection_.method == "cross-validation"


def test_groups_reach_the_folds_inside_a_cross_validation():
    numbers = np.tile(np.arange(PER_CLASS), 3)
    scores = cross_val_score(
        classifier(head="prototype"),
        X,
        Y,
        groups=numbers,
        cv=GroupKFold(2),
        params={"groups": numbers},
        error_score="raise",
    )
    assert scores.tolist() == [1, 1]


def test_metric_and_class_weight_reach_the_head():
    few = np.r_[0:8, 8:11]
    plain = classifier().fit(X[few], Y[few])
    model = classifier(metric="balanced_accuracy", class_weight="balanced").fit(X[few], Y[few])
    assert (model.selection_.metric, model.selection_.balanced) == ("balanced_accuracy", True)
    assert (plain.selection_.metric, plain.selection_.balanced) == ("log_loss", False)


def test_one_picture_a_class_will_do():
    model = classifier().fit(X[::PER_CLASS], Y[::PER_CLASS])
    assert model.selection_.method == "none"
    assert model.score(X, Y) > 0.8


def test_a_search_computes_each_picture_once(runs):
    pictures = draw(200)
    search = GridSearchCV(classifier(), {"head": ["ridge", "prototype"]}, cv=3, refit=True)
    search.fit(pictures, Y)
    assert search.best_score_ == 1
    assert runs.pictures == len(pictures)


@pytest.mark.parametrize(
    ("estimator", "parity", "first"),
    [
        (TransferClassifier(head="prototype"), Parity(24, 0.0, 1.0), 300),
        (FrozenFeatures(cuts=("bn1",), pooling="max"), Parity(24, 1.0, 0.0), 400),
    ],
    ids=["passed", "failed"],
)
def test_the_arithmetic_is_settled_in_fit_and_kept(estimator, parity, first, runs, monkeypatch):
    monkeypatch.setattr("regraft.frozen.devices.supports_bf16", lambda: True)
    monkeypatch.setattr("regraft.frozen.extract.compare", lambda *_: parity)
    fitted = clone(estimator).fit(draw(first), Y)
    expected = "bf16" if parity.passed else "f32"
    chosen = isinstance(fitted, TransferClassifier)
    settled = fitted.strategy_.precision if chosen else fitted.precision_
    assert settled == expected

    def again(*_):
        raise AssertionError("the precision is settled")

    monkeypatch.setattr(FrozenPass, "_check", again)
    runs.precisions.clear()
    assert np.isfinite(outputs(fitted, draw(first + 50, 1))).all()
    assert runs.precisions == [expected]


def test_it_works_in_scikit_learns_tools():
    scores = cross_val_score(classifier(head="prototype"), list(X), Y.tolist(), cv=3)
    assert scores.tolist() == [1, 1, 1]
    proba = cross_val_predict(classifier(head="ridge"), X, Y, cv=3, method="predict_proba")
    np.testing.assert_array_equal(np.array(sorted(LABELS))[proba.argmax(axis=1)], Y)
    whole = make_pipeline(classifier(head="prototype")).fit(X, Y)
    assert whole.score(NEW, NEW_Y) == 1


def test_a_search_in_two_processes_gives_the_same(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(X))]
    for path, pixels in zip(paths, X, strict=True):
        Image.fromarray(pixels).save(path)
    grid = {"head": ["ridge", "prototype"]}
    found = [
        GridSearchCV(classifier(), grid, cv=2, n_jobs=jobs, scoring="neg_log_loss").fit(paths, Y)
        for jobs in (1, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in found)
    np.testing.assert_allclose(two, one, rtol=1e-6)
    assert found[1].score(NEW, NEW_Y) < 0


# The transformer.


def test_features_are_those_of_the_last_cut(cache):
    features = transformer().fit_transform(X)
    assert features.shape == (len(X), 1280)
    assert features.dtype == np.float32
    assert type(features) is np.ndarray
    backbone = get_backbone(FrozenFeatures().backbone, cache)
    engine = Processor(cache).engine(backbone, (Tap("bn2"),), "f32")
    pixels = np.stack([backbone.preprocess.rgb(picture) for picture in X])
    np.testing.assert_allclose(features, run_all(engine, pixels), atol=1e-4)


def test_cuts_stand_side_by_side_in_the_order_given():
    side = transformer(cuts=("blocks.4", "bn1")).fit_transform(X)
    parts = [transformer(cuts=[cut]).fit_transform(X) for cut in ("blocks.4", "bn1")]
    np.testing.assert_array_equal(side, np.concatenate(parts, axis=1))
    assert side.shape == (len(X), 112 + 32)


@pytest.mark.parametrize("cut", ["bn2", "bn1"])
def test_poolings_are_what_they_say(cut):
    avg, largest, std, grid = (
        transformer(cuts=(cut,), pooling=pooling).fit_transform(X)
        for pooling in ("avg", "max", "std", "grid")
    )
    assert (largest >= avg - 1e-4).all()
    assert (std >= 0).all()
    assert (std[largest > avg + 1e-2] > 0).all()
    assert grid.shape == (len(X), 4 * avg.shape[1])
    assert grid.max() <= largest.max() + 1e-4


def test_columns_have_names():
    features = transformer(cuts=("bn1", "blocks.0"), pooling="avg").fit(X)
    names = features.get_feature_names_out()
    assert features.taps_ == (Tap("bn1"), Tap("blocks.0"))
    assert len(names) == len(set(names)) == features.transform(X).shape[1] == 48
    assert (names[0], names[31], names[32]) == ("bn1_avg_0", "bn1_avg_31", "blocks.0_avg_0")
    assert names.dtype == object
    assert len(transformer(pooling="grid").fit(X).get_feature_names_out()) == 4 * 1280
    with pytest.raises(NotFittedError):
        transformer().get_feature_names_out()


@pytest.mark.parametrize("cuts", [(), ("layer1",), "bn1", ("bn1", "bn1")])
def test_wrong_cuts_are_refused(cuts):
    with pytest.raises(UserError, match=r"cuts must be None or a sequence of 'bn1', 'blocks\.0'"):
        transformer(cuts=cuts).fit(X)


def test_a_wrong_pooling_is_refused():
    with pytest.raises(UserError, match="pooling must be one of 'avg', 'max', 'std', 'grid', got"):
        transformer(pooling="sum").fit(X)


@pytest.mark.parametrize(
    "last", [LogisticRegression(), HeadClassifier(), HeadClassifier("ridge")], ids=repr
)
def test_the_transformer_works_in_a_pipeline(last):
    pipeline = make_pipeline(transformer(), last)
    assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.95
    pipeline.fit(X, Y)
    twin = pickle.loads(pickle.dumps(pipeline))
    assert twin.predict(NEW).tolist() == pipeline.predict(NEW).tolist() == NEW_Y.tolist()
    depths = {"frozenfeatures__cuts": [("bn2",), ("blocks.3", "blocks.5")]}
    assert GridSearchCV(pipeline, depths, cv=2).fit(X, Y).best_score_ > 0.9


def test_classifier_and_transformer_share_what_is_stored(runs):
    pictures = draw(900, 2)
    transformer().fit(pictures)
    classifier().fit(pictures, np.repeat(LABELS, 2))
    transformer(cuts=("blocks.2", "blocks.6")).fit(pictures)
    assert runs.pictures == len(pictures)


# The heads.


@pytest.fixture(scope="module")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    return rng.normal(0, 1.5, (120, 10)) + 2 * np.eye(10)[y], y


@pytest.mark.parametrize("head", HEAD_KINDS)
def test_the_strength_is_chosen_unless_given(blobs, head):
    chosen = HeadClassifier(head).fit(*blobs)
    assert chosen.selection_.method == "cross-validation"
    assert chosen.strength_ == chosen.selection_.strength
    assert chosen.strength_ in STRENGTHS[head]
    assert chosen.head_.kind == head


@pytest.mark.parametrize("head", ["logistic", "ridge"])
def test_a_given_strength_is_used(blobs, head):
    X, y = blobs
    weak, strong = (HeadClassifier(head, strength=s).fit(X, y) for s in (1e-3, np.float32(1e3)))
    assert (weak.strength_, strong.strength_) == (1e-3, 1e3)
    evidence = weak.selection_.evidence  # measures the temperature of the one strength
    assert [candidate.strength for candidate in evidence] == [1e-3]
    if head == "logistic":  # a ridge's temperature takes the shrinking back
        assert np.abs(strong.head_.weight).max() < 0.1 * np.abs(weak.head_.weight).max()
    assert not np.allclose(strong.predict_proba(X), weak.predict_proba(X), atol=1e-3)
    chosen = HeadClassifier(head).fit(X, y)
    same = HeadClassifier(head, strength=chosen.strength_).fit(X, y)
    assert same.predict(X).tolist() == chosen.predict(X).tolist()


@pytest.mark.parametrize("strength", [0, -1.0, np.inf, np.nan, "1", True])
def test_a_wrong_strength_is_refused(blobs, strength):
    with pytest.raises(UserError, match="strength must be None or a finite number above 0"):
        HeadClassifier(strength=strength).fit(*blobs)


def test_a_prototype_has_no_strength(blobs):
    with pytest.raises(UserError, match="must be None for the head 'prototype'"):
        HeadClassifier("prototype", strength=1.0).fit(*blobs)


def test_weights_by_class_are_refused_with_a_sentence(blobs):
    with pytest.raises(UserError, match="class_weight must be one of 'balanced', None, got"):
        HeadClassifier(class_weight={0: 2.0}).fit(*blobs)


@pytest.mark.parametrize("head", ["logistic", "ridge"])
def test_balanced_weights_call_the_rare_class_more_often(blobs, head):
    X, y = blobs
    keep = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:6]]
    X, y = X[keep], y[keep]
    plain, balanced = (HeadClassifier(head, class_weight=w).fit(X, y) for w in (None, "balanced"))
    assert (balanced.predict_proba(X)[:, 1]).mean() > 1.5 * (plain.predict_proba(X)[:, 1]).mean()


def test_a_head_keeps_to_float32(blobs):
    X, y = blobs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ValueError, match="too large for dtype"):
            HeadClassifier().fit(X * 1e39, y)
    single = HeadClassifier().fit(X.astype(np.float32), y)
    np.testing.assert_allclose(
        single.predict_proba(X), HeadClassifier().fit(X, y).predict_proba(X), atol=1e-9
    )
