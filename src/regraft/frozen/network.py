"""Converted networks, kept in the cache folder so that a framework is opened once a machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from regraft.backbones.base import Backbone, backbone_key
from regraft.frozen.graph import save_feature_model
from regraft.frozen.shelf import SOURCE, shelf, take
from regraft.strategy import Tap

# Raise when Backbone.build or regraft.frozen.graph write something else than before.
_SCHEME = 1


def is_converted(backbone: Backbone, cache: Path) -> bool:
    """Whether the converted network is in the cache."""
    return _folder(backbone, cache, SOURCE).is_dir()


def converted_network(backbone: Backbone, cache: Path) -> Path:
    """Return the folder of the converted network; converts it the first time.

    The folder holds ``frozen.xml``, ``frozen.bin`` and ``backbone.safetensors``, see
    `regraft.backbones.base.Backbone.build`. A network damaged on disk is converted anew.
    """
    return take(_folder(backbone, cache, SOURCE), backbone.build)


def feature_graph(backbone: Backbone, taps: Sequence[Tap], cache: Path) -> Path:
    """Return the folder with the graph that gives exactly these taps (``frozen.xml/.bin``).

    It is what a bundle carries; made once, so that a second fit with the same choice opens no
    engine at all.
    """

    def build(folder: Path) -> None:
        source = converted_network(backbone, cache) / "frozen.xml"
        save_feature_model(source, taps, backbone.preprocess, folder)

    key = hashlib.sha256(json.dumps([asdict(tap) for tap in taps]).encode()).hexdigest()[:32]
    return take(_folder(backbone, cache, f"-{key}"), build)


def _folder(backbone: Backbone, cache: Path, what: str) -> Path:
    parts = [_SCHEME, backbone_key(backbone), metadata.version("openvino")]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return shelf(cache) / f"{key}{what}"
