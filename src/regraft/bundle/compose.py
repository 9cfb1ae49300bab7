"""Putting a bundle together: which file says what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.ancestry import Ancestor, ancestors_to_json
from regraft.backbones.base import Backbone
from regraft.backbones.cuts import cuts_to_json
from regraft.bundle.card import model_card
from regraft.bundle.format import (
    CARD,
    CONFIG,
    FAMILIAR,
    FORMAT_VERSION,
    GRAPH,
    GRAPH_WEIGHTS,
    HEAD,
    MODEL,
    NETWORK,
    NETWORK_WEIGHTS,
)
from regraft.familiar import Familiarity
from regraft.files import open_source
from regraft.heads.linear import LinearHead
from regraft.strategy import FeatureSet, Strategy

# Bytes kept of the digest of each picture that was learned from: enough to recognise it.
SEEN_BYTES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained model and what is known of it, before it is written.

    Parameters
    ----------
    backbone : Backbone
        The source network.
    network : Path
        Folder of the converted network, for the weights.
    graph : Path
        Folder of the graph that gives the features of the strategy.
    classes : tuple of str
        Columns of the head.
    strategy : Strategy
        How it was made.
    head : LinearHead
        The trained head.
    familiarity : Familiarity or None
        What tells a picture that is unlike those of training.
    learned_from : tuple of bytes
        SHA-256 of every picture that the model has seen.
    record : Mapping
        Measured figures and provenance, as JSON values.
    """

    backbone: Backbone
    network: Path
    graph: Path
    classes: tuple[str, ...]
    strategy: Strategy
    head: LinearHead
    familiarity: Familiarity | None
    learned_from: tuple[bytes, ...]
    record: Mapping[str, Any]


def bundle_files(trained: Trained) -> dict[str, bytes | Path]:
    """Return the contents of every file of the bundle but the sums."""
    from safetensors.numpy import save

    config = json.dumps(_config(trained), indent=2, ensure_ascii=False, sort_keys=False)
    seen = np.frombuffer(b"".join(d[:SEEN_BYTES] for d in trained.learned_from), dtype=np.uint8)
    head: dict[str, NDArray[Any]] = {
        "weight": np.ascontiguousarray(trained.head.weight),
        "bias": np.ascontiguousarray(trained.head.bias),
        "learned_from": seen.reshape(-1, SEEN_BYTES),
    }
    backbone = trained.backbone
    card = model_card(
        _portable_name(backbone),
        backbone.origin,
        trained.strategy,
        trained.classes,
        trained.record,
    )
    return {
        CONFIG: config.encode("utf-8"),
        HEAD: save(head),
        **_familiar(trained.familiarity),
        **_network(trained),
        GRAPH: trained.graph / "frozen.xml",
        GRAPH_WEIGHTS: trained.graph / "frozen.bin",
        CARD: card.encode("utf-8"),
    }


def _familiar(known: Familiarity | None) -> dict[str, bytes | Path]:
    from safetensors.numpy import save

    if known is None:
        return {}
    tensors: dict[str, NDArray[Any]] = {
        "references": known.references.astype(np.float16),
        "threshold": np.array([known.threshold], dtype=np.float64),
    }
    return {FAMILIAR: save(tensors)}


def strategy_record(strategy: Strategy) -> dict[str, Any]:
    """Return a strategy as JSON values."""
    return {
        "name": strategy.name,
        "features": strategy.features.name,
        "cuts": list(strategy.features.cuts),
        "pooling": list(strategy.features.poolings),
        "taps": [{"cut": tap.cut, "pooling": tap.pooling} for tap in strategy.features.taps],
        "head": strategy.head,
        "strength": strategy.strength,
        "precision": strategy.precision,
        "phases": [asdict(phase) for phase in strategy.phases],
    }


def _config(trained: Trained) -> dict[str, Any]:
    backbone = trained.backbone
    record = {
        "format_version": FORMAT_VERSION,
        "classes": list(trained.classes),
        "backbone": _source_record(backbone),
        "preprocess": backbone.preprocess.to_dict(),
        "strategy": strategy_record(trained.strategy),
        **trained.record,
    }
    return {**_timm_config(trained), "regraft": record}


def _source_record(backbone: Backbone) -> dict[str, Any]:
    """Say where the network comes from, and of a network file also where it is cut."""
    origin, description = backbone.origin, backbone.description
    record = {
        "name": _portable_name(backbone),
        "zoo": origin.zoo,
        "architecture": origin.architecture,
        "weights": origin.weights,
        "weights_sha256": origin.weights_sha256,
        "licence": origin.licence,
        "trained_on": origin.trained_on,
        "ancestors": ancestors_to_json(_ancestors(backbone)),
    }
    if description.trains:
        return record
    return {
        **record,
        "cuts": cuts_to_json(backbone.probes),
        "parameters": description.parameters,
        "multiply_adds": description.multiply_adds,
    }


def _ancestors(backbone: Backbone) -> tuple[Ancestor, ...]:
    """Say what the model descends from, itself not included."""
    origin = backbone.origin
    return origin.ancestors or (Ancestor(_portable_name(backbone), origin.trained_on),)


def _portable_name(backbone: Backbone) -> str:
    """Name the source without the paths of this machine."""
    named_by_path = "/" in backbone.name or backbone.origin.zoo == "file"
    origin = backbone.origin
    return f"{origin.zoo}:{origin.architecture}" if named_by_path else backbone.name


def _network(trained: Trained) -> dict[str, bytes | Path]:
    """Return the files that let this model be the source of another one."""
    if trained.backbone.description.trains:
        return {MODEL: _weights(trained)}
    return {
        NETWORK: trained.network / "frozen.xml",
        NETWORK_WEIGHTS: trained.network / "frozen.bin",
    }


def _timm_config(trained: Trained) -> dict[str, Any]:
    """Write what timm needs for ``create_model("local-dir:BUNDLE", pretrained=True)``.

    Where the head reads the average of the last cut alone, it is timm's own classifier and timm
    gives the same classes; else timm gets the network without a head.
    """
    backbone = trained.backbone
    if backbone.origin.timm_classifier is None:
        return {}
    folds = _is_plain_classifier(backbone, trained.strategy.features)
    height, width = backbone.preprocess.size
    num_classes = len(trained.classes) if folds else 0
    config: dict[str, Any] = {
        "architecture": backbone.origin.architecture.partition(".")[0],
        "num_classes": num_classes,
        "num_features": backbone.probes[-1].channels,
        "pretrained_cfg": {
            "num_classes": num_classes,
            "input_size": [3, height, width],
            "pool_size": [height // 32, width // 32],
            "crop_pct": backbone.preprocess.crop_pct or 1.0,
            "crop_mode": "squash" if backbone.preprocess.crop_pct is None else "center",
            "interpolation": backbone.preprocess.interpolation,
            "fixed_input_size": backbone.origin.timm_image_size is not None,
            "mean": list(backbone.preprocess.mean),
            "std": list(backbone.preprocess.std),
            "classifier": backbone.origin.timm_classifier,
            "license": backbone.origin.licence.lower(),
        },
    }
    if backbone.origin.timm_image_size is not None:
        config["model_args"] = {"img_size": list(backbone.origin.timm_image_size)}
    if folds:
        config["label_names"] = list(trained.classes)
    return config


def _is_plain_classifier(backbone: Backbone, features: FeatureSet) -> bool:
    last = backbone.probes[-1].name
    return [(tap.cut, tap.pooling) for tap in features.taps] == [(last, "avg")]


def _weights(trained: Trained) -> bytes | Path:
    """Return the network's weights, with the head among them where timm has a place for it."""
    source = trained.network / "backbone.safetensors"
    classifier = trained.backbone.origin.timm_classifier
    if classifier is None or not _is_plain_classifier(trained.backbone, trained.strategy.features):
        return source
    from safetensors.numpy import load, save

    with open_source(source) as file:
        tensors: dict[str, NDArray[Any]] = load(file.read())
    tensors[f"{classifier}.weight"] = np.ascontiguousarray(trained.head.weight)
    tensors[f"{classifier}.bias"] = np.ascontiguousarray(trained.head.bias)
    return save(tensors)
