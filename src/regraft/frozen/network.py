"""Converted networks, kept in the cache folder so that a framework is opened once a machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from regraft.backbones.base import Backbone, backbone_key
from regraft.backbones.cuts import Cut
from regraft.frozen.graph import save_feature_model
from regraft.frozen.shelf import SOURCE, shelf, take
from regraft.strategy import Tap

# Raise when FrozenGraph.write or regraft.frozen.graph write something else than before.
_SCHEME = 2


@dataclass(frozen=True, slots=True)
class Converted:
    """A network without its head, as an OpenVINO graph.

    Parameters
    ----------
    folder : Path
        Holds what `regraft.backbones.base.FrozenGraph.write` writes.
    cuts : tuple of Cut
        Its outputs, from input to head.
    """

    folder: Path
    cuts: tuple[Cut, ...]

    @property
    def graph(self) -> Path:
        """The graph; its weights lie beside it."""
        return self.folder / "frozen.xml"


def is_converted(backbone: Backbone, cache: Path) -> bool:
    """Whether the converted network is in the cache, with the cuts that a fit probes."""
    return _folder(backbone, backbone.probes, cache, SOURCE).is_dir()


def converted_network(backbone: Backbone, taps: Sequence[Tap], cache: Path) -> Converted:
    """Return the converted network; converts it the first time.

    Its outputs are the cuts worth probing, and those of the taps where they are others. A network
    damaged on disk is converted anew.
    """
    cuts = _outputs(backbone, taps)
    folder = _folder(backbone, cuts, cache, SOURCE)
    return Converted(take(folder, lambda place: backbone.write(place, cuts)), cuts)


def feature_graph(backbone: Backbone, taps: Sequence[Tap], cache: Path) -> Path:
    """Return the folder with the graph that gives exactly these taps (``frozen.xml/.bin``).

    It is what a bundle carries; made once, so that a second fit with the same choice opens no
    engine at all.
    """

    def build(folder: Path) -> None:
        network = converted_network(backbone, taps, cache)
        save_feature_model(network.graph, network.cuts, taps, backbone.preprocess, folder)

    key = hashlib.sha256(json.dumps([asdict(tap) for tap in taps]).encode()).hexdigest()[:32]
    return take(_folder(backbone, _outputs(backbone, taps), cache, f"-{key}"), build)


def _outputs(backbone: Backbone, taps: Sequence[Tap]) -> tuple[Cut, ...]:
    wanted = {cut.name for cut in backbone.probes} | {tap.cut for tap in taps}
    return tuple(cut for cut in backbone.cuts if cut.name in wanted)


def _folder(backbone: Backbone, cuts: Sequence[Cut], cache: Path, what: str) -> Path:
    parts = [_SCHEME, backbone_key(backbone, cuts), metadata.version("openvino")]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return shelf(cache) / f"{key}{what}"
