"""The model card: what a person should know before using a bundle (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regraft.backbones.base import Origin
from regraft.strategy import Strategy

_MOST_CLASSES = 50


def model_card(
    source: str,
    origin: Origin,
    strategy: Strategy,
    classes: Sequence[str],
    record: Mapping[str, Any],
) -> str:
    """Write the card as Markdown.

    Parameters
    ----------
    source : str
        Name of the source network, without the paths of this machine.
    origin : Origin
        Where it comes from.
    strategy : Strategy
        How the model was made from it.
    classes : sequence of str
        What the model tells apart.
    record : Mapping
        The ``counts``, ``selection``, ``test``, ``operating_point`` and ``provenance`` of
        ``fit --json``.
    """
    counts, test, made = record["counts"], record["test"], record["provenance"]
    low, high = test["ci95"]
    lines = [
        "---",
        f"license: {origin.licence.lower()}",
        "library_name: regraft",
        "pipeline_tag: image-classification",
        "tags: [image-classification, transfer-learning, regraft]",
        "---",
        "",
        "# A picture classifier made with regraft",
        "",
        f"It tells {len(classes)} classes apart: {_listed(classes)}.",
        "",
        "## How good it is",
        "",
        f"Accuracy **{test['accuracy']:.1%}** (95 % interval {low:.1%} to {high:.1%}) on "
        f"{test['n']} test pictures that chose nothing; balanced accuracy "
        f"{test['balanced_accuracy']:.1%}.",
        "",
        *_threshold(record["operating_point"]),
        "| class | test pictures | recall | precision |",
        "| --- | --- | --- | --- |",
        *(_class_row(row) for row in test["per_class"][:_MOST_CLASSES]),
        "",
        "## How it was made",
        "",
        f"- Network: `{source}` ({origin.architecture}), trained on "
        f"{origin.trained_on}; {_trained(strategy)}; licence of the weights {origin.licence}.",
        f"- Learned from {counts['train'] + counts['val']} pictures, {_chosen(record, strategy)}; "
        f"tested on {counts['test']} others.",
        f"- Made {made['created']} with regraft {made['regraft']}, seed {made['seed']}.",
        "",
        "## How to use it",
        "",
        "```",
        "regraft predict THIS_FOLDER picture.jpg",
        "```",
        "",
        "```python",
        "import regraft",
        "",
        'model = regraft.load("THIS_FOLDER")',
        'model.predict(["picture.jpg"])',
        "```",
        "",
        "Other programs: `frozen.xml` is an OpenVINO graph from uint8 RGB pixels (N, H, W, 3) to "
        "features; `head.safetensors` holds `weight` and `bias`; the probabilities are "
        "softmax(features @ weight.T + bias), in the order of `classes` in `config.json`, which "
        "also says how pictures are resized. `sha256sum -c SHA256SUMS` checks the files.",
        "",
        "## Limits",
        "",
        "It always answers with one of its classes, also for pictures that show none of them; "
        "`regraft predict` flags pictures that are unlike those it learned from. "
        "The figures above hold for pictures like the test pictures and for no others.",
        "",
    ]
    return "\n".join(lines)


def _threshold(point: Mapping[str, Any] | None) -> list[str]:
    """Say where a model of two classes says yes, if that is not where it is usual."""
    if point is None:
        return []
    return [
        f"It calls a picture `{_flat(point['positive'])}` from a probability of "
        f"{point['threshold']:.6g} on, which was chosen for {point['target']} on {point['n']} "
        "held-out pictures.",
        "",
    ]


def _trained(strategy: Strategy) -> str:
    """Say which of its layers were trained here."""
    parts = {
        "all": "layers",
        "norm": "normalisations and biases",
        "lora": "low-rank adapters, merged,",
    }
    told = [
        f"{parts[phase.what]} from {phase.train_from} on"
        if phase.train_from
        else {"all": "all layers"}.get(phase.what, parts[phase.what])
        for phase in strategy.phases
    ]
    if not told:
        return "frozen"
    start = "random weights, then " if strategy.name == "scratch" else ""
    whole = any(phase.train_from is None and phase.what == "all" for phase in strategy.phases)
    rest = "" if whole else ", the rest frozen"
    return f"{start}{', then '.join(told)} trained here{rest}"


def _chosen(record: Mapping[str, Any], strategy: Strategy) -> str:
    if strategy.phases:
        return "some of which only said when to stop"
    method = record["selection"]["method"]
    if method == "none":
        return "too few to choose, so with default settings"
    if method == "validation":
        return f"features and strength chosen on {record['counts']['val']} of them"
    return "features and strength chosen by cross-validation among them"


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(f"`{_flat(label)}`" for label in classes[:_MOST_CLASSES])
    more = len(classes) - _MOST_CLASSES
    return f"{shown} and {more} more (all in `config.json`)" if more > 0 else shown


def _class_row(row: Mapping[str, Any]) -> str:
    recall, precision = (
        "–" if row[key] is None else f"{row[key]:.1%}" for key in ("recall", "precision")
    )
    return f"| {_flat(row['class'])} | {row['support']} | {recall} | {precision} |"


def _flat(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())
