"""Converted networks, kept in the cache folder so that a framework is opened once a machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from regraft.backbones.base import Backbone, backbone_key
from regraft.frozen.files import publish_dir
from regraft.frozen.graph import save_feature_model
from regraft.strategy import Tap

# Raise when Backbone.build or regraft.frozen.graph write something else than before.
_SCHEME = 1


def network_folder(backbone: Backbone, cache: Path) -> Path:
    """Where the converted network of a backbone lies, or will lie."""
    parts = [_SCHEME, backbone_key(backbone), metadata.version("openvino")]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return cache / "networks" / key


def is_converted(backbone: Backbone, cache: Path) -> bool:
    """Whether the converted network is in the cache."""
    return (network_folder(backbone, cache) / "source").is_dir()


def converted_network(backbone: Backbone, cache: Path) -> Path:
    """Return the folder of the converted network; converts it the first time.

    The folder holds ``frozen.xml``, ``frozen.bin`` and ``backbone.safetensors``, see
    `regraft.backbones.base.Backbone.build`.
    """
    folder = network_folder(backbone, cache) / "source"
    if not folder.is_dir():
        publish_dir(backbone.build, folder)
    return folder


def feature_graph(backbone: Backbone, taps: Sequence[Tap], cache: Path) -> Path:
    """Return the folder with the graph that gives exactly these taps (``frozen.xml/.bin``).

    It is what a bundle carries; made once, so that a second fit with the same choice opens no
    engine at all.
    """
    key = hashlib.sha256(json.dumps([asdict(tap) for tap in taps]).encode()).hexdigest()[:32]
    folder = network_folder(backbone, cache) / key
    if not folder.is_dir():
        source = converted_network(backbone, cache) / "frozen.xml"
        publish_dir(
            lambda target: save_feature_model(source, taps, backbone.preprocess, target), folder
        )
    return folder
