"""Network files of every framework: read right, cut right, prepared right, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from networks.make import picture, weights
from regraft.backbones.base import Backbone, Description, TrainableGraph
from regraft.backbones.network_files.batch import run
from regraft.backbones.network_files.kinds import find_network
from regraft.backbones.network_files.zoo import NetworkFile, open_network_file
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.spelling import Overrides, Request
from regraft.errors import UserError
from regraft.quiet import import_openvino

HERE = Path(__file__).parent / "networks"
DATA = Path(os.environ.get("REGRAFT_DATA", Path(__file__).parents[2] / "shared" / "data"))
EXPECTED = {
    name: np.array(v) for name, v in json.loads((HERE / "expected.json").read_text()).items()
}
HALF = (0.5, 0.5, 0.5)
MINUS_TO_PLUS = Overrides(mean=HALF, std=HALF)
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
LUMA = np.array([0.299, 0.587, 0.114])

# file, key of what its framework made of the picture, and how far off OpenVINO may be
FLOATS = [
    ("mobile.onnx", "mobile_onnx"),
    ("tokens.onnx", "tokens_onnx"),
    ("float.tflite", "float_tflite"),
    ("saved_model", "saved_model"),
    ("frozen.pb", "frozen"),
    ("ir.xml", "ir"),
    ("paddle.pdmodel", "paddle"),
]
QUANTISED = [("uint8.tflite", "uint8_tflite"), ("int8.tflite", "int8_tflite")]
NETWORKS = [*(name for name, _ in FLOATS), *(name for name, _ in QUANTISED), "grey.onnx"]


def opened(name: str, overrides: Overrides | None = None, said: list[str] | None = None):
    path = name if Path(name).is_absolute() else str(HERE / name)
    if overrides is None:
        overrides = Overrides() if "int8" in name else MINUS_TO_PLUS
    return open_network_file(Request("file", path, overrides=overrides), (said or []).append)


def refused(name: str | Path, overrides: Overrides = MINUS_TO_PLUS) -> str:
    path = name if isinstance(name, Path) else HERE / name
    with pytest.raises(UserError) as caught:
        open_network_file(Request("file", str(path), overrides=overrides), print)
    assert "src/frontends" not in str(caught.value)
    assert len(str(caught.value).split("\n")[0]) < 600
    return str(caught.value)


def prepared(network: NetworkFile, pixels: np.ndarray) -> np.ndarray:
    return network.description.preprocess.normalised(pixels[None])


def written(network: NetworkFile, folder: Path, cuts=None):
    folder.mkdir()
    network.write(folder, network.description.cuts if cuts is None else cuts)
    return import_openvino().Core().read_model(folder / "frozen.xml")


@pytest.mark.parametrize(("name", "key"), FLOATS)
def test_the_whole_network_gives_what_its_own_framework_gave(name, key):
    network = opened(name)
    found = run(network.model, prepared(network, picture()))[0].ravel()
    np.testing.assert_allclose(found, EXPECTED[key], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("name", "key"), QUANTISED)
def test_a_quantised_network_gives_what_tflite_gave(name, key):
    network = opened(name)
    found = run(network.model, prepared(network, picture()))[0].ravel()
    assert np.abs(found - EXPECTED[key]).max() <= 3  # of 256
    assert EXPECTED[key].max() - EXPECTED[key].min() > 100


@pytest.mark.parametrize(("name", "low"), [("uint8.tflite", 0), ("int8.tflite", -128)])
def test_eight_bit_networks_get_the_raw_pixels_bit_for_bit(name, low):
    network = opened(name)
    every_value = np.arange(32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    taken = prepared(network, every_value)
    np.testing.assert_allclose(taken[0].transpose(1, 2, 0), every_value + float(low), atol=1e-4)
    raw = (every_value.astype(np.int16) + low).astype(np.uint8 if low == 0 else np.int8)[None]
    original = import_openvino().Core().read_model(HERE / name)
    np.testing.assert_array_equal(run(network.model, taken)[0], run(original, raw)[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_written_graph_has_the_announced_outputs_for_any_number_of_pictures(name, tmp_path):
    network = opened(name)
    cuts = network.description.cuts
    model = written(network, tmp_path / "out")
    assert model.input(0).partial_shape.to_string() == "[?,3,32,32]"
    assert model.input(0).element_type.get_type_name() == "f32"
    names = [next(iter(r.input_value(0).get_names())) for r in model.get_results()]
    assert names == [output for cut in cuts for output in cut.output_names()]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    pictures = network.description.preprocess.normalised(pixels)
    together = run(model, pictures)
    specs = [spec for cut in cuts for spec in cut.tensors]
    assert [value.shape for value in together] == [(3, *spec.shape) for spec in specs]
    for number in range(3):
        alone = run(model, pictures[number : number + 1])
        for one, many in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], many[number], atol=1e-4, rtol=1e-4)
    assert all(np.ptp(value, axis=0).max() > 0 for value in together)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("tokens.onnx", "grey.onnx")])
def test_the_last_cut_is_what_the_classifier_reads(name, tmp_path):
    network = opened(name)
    last = network.description.cuts[-1]
    assert network.description.probes[-1] == last.name
    assert (last.tensors[0].layout, last.tensors[0].shape) == ("NCHW", (20, 8, 8))
    deepest = run(written(network, tmp_path / "out", [last]), prepared(network, picture()))[0]
    w = weights()
    scores = w["head"] @ deepest[0].mean((1, 2)) + w["head_bias"]
    shown = run(network.model, prepared(network, picture()))[0].ravel()
    if name == "mobile.onnx":  # no softmax
        np.testing.assert_allclose(scores, shown, rtol=1e-4)
    else:
        shares = np.exp(scores) / np.exp(scores).sum()
        if "int8" in name:
            shown = (shown - (-128 if name.startswith("int8") else 0)) / 256
        np.testing.assert_allclose(shares, shown, atol=0.02 if "int8" in name else 1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_are_unique_and_the_same_when_read_again(name):
    first, second = opened(name).description, opened(name).description
    assert first == second
    assert Description.from_json(json.loads(json.dumps(first.to_json()))) == first
    names = [cut.name for cut in first.cuts]
    assert len(set(names)) == len(names)
    assert set(first.probes) <= set(names)


def test_names_are_those_of_the_file_where_it_has_some():
    names = [cut.name for cut in opened("mobile.onnx").description.cuts]
    assert names == ["/stem/Relu", "/add/Add", "/wide/Relu", "/last/Relu"]
    assert [cut.name for cut in opened("float.tflite").description.cuts] == [
        "Clamp_1",
        "Add_5",
        "Clamp_5",
        "Clamp_6",
    ]


def test_tokens_keep_their_class_token_apart_and_the_vector_is_a_cut():
    cuts = opened("tokens.onnx").description.cuts
    assert [cut.name for cut in cuts] == ["/position", "/block/Add", "/block/Add_1", "/class"]
    assert [cut.tensors[0].layout for cut in cuts] == ["NLC", "NLC", "NLC", "NC"]
    assert [cut.tensors[0].prefix for cut in cuts] == [1, 1, 1, 0]
    assert cuts[-2].tensors[0].grid == (4, 4)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("tokens.onnx", "grey.onnx")])
def test_weights_and_multiply_adds_are_counted(name):
    description = opened(name).description
    assert description.parameters == sum(value.size for value in weights().values())
    maps = {"stem": 256, "expand": 256, "depth": 256, "project": 256, "deep": 64, "wide": 64}
    places = {**maps, "last": 64, "head": 1}
    assert description.multiply_adds == sum(
        weights()[layer].size * count for layer, count in places.items()
    )


def test_it_runs_frozen_only():
    network = opened("mobile.onnx")
    assert not isinstance(network, TrainableGraph)
    description = network.description
    assert description.name == f"file:{HERE / 'mobile.onnx'}"
    assert (description.origin.zoo, description.trains) == ("file", False)
    with pytest.raises(UserError, match="only runs frozen"):
        Backbone(description, lambda: network).chain()


def test_a_checkpoint_or_random_weights_have_no_place():
    for request in (
        Request("file", "a.onnx", checkpoint=Path("b.pth")),
        Request("file", "a.onnx", pretrained=False),
    ):
        with pytest.raises(UserError, match="carries its own weights"):
            open_network_file(request, print)


# What decided it


def test_the_hash_is_that_of_everything_that_decides(tmp_path):
    onnx = find_network(str(HERE / "mobile.onnx"))
    assert onnx.sha256() == hashlib.sha256(onnx.path.read_bytes()).hexdigest()
    for name, part in [
        ("ir.xml", "ir.bin"),
        ("paddle.pdmodel", "paddle.pdiparams"),
        ("saved_model", "saved_model/variables/variables.data-00000-of-00001"),
    ]:
        folder = tmp_path / name
        shutil.copytree(HERE, folder)
        before = find_network(str(folder / name))
        assert folder / part in before.files
        digest = before.sha256()
        assert digest == find_network(str(HERE / name)).sha256()
        data = bytearray((folder / part).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / part).write_bytes(data)
        assert find_network(str(folder / name)).sha256() != digest


def test_the_weights_beside_an_onnx_file_belong_to_it(tmp_path):
    location = b"mobile.onnx.data"
    entry = b"\x0a\x08location\x12" + bytes([len(location)]) + location
    path = tmp_path / "mobile.onnx"
    path.write_bytes((HERE / "mobile.onnx").read_bytes() + b"\x0a" + bytes([len(entry)]) + entry)
    with pytest.raises(UserError, match=r"put mobile\.onnx\.data into the same folder"):
        find_network(str(path))
    (tmp_path / "mobile.onnx.data").write_bytes(b"weights")
    assert find_network(str(path)).files == (path, tmp_path / "mobile.onnx.data")


# How pictures are prepared


def test_preprocessing_is_never_guessed():
    message = refused("mobile.onnx", Overrides())
    assert "does not say how its pictures were prepared; give --mean and --std" in message
    assert "0.485,0.456,0.406" in message
    assert "--mean 0.5 --std 0.5" in message
    assert "give --std, for" in refused("mobile.onnx", Overrides(mean=HALF))


def test_model_info_in_an_onnx_file_or_ir_is_read_and_the_user_overrules_it():
    half = Preprocess((32, 32), None, "bilinear", HALF, HALF)
    assert opened("stated.onnx", Overrides()).description.preprocess == half
    assert opened("ir.xml", Overrides()).description.preprocess == replace(half, crop_pct=0.875)
    std = (0.1, 0.2, 0.3)
    found = opened("stated.onnx", Overrides(std=std)).description.preprocess
    assert found == replace(half, std=std)


def test_metadata_of_a_tflite_file_is_read():
    description = opened("stated.tflite", Overrides()).description
    assert description.preprocess == Preprocess((32, 32), 0.875, "bilinear", HALF, HALF)
    assert description.origin.licence == "Apache-2.0"
    assert opened("float.tflite").description.origin.licence == "unknown"


def test_eight_bit_networks_take_no_mean():
    assert "--mean and --std have no place" in refused("uint8.tflite", Overrides(mean=HALF))
    found = opened("uint8.tflite").description.preprocess
    assert (found.mean, found.std) == ((0, 0, 0), (1 / 255, 1 / 255, 1 / 255))


def test_a_grey_network_gets_the_luminance():
    network = opened("grey.onnx")
    pixels = picture()
    original = import_openvino().Core().read_model(HERE / "grey.onnx")
    grey = ((pixels @ LUMA) / 127.5 - 1).astype(np.float32)[None, None]
    np.testing.assert_allclose(
        run(network.model, prepared(network, pixels))[0], run(original, grey)[0], rtol=1e-4
    )
    unequal = Overrides(mean=(0.4, 0.5, 0.6), std=HALF)
    assert "must be one number each" in refused("grey.onnx", unequal)


# Size and layout


def test_size_and_layout():
    assert "give --size" in refused("any_size.onnx")
    network = opened("any_size.onnx", replace(MINUS_TO_PLUS, size=(48, 32)))
    assert network.description.preprocess.size == (48, 32)
    assert network.description.cuts[0].tensors[0].shape == (8, 24, 16)
    other = opened("mobile.onnx", replace(MINUS_TO_PLUS, size=(64, 64)))
    assert other.description.cuts[-1].tensors[0].shape == (20, 16, 16)
    wrong = refused("mobile.onnx", replace(MINUS_TO_PLUS, layout="NHWC"))
    assert "pictures as NHWC" in wrong
    assert "it would have 32 channels; leave --layout out" in wrong


def ir(folder: Path, shape, make) -> Path:
    """An OpenVINO file of a network that is made on the spot."""
    openvino = import_openvino()
    from openvino import opset15 as ops

    pixels = ops.parameter(shape, openvino.Type.f32, name="pixels")
    model = openvino.Model([ops.result(make(ops, pixels))], [pixels])
    openvino.save_model(model, folder / "made.xml", compress_to_fp16=False)
    return folder / "made.xml"


def pooled(axes):
    return lambda ops, x: ops.reduce_mean(ops.relu(x), np.array(axes), keep_dims=False)


def test_a_shape_that_can_be_read_both_ways_needs_a_layout(tmp_path):
    path = ir(tmp_path, [1, 3, 8, 3], pooled((2, 3)))
    assert "give --layout NCHW" in refused(path)
    network = opened(str(path), replace(MINUS_TO_PLUS, layout="NCHW"))
    assert network.description.preprocess.size == (8, 3)


def test_five_channels_are_no_picture(tmp_path):
    path = ir(tmp_path, [1, 5, 8, 8], pooled((2, 3)))
    assert "neither the second nor the last side is 1 or 3" in refused(path)


def test_a_size_that_the_network_cannot_take_is_an_error(tmp_path):
    head = np.ones((192, 4), dtype=np.float32)
    path = ir(
        tmp_path,
        [1, 3, 8, 8],
        lambda ops, x: ops.matmul(ops.reshape(x, np.array([1, 192]), False), head, False, False),
    )
    message = refused(path, replace(MINUS_TO_PLUS, size=(9, 9)))
    assert "cannot take one picture of 9x9 pixels" in message


def test_a_network_that_would_mix_pictures_up_is_refused(tmp_path):
    head = np.random.default_rng(0).standard_normal((192, 4)).astype(np.float32)

    def mixing(ops, x):
        rows = ops.transpose(ops.reshape(x, np.array([3, 64]), False), np.array([1, 0]))
        return ops.matmul(
            ops.tanh(ops.reshape(rows, np.array([1, 192]), False)), head, False, False
        )

    network = opened(str(ir(tmp_path, [1, 3, 8, 8], mixing)))
    with pytest.raises(UserError, match="takes one picture at a time"):
        network.write(tmp_path, network.description.cuts)


# Head and tap


def test_a_network_without_classifier_gives_its_output():
    said: list[str] = []
    network = open_network_file(
        Request("file", str(HERE / "headless.onnx"), overrides=MINUS_TO_PLUS), said.append
    )
    assert "without a classifier" in said[0]
    assert network.description.cuts[-1].name == "/last/Relu"
    assert network.description.cuts == opened("mobile.onnx").description.cuts


@pytest.mark.parametrize(
    ("ending", "tap"),
    [
        (lambda ops, x: ops.softmax(x, 1), "before"),
        (lambda ops, x: x, "after"),
    ],
)
def test_a_pooled_pointwise_convolution_is_a_classifier_where_softmax_follows(
    tmp_path, ending, tap
):
    rng = np.random.default_rng(0)
    first, last = (rng.standard_normal(s).astype("f4") for s in [(6, 3, 3, 3), (4, 6, 1, 1)])

    def squeeze(ops, x):
        x = ops.relu(ops.convolution(x, first, [2, 2], [1, 1], [1, 1], [1, 1]), name="before")
        x = ops.relu(ops.convolution(x, last, [1, 1], [0, 0], [0, 0], [1, 1]), name="after")
        return ending(ops, ops.reduce_mean(x, np.array([2, 3]), keep_dims=False))

    network = opened(str(ir(tmp_path, [1, 3, 8, 8], squeeze)))
    assert network.description.cuts[-1].name == tap


def test_a_tap_can_be_named_by_operation_or_tensor():
    for tap in ("/add/Add", "added"):
        cuts = opened("mobile.onnx", replace(MINUS_TO_PLUS, tap=tap)).description.cuts
        assert [cut.name for cut in cuts] == ["/stem/Relu", "/add/Add"]
    message = refused("mobile.onnx", replace(MINUS_TO_PLUS, tap="/ad/Add"))
    assert "got '/ad/Add'; closest: /add/Add" in message


def test_several_outputs_need_a_tap():
    message = refused("two_outputs.onnx")
    assert "give --tap" in message
    assert "--tap added" in message
    cuts = opened("two_outputs.onnx", replace(MINUS_TO_PLUS, tap="/last/Relu")).description.cuts
    assert cuts[-1].name == "/last/Relu"


def test_the_trunk_of_a_detector_can_be_tapped(tmp_path):
    """Its outputs, as many boxes as there are objects, have no shape that is known before."""
    rng = np.random.default_rng(0)
    trunk, boxes = (rng.standard_normal(s).astype("f4") for s in [(6, 3, 3, 3), (4, 6, 1, 1)])

    def detector(ops, x):
        x = ops.relu(ops.convolution(x, trunk, [2, 2], [1, 1], [1, 1], [1, 1]), name="trunk")
        found = ops.relu(ops.convolution(x, boxes, [1, 1], [0, 0], [0, 0], [1, 1]))
        return ops.convert(ops.non_zero(found), "f32")

    path = str(ir(tmp_path, [1, 3, 8, 8], detector))
    assert "give --tap" in refused(Path(path))
    network = opened(path, replace(MINUS_TO_PLUS, tap="trunk"))
    assert [cut.name for cut in network.description.cuts] == ["trunk"]
    assert network.description.multiply_adds is None
    assert written(network, tmp_path / "out").outputs[0].partial_shape.to_string() == "[?,6,4,4]"


# What is no network, or none for pictures


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.onnx", "takes no pictures: its input 'ids' is i64 [1,16]"),
        ("audio.onnx", "takes no pictures: its input 'samples' is f32 [?,400]"),
        ("two_inputs.onnx", "must have one input, a picture, but has 2: 'left'"),
    ],
)
def test_networks_that_take_no_picture(name, message):
    assert message in refused(name)


JPEG = b"\xff\xd8\xff\xe0" + bytes(2000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.onnx", None, "must name a network file that exists"),
        ("a.onnx", b"", "it is empty"),
        ("a.tflite", b"", "it is empty"),
        ("a.xml", b"", "it is empty"),
        ("a.onnx", JPEG, "it is a JPEG picture"),
        ("a.tflite", JPEG, "it is a JPEG picture"),
        ("a.jpg", JPEG, "it is a JPEG picture"),
        ("a.onnx", b"hello, world\n", "no protocol buffer"),
        ("a.pb", b"hello, world\n", "no protocol buffer"),
        ("a.pdmodel", b"hello, world\n", "no protocol buffer"),
        ("a.tflite", b"hello, world\n", "does not begin as TFLite files do"),
        ("a.xml", b"<html></html>", "does not begin as OpenVINO's XML files do"),
        ("a.txt", b"hello, world\n", "its name ends in .txt"),
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("a.pth", b"PK\x03\x04", "timm:NAME@"),
        ("a.pt", b"PK\x03\x04", "timm:NAME@"),
        ("a.safetensors", b"{}", "timm:NAME@"),
        ("a.h5", b"\x89HDF", "keras:NAME@"),
        ("a.keras", b"PK\x03\x04", "keras:NAME@"),
        ("inference.json", b"{}", "FLAGS_enable_pir_api=0"),
    ],
)
def test_what_is_no_network_file(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert message in refused(path)


@pytest.mark.parametrize("name", ["mobile.onnx", "frozen.pb", "float.tflite", "paddle.pdmodel"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.99])
def test_a_truncated_download_is_a_clear_error(tmp_path, name, part):
    data = (HERE / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * part)])
    shutil.copy(HERE / "paddle.pdiparams", tmp_path)
    assert any(word in refused(path) for word in ("cut short", "OpenVINO cannot read"))


def test_missing_parts_and_folders(tmp_path):
    shutil.copy(HERE / "ir.xml", tmp_path)
    assert "put ir.bin into the same folder" in refused(tmp_path / "ir.xml")
    shutil.copy(HERE / "paddle.pdmodel", tmp_path)
    assert "put paddle.pdiparams into the same folder" in refused(tmp_path / "paddle.pdmodel")
    message = refused(tmp_path)
    assert "no TensorFlow SavedModel" in message
    assert "ir.xml, paddle.pdmodel" in message
    (tmp_path / "empty").mkdir()
    assert "name a file or folder that is one" in refused(tmp_path / "empty")
    (tmp_path / "ir.bin").write_bytes(b"short")
    assert "OpenVINO cannot read" in refused(tmp_path / "ir.xml")
    shutil.copy(HERE / "ir.bin", tmp_path)
    assert "ir.xml instead" in refused(tmp_path / "ir.bin")
    assert "paddle.pdmodel instead" in refused("paddle.pdiparams")


# Real networks


def real(name: str) -> NetworkFile:
    path = DATA / "weights" / name
    if not path.is_file() or not (DATA / "imagenet_sample").is_dir():
        pytest.skip("needs the real networks and pictures")
    return opened(str(path), Overrides())


def top_1(network: NetworkFile, files: list[Path], preprocess: Preprocess) -> float:
    """Share of ImageNet pictures in their class; class 0 of 1,001 is the background."""
    openvino = import_openvino()
    compiled = openvino.Core().compile_model(network.model, "CPU", FLOAT32)
    right = 0
    for path in files:
        pixels = preprocess.encoded(path.read_bytes())[None]
        scores = next(iter(compiled(preprocess.normalised(pixels)).values()))
        right += int(scores.argmax()) == int(path.name[:3]) + 1
    return right / len(files)


def imagenet(every: int) -> list[Path]:
    return sorted((DATA / "imagenet_sample").glob("*.jpg"))[::every]


# file, least top-1 on every fifth picture and on all of them, size of the features
GOLDEN = [
    ("tf2_mobilenet_v2_1.0_224_ptq.tflite", 0.75, 0.84, 1280),
    ("mobilenet_v2_1.0_224_quant.tflite", 0.77, 0.86, 1280),
    ("mobilenet_v1_0.25_128_quant.tflite", 0.42, 0.42, 256),
]


@pytest.mark.parametrize(("name", "bar", "_", "features"), GOLDEN)
def test_golden_tflite_networks_classify_imagenet(name, bar, _, features):
    """A wrong mean or channel order falls far below the bar."""
    network = real(name)
    files, preprocess = imagenet(5), network.description.preprocess
    assert len(files) == 100
    assert top_1(network, files, preprocess) >= bar
    assert top_1(network, files, replace(preprocess, channels="BGR")) < bar - 0.1
    assert top_1(network, files, replace(preprocess, mean=HALF)) < bar - 0.1
    assert network.description.cuts[-1].channels == features
    assert network.description.cuts[-1].tensors[0].layout == "NCHW"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "_", "bar", "features"), GOLDEN)
def test_golden_tflite_networks_reach_the_accuracy_of_their_publisher(name, _, bar, features):
    """All 500 pictures; squeezed instead of cropped, they fall below the bar."""
    network = real(name)
    files, preprocess = imagenet(1), network.description.preprocess
    assert len(files) == 500
    assert top_1(network, files, preprocess) >= bar
    assert top_1(network, files, replace(preprocess, crop_pct=None)) < bar


def test_golden_embedding_extractor_tells_ants_from_bees(tmp_path):
    """Nearest class mean on 1,024 features of 60 training and 60 test pictures of each."""
    network = real("mobilenet_v1_1.0_224_quant_embedding_extractor.tflite")
    last = network.description.cuts[-1]
    assert last.channels == 1024
    model = written(network, tmp_path / "out", [last])
    compiled = import_openvino().Core().compile_model(model, "CPU", FLOAT32)
    preprocess = network.description.preprocess

    def features(part: str, label: str) -> np.ndarray:
        files = sorted((DATA / "hymenoptera" / part / label).glob("*.jpg"))[:60]
        assert len(files) == 60
        pixels = np.stack([preprocess.encoded(path.read_bytes()) for path in files])
        batches = [pixels[:30], pixels[30:]]
        maps = [next(iter(compiled(preprocess.normalised(b)).values())) for b in batches]
        return np.concatenate([m.mean((2, 3)) for m in maps])

    means = np.stack([features("train", label).mean(0) for label in ("ants", "bees")])
    right = []
    for number, label in enumerate(("ants", "bees")):
        x = features("val", label)
        right += list(np.linalg.norm(x[:, None] - means, axis=2).argmin(1) == number)
    assert len(right) == 120
    assert np.mean(right) > 0.85
