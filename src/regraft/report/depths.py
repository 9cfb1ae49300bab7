"""What each depth of a network sees: its first filters, and what excites later channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut
from regraft.report.activations import Looker, Places

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_DEPTHS = 6
_MAPS = 8
_CHANNELS, _EXCITED = 3, 4
_MOST_VALUES = 1_300_000
"""Values of a map beyond which a depth is left out: a batch of them would fill the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """A channel and the pictures that it answers to most.

    Parameters
    ----------
    number : int
        Which of the depth's channels.
    pictures : tuple of int
        The strongest first, each once.
    maps : tuple of ndarray of shape (h, w), float32
        The channel in each of them.
    """

    number: int
    pictures: tuple[int, ...]
    maps: tuple[Array, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Depth:
    """What one depth sees.

    Parameters
    ----------
    cut : str
        Its name.
    channels, grid : int and tuple of int
        Number of maps, their height and width.
    maps : ndarray of shape (n, h, w), float32
        Some maps of one picture: those that vary most over it.
    excited : tuple of Channel
        Channels that tell the pictures apart best.
    """

    cut: str
    channels: int
    grid: tuple[int, int]
    maps: Array
    excited: tuple[Channel, ...]


@dataclass(slots=True)
class _Tops:
    """The maximum of every channel in every picture, by cut."""

    found: dict[str, dict[int, Array]] = field(default_factory=dict)

    def note(self, number: int, tensors: dict[str, tuple[Places, ...]]) -> None:
        for name, (places, *_) in tensors.items():
            self.found.setdefault(name, {})[number] = places.values.max(axis=0)

    def of(self, name: str) -> Array:
        rows = self.found[name]
        return np.stack([rows[number] for number in range(len(rows))])


def shown_cuts(backbone: Backbone) -> tuple[Cut, ...]:
    """Return a few depths with maps, evenly spread from the first to the last."""
    wide = [
        cut
        for cut in backbone.probes
        if cut.tensors[0].places > 1
        and cut.tensors[0].grid is not None
        and cut.width("map") <= _MOST_VALUES
    ]
    places = np.linspace(0, len(wide) - 1, min(_DEPTHS, len(wide))).round().astype(int)
    return tuple(wide[place] for place in np.unique(places))


def see(looker: Looker, pixels: Pixels, example: int) -> tuple[Depth, ...]:
    """Look at some pictures at every depth.

    Parameters
    ----------
    looker : Looker
        Gives the depths.
    pixels : ndarray of shape (n, H, W, 3), uint8
        Prepared pictures; at least one.
    example : int
        The picture of which maps are shown.
    """
    tops = _Tops()
    looker.look(pixels, tops.note)
    chosen = {cut.name: _channels(tops.of(cut.name)) for cut in looker.cuts}
    wanted = {example: None} | {
        number: None for channels in chosen.values() for _, rows in channels for number in rows
    }
    numbers = list(wanted)
    tensors = dict(zip(numbers, looker.all(pixels[numbers]), strict=True))
    return tuple(_depth(cut, tensors, chosen[cut.name], example) for cut in looker.cuts)


def _channels(tops: Array) -> list[tuple[int, tuple[int, ...]]]:
    """Channels whose few strongest pictures stand out most, no two of the same picture."""
    count = min(_EXCITED, len(tops))
    spread = tops.std(axis=0)
    ranked = np.sort(tops, axis=0)[::-1]
    standing_out = (ranked[:count].mean(axis=0) - tops.mean(axis=0)) / np.maximum(spread, 1e-9)
    standing_out[spread <= 0] = -np.inf
    found: list[tuple[int, tuple[int, ...]]] = []
    seen: set[int] = set()
    for channel in np.argsort(-standing_out, kind="stable"):
        rows = tuple(int(row) for row in np.argsort(-tops[:, channel], kind="stable")[:count])
        if np.isfinite(standing_out[channel]) and rows[0] not in seen:
            found.append((int(channel), rows))
            seen.add(rows[0])
        if len(found) == _CHANNELS:
            break
    return found


def _depth(
    cut: Cut,
    tensors: dict[int, dict[str, tuple[Places, ...]]],
    chosen: Sequence[tuple[int, tuple[int, ...]]],
    example: int,
) -> Depth:
    spec = cut.tensors[0]
    height, width = spec.grid or (1, 1)

    def map_of(number: int, channel: int) -> Array:
        values: Array = tensors[number][cut.name][0].values[:, channel]
        return values.reshape(height, width)

    of_example = tensors[example][cut.name][0].values
    varied = np.argsort(-of_example.std(axis=0), kind="stable")[:_MAPS]
    return Depth(
        cut=cut.name,
        channels=spec.channels,
        grid=(height, width),
        maps=np.stack([map_of(example, int(channel)) for channel in varied]),
        excited=tuple(
            Channel(channel, rows, tuple(map_of(row, channel) for row in rows))
            for channel, rows in chosen
        ),
    )


def first_filters(backbone: Backbone, most: int = 64) -> NDArray[np.float32] | None:
    """Return the first filters that read colours, those that vary most first.

    Returns
    -------
    ndarray of shape (n, h, w, 3), float32, or None
        In the order red, green, blue; None where the source holds no PyTorch network, or its
        first layer reads no colours from places in a square.
    """
    if not backbone.description.trains:
        return None
    for stage in backbone.chain().stages:
        for weight in stage.module.parameters():
            if weight.ndim == 4 and weight.shape[1] == 3 and min(weight.shape[2:]) > 1:
                filters = weight.detach().permute(0, 2, 3, 1).float().numpy()
                if backbone.preprocess.channels == "BGR":
                    filters = filters[..., ::-1]
                order = np.argsort(-filters.std(axis=(1, 2, 3)), kind="stable")[:most]
                return np.ascontiguousarray(filters[order], dtype=np.float32)
    return None
