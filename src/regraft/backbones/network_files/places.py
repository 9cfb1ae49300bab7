"""Places where an OpenVINO graph can be cut, at the granularity of blocks.

After which operations few tensors are alive is found from the graph alone. Between two operations
with weights at most one cut is left, the last one; the inside of a depthwise-separable or
inverted-bottleneck block is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.network_files.flow import Flow, Port, port_of, shape_of

# Nothing is computed here: what comes before is the better cut.
_NO_CUT = (
    *("Parameter", "Pad", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Convert", "Split"),
    *("VariadicSplit", "StridedSlice", "Slice"),
)
_MERGES = ("Add", "Concat")
_FINISHES = (
    *("Relu", "PRelu", "Clamp", "Swish", "HSwish", "Gelu", "Elu", "FakeQuantize"),
    *("MaxPool", "AvgPool"),
)
_LONG = 12  # operations with weights between two cuts of one tensor, for cuts of two to be let in


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A cut and where it is in the graph.

    Parameters
    ----------
    cut : Cut
        Named by the operation.
    outputs : tuple of openvino.Output
        One for each tensor.
    """

    cut: Cut
    outputs: tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """An operation after which few tensors are alive, its own first."""

    place: Place
    weights: int  # how many operations with weights have run
    depthwise: bool  # whether the last of them, on the map, was a depthwise convolution

    @property
    def spec(self) -> TensorSpec:
        return self.place.cut.tensors[0]


def find_places(flow: Flow) -> list[Place]:
    """Find where the graph can be cut.

    Parameters
    ----------
    flow : Flow
        From the input to the features.

    Returns
    -------
    list of Place
        From input to features; the last one is not always the features themselves.
    """
    candidates = list(_candidates(flow))
    single = _one_a_gap(flow, [c for c in candidates if len(c.place.outputs) == 1])
    places = _with_pairs(flow, single, candidates)
    return [candidate.place for candidate in _without_insides(flow, places)]


def place_at(flow: Flow, outputs: Sequence[Any]) -> Place | None:
    """Make a place of some tensors; None where one of them is no map, tokens or vector."""
    specs = tuple(spec for spec in map(flow.spec, outputs) if spec is not None)
    if len(specs) < len(outputs):
        return None
    return Place(Cut(outputs[0].get_node().friendly_name, specs), tuple(outputs))


def _candidates(flow: Flow) -> Iterator[_Candidate]:
    last_read: dict[Port, int] = {}
    for number, node in enumerate(flow.order):
        last_read |= {port_of(source): number for source in flow.data_inputs(node)}
    last_read[port_of(flow.order[-1].output(0))] = len(flow.order)
    alive: dict[Port, Any] = {}
    weights, depthwise = 0, False
    for number, node in enumerate(flow.order):
        alive |= {port_of(output): output for output in node.outputs()}
        alive = {port: value for port, value in alive.items() if last_read.get(port, -1) > number}
        if flow.is_weighty(node):
            weights += 1
            if max(shape_of(node.output(0))[2:], default=1) > 1:
                depthwise = _is_depthwise(node)
        own = port_of(node.output(0))
        if weights and node.get_type_name() not in _NO_CUT and own in alive and len(alive) <= 2:
            others = [value for port, value in alive.items() if port != own]
            place = place_at(flow, [alive[own], *others])
            if place is not None:
                yield _Candidate(place, weights, depthwise)


def _is_depthwise(node: Any) -> bool:
    return node.get_type_name() == "GroupConvolution" and shape_of(node.input_value(1))[2] == 1


def _one_a_gap(flow: Flow, candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Keep one candidate between two operations with weights.

    It is the last map, or else the last vector. Where two branches meet, though, a block ends:
    there it is the meeting, with the activations and poolings that follow at once, and not the
    normalisation that is the beginning of the next block (after the last weights there is none).
    """
    gaps: dict[int, _Candidate] = {}
    ended: set[int] = set()
    for candidate in candidates:
        gap, before = candidate.weights, gaps.get(candidate.weights)
        if candidate.spec.layout == "NC" and before is not None and before.spec.layout != "NC":
            continue
        if gap in ended and not (before is not None and _follows(flow, candidate, before)):
            continue
        gaps[gap] = candidate
        if _merges(flow, candidate) and gap < candidates[-1].weights:
            ended.add(gap)
    return [gaps[gap] for gap in sorted(gaps) if not gaps[gap].depthwise]


def _follows(flow: Flow, candidate: _Candidate, before: _Candidate) -> bool:
    node, port = candidate.place.outputs[0].get_node(), port_of(before.place.outputs[0])
    reads = [port_of(source) for source in flow.data_inputs(node)]
    return port in reads and node.get_type_name() in _FINISHES


def _with_pairs(
    flow: Flow, single: Sequence[_Candidate], candidates: Sequence[_Candidate]
) -> list[_Candidate]:
    """Let cuts of two tensors in where the next block also reads the block before (NASNet)."""
    pairs = [c for c in candidates if len(c.place.outputs) == 2 and _merges(flow, c)]
    kept: list[_Candidate] = []
    for candidate in single:
        start = kept[-1].weights if kept else 0
        if candidate.weights - start > _LONG:
            kept += _one_a_gap(flow, [c for c in pairs if start < c.weights < candidate.weights])
        kept.append(candidate)
    return kept


def _merges(flow: Flow, candidate: _Candidate) -> bool:
    node = candidate.place.outputs[0].get_node()
    return node.get_type_name() in _MERGES and len(flow.data_inputs(node)) > 1


def _without_insides(flow: Flow, places: Sequence[_Candidate]) -> list[_Candidate]:
    """Leave out the widened map of an inverted bottleneck and the squeezed one of a fire module.

    The first is read by a depthwise convolution and wider than what follows; the second is less
    than half as wide as its neighbours, and as large as the one before it.
    """
    weighty = [node for node in flow.order if flow.is_weighty(node)]
    kept = list(places[:1])
    for before, this, after in zip(places, places[1:], places[2:], strict=False):
        here, narrow = this.spec, min(before.spec.channels, after.spec.channels)
        widened = here.channels > after.spec.channels and _is_depthwise(weighty[this.weights])
        squeezed = here.grid == before.spec.grid and 2 * here.channels < narrow
        if not (widened or squeezed):
            kept.append(this)
    return [*kept, *places[1:][-1:]]
