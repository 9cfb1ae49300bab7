"""Network files of any framework, read by OpenVINO: ``file:model.tflite``.

They run, and do not train. Nothing of the framework that wrote the file is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Description, Origin
from regraft.backbones.convert import save_graph
from regraft.backbones.cuts import Cut
from regraft.backbones.network_files.batch import for_any_batch, run
from regraft.backbones.network_files.flow import (
    Flow,
    count_multiply_adds,
    count_parameters,
    flow_to,
    name_operations,
    port_of,
)
from regraft.backbones.network_files.head import find_tap
from regraft.backbones.network_files.inputs import (
    PictureInput,
    picture_input,
    put_standard_input,
    resolve_preprocess,
)
from regraft.backbones.network_files.kinds import NetworkPath, find_network
from regraft.backbones.network_files.metadata import Stated, stated_by_openvino, stated_by_tflite
from regraft.backbones.network_files.places import Place, find_places, place_at
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.probes import choose_probes
from regraft.backbones.spelling import Request
from regraft.errors import UserError
from regraft.quiet import import_openvino

# Of the norm of the features: quantised averages are rounded, float ones summed in other orders.
_SAME = 1e-3


class NetworkFile:
    """A network file, opened; see `regraft.backbones.base.FrozenGraph`.

    Parameters
    ----------
    description : Description
        What it is.
    sources : tuple of Path
        The files that decided it.
    model : openvino.Model
        From normalised float32 (1, 3, H, W) to what the file gives, head included.
    places : sequence of Place
        Where it can be cut.
    """

    def __init__(
        self,
        description: Description,
        sources: tuple[Path, ...],
        model: Any,
        places: Sequence[Place],
    ) -> None:
        self.description = description
        self.sources = sources
        self.model = model
        self._outputs = {place.cut.name: place.outputs for place in places}

    def write(self, folder: Path, cuts: Sequence[Cut]) -> None:
        """Write the network without its head; see `regraft.backbones.base.FrozenGraph.write`."""
        import_openvino()
        from openvino._offline_transformations import apply_moc_transformations

        model = _cut_model(self.model, [(cut, self._outputs[cut.name]) for cut in cuts])
        preprocess = self.description.preprocess
        path = self.description.name.removeprefix("file:")
        model = for_any_batch(model, _noise(preprocess, 2), path)
        names = [name for cut in cuts for name in cut.output_names()]
        apply_moc_transformations(model, cf=True)
        for output, name in zip(model.outputs, names, strict=True):
            output.get_tensor().set_names({name})
        save_graph(model, folder / "frozen.xml")


class FileZoo:
    """Network files; see `regraft.backbones.zoos.Zoo`."""

    def names(self) -> Sequence[str]:
        """None: a path is a name."""
        return ()

    def open(self, request: Request, say: Callable[[str], None]) -> NetworkFile:
        """Open a network file; see `open_network_file`."""
        return open_network_file(request, say)


def open_network_file(request: Request, say: Callable[[str], None]) -> NetworkFile:
    """Open a network file.

    Parameters
    ----------
    request : Request
        Its `name` is the path.
    say : callable
        Prints a line for the user.

    Returns
    -------
    NetworkFile

    Raises
    ------
    UserError
        It is no network file, no network for pictures, or what is needed is not known.
    """
    path = request.name
    if request.checkpoint is not None or not request.pretrained:
        raise UserError(
            f"file: {path} carries its own weights; leave the weights after @ (or "
            "pretrained=False) out"
        )
    found = find_network(path)
    model = _read(found, path)
    taken = picture_input(model, path, request.overrides)
    stated = _stated(found, model)
    preprocess = resolve_preprocess(taken, stated, request.overrides, path)
    name_operations(model, _read(found, path), taken.layout.index("C"))
    _set_shape(model, taken, path)
    model = put_standard_input(model, taken)
    output, has_head = find_tap(model, 1, request.overrides.tap, path)
    if not has_head:
        say(
            f"{path} is taken for a network without a classifier: its output are the features. If "
            "its last layer is a classifier, give --tap with the operation before it"
        )
    flow = flow_to([output.get_node()], 1)
    places = _places(flow, output, preprocess, path)
    cuts = tuple(place.cut for place in places)
    whole = flow_to(model.get_results(), 1)
    description = Description(
        name=f"file:{path}",
        origin=Origin(
            zoo="file",
            architecture=Path(path).name,
            weights=Path(path).name,
            weights_sha256=found.sha256(),
            licence=stated.licence or "unknown",
            trained_on="unknown (the file does not say)",
        ),
        preprocess=preprocess,
        cuts=cuts,
        probes=choose_probes(cuts),
        parameters=count_parameters(whole),
        multiply_adds=count_multiply_adds(whole),
        trains=False,
    )
    return NetworkFile(description, found.files, model, places)


def _read(found: NetworkPath, path: str) -> Any:
    try:
        return import_openvino().Core().read_model(found.path)
    except RuntimeError as error:
        raise UserError(f"file: OpenVINO cannot read {path}: {_reason(error)}") from error


def _reason(error: RuntimeError) -> str:
    """Find the one line of OpenVINO's message that says what was wrong."""
    noise = ("Exception from", "Check '", "FrontEnd API failed", "While validating")
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(noise)]
    return (telling or lines or ["no reason given"])[0][:300]


def _stated(found: NetworkPath, model: Any) -> Stated:
    return stated_by_tflite(found.path) if found.kind == "tflite" else stated_by_openvino(model)


def _set_shape(model: Any, taken: PictureInput, path: str) -> None:
    try:
        model.reshape(taken.shape)
    except RuntimeError as error:
        height, width = taken.size
        raise UserError(
            f"file: {path} cannot take one picture of {height}x{width} pixels: {_reason(error)}; "
            "leave --size out if the file has a size of its own"
        ) from error


def _places(flow: Flow, output: Any, preprocess: Preprocess, path: str) -> list[Place]:
    """Every cut; the last one, averaged over space, is the features."""
    tap = place_at(flow, [output])
    if tap is None:
        raise UserError(
            f"file: {path} gives no features: its output is {output.partial_shape.to_string()}, "
            "neither a map nor tokens nor a vector, one row a picture; give --tap"
        )
    places = find_places(flow)
    if places and port_of(places[-1].outputs[0]) == port_of(output):
        return places
    if places and _averages_to(flow, places[-1], tap, preprocess):
        return places
    return [*places, tap]


def _averages_to(flow: Flow, deepest: Place, tap: Place, preprocess: Preprocess) -> bool:
    """Whether the features are the average over space of a map, on a picture of noise."""
    layouts = deepest.cut.tensors[0].layout, tap.cut.tensors[0].layout
    if layouts[0] == "NC" or layouts[1] != "NC" or deepest.cut.channels != tap.cut.channels:
        return False
    openvino = import_openvino()
    from openvino import opset15 as ops

    results = [ops.result(place.outputs[0]) for place in (deepest, tap)]
    model = openvino.Model(results, [flow.order[0]], "compared")
    spread, vector = run(model, _noise(preprocess, 1))
    space = {"NCHW": (2, 3), "NHWC": (1, 2), "NLC": (1,)}[layouts[0]]
    error = spread.mean(axis=space).ravel() - vector.ravel()
    return bool(np.linalg.norm(error) <= _SAME * np.linalg.norm(vector))


def _cut_model(model: Any, cuts: Sequence[tuple[Cut, Sequence[Any]]]) -> Any:
    openvino = import_openvino()
    from openvino import opset15 as ops

    results = []
    for cut, outputs in cuts:
        for spec, output in zip(cut.tensors, outputs, strict=True):
            flat = spec.layout == "NC" and len(output.partial_shape) > 2
            value = (
                ops.reshape(output, np.array([-1, spec.channels]), special_zero=False)
                if flat
                else output
            )
            results.append(ops.result(value))
    return openvino.Model(results, model.get_parameters(), "frozen").clone()


def _noise(preprocess: Preprocess, count: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *preprocess.size, 3), dtype=np.uint8)
    return preprocess.normalised(pixels)
