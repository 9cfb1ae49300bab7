"""The house: arrows point down, importing is cheap, each setting has one home."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import regraft
from regraft.cli import app as cli_app
from regraft.options import FitOptions, Overrides

SOURCE = Path(regraft.__file__).parent

# Lowest first; a module imports only from its own layer and from lower ones.
LAYERS = [
    ["errors", "interrupts", "lateness", "progress", "quiet"],
    ["strategy", "price", "files", "target", "energy"],
    ["options", "bundle.fields"],
    ["bundle.format"],
    ["bundle.writing"],
    ["data"],
    ["backbones"],
    ["candidates"],
    ["frozen"],
    ["clusters", "heavy_tails", "opening", "catalogue"],
    ["heads", "metrics"],
    ["selection", "operating", "familiar", "readable", "symmetry", "train", "alike"],
    ["calibrated", "kept_together"],
    ["classroom", "tuning", "workshop"],
    ["bundle"],
    ["against_frozen", "proof"],
    ["second_training"],
    ["learn", "assessing", "evaluation", "demo", "advice", "auditing"],
    ["report"],
    [
        "record",
        "app",
        "app_audit",
        "app_report",
        "app_use",
        "terminal",
        "terminal_audit",
        "terminal_advice",
        "terminal_backbones",
        "terminal_evaluation",
        "terminal_models",
    ],
    [
        "estimator",
        "cli",
        "cli_advise",
        "cli_audit",
        "cli_backbones",
        "cli_cache",
        "cli_options",
        "cli_show",
    ],
]
# Cost a second or more; nothing on the way of a fit or a predict may load them.
HEAVY = ("torch", "keras", "sklearn", "timm", "torchvision", "pandas", "openvino", "scipy")


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


def layer_of(module: str) -> int:
    matches = [
        (len(entry), number)
        for number, entries in enumerate(LAYERS)
        for entry in entries
        if module == entry or module.startswith(entry + ".")
    ]
    assert matches, f"{module} has no layer: add it to LAYERS"
    return max(matches)[1]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("regraft."):
            found.add(node.module.removeprefix("regraft."))
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("regraft.") for a in node.names if "regraft." in a.name}
    return found


def test_imports_point_down():
    wrong, seen = [], 0
    for module, path in modules().items():
        if module == "":
            continue
        for target in imports_of(path):
            seen += 1
            if layer_of(target) > layer_of(module):
                wrong.append(f"{module} imports {target}")
    assert seen > 80
    assert not wrong


def test_no_relative_imports():
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def loaded_after(code: str) -> set[str]:
    probe = f"{code}\nimport sys\nprint(' '.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_else():
    loaded = loaded_after("import regraft")
    assert not loaded.intersection({*HEAVY, "numpy", "PIL", "typer", "rich"})


@pytest.mark.parametrize("module", ["cli", "app", "bundle.model", "learn", "terminal"])
def test_modules_of_fit_and_predict_load_nothing_heavy(module):
    loaded = loaded_after(f"import regraft.{module}")
    assert not loaded.intersection(HEAVY)


def test_the_command_line_starts_without_numpy():
    assert "numpy" not in loaded_after("import regraft.cli")


def test_public_names_are_real_and_lazy_names_complete():
    for name in regraft.__all__:
        assert getattr(regraft, name).__doc__
    assert set(regraft._HOMES) == set(regraft.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        regraft.fitt  # noqa: B018


def parameters_of(function: object) -> dict[str, object]:
    return {name: p.default for name, p in inspect.signature(function).parameters.items()}


def settings_of(options: object) -> dict[str, object]:
    return {field.name: getattr(options, field.name) for field in fields(options)}


def test_every_setting_is_the_same_in_python_and_on_the_command_line():
    in_python = settings_of(FitOptions())
    on_command_line = {**in_python, **settings_of(Overrides())}
    del on_command_line["overrides"]  # its fields are options of their own
    command = next(c for c in cli_app.registered_commands if c.callback.__name__ == "fit")
    for face, settings in ((regraft.fit, in_python), (command.callback, on_command_line)):
        found = parameters_of(face)
        assert {name: found.get(name, "missing") for name in settings} == settings


def test_every_setting_is_the_same_in_the_estimator():
    settings = settings_of(FitOptions())
    found = parameters_of(regraft.TransferClassifier)
    renamed = {"seed": "random_state"}
    only_for_folders = {"test_fraction", "strict"}
    # What trains layers makes a network, which is kept in a bundle: an estimator is plain data.
    only_for_folders |= {"strategy", "train_from", "lr", "epochs", "views"}
    only_for_folders |= {"mixup", "l2_sp", "budget"}
    # scikit-learn has TunedThresholdClassifierCV.
    only_for_folders |= {"target", "positive"}
    for name, default in settings.items():
        if name not in only_for_folders:
            assert found[renamed.get(name, name)] == default


def test_no_pickle_anywhere():
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text
        if "torch.load(" in text:
            assert "weights_only=True" in text


def test_files_and_functions_stay_small():
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path}:{node.lineno} {node.name} has {lines} lines"


def test_no_public_name_is_a_module_too():
    """Importing a module sets its name in the package: `regraft.advise` would be no function."""
    import regraft

    modules_or_packages = {path.stem for path in SOURCE.iterdir()}
    assert not modules_or_packages.intersection(regraft.__all__)
