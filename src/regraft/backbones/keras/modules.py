"""What Keras networks are made of, as PyTorch modules on maps with the channels first.

This module imports PyTorch; it is itself imported only where a Keras network is opened.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

MAP = 4
"""Number of axes of a map: picture, channel, height, width."""


def places_last(x: torch.Tensor) -> torch.Tensor:
    """Undo `channels_last`."""
    return x.permute(0, 3, 1, 2) if x.ndim == MAP else x


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Give the axes of a map Keras' order; a vector stays."""
    return x.permute(0, 2, 3, 1) if x.ndim == MAP else x


class PaddedConv2d(nn.Conv2d):
    """A convolution with one more row or column of zeros on the far side, as TensorFlow pads."""

    border: tuple[int, int, int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (PyTorch's own name)
        """Pad, then convolve."""
        return super().forward(functional.pad(input, self.border))


class LayerNorm(nn.LayerNorm):
    """Normalisation over the channels, of a map at every place."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        """Normalise."""
        return places_last(super().forward(channels_last(input)))


class Scale(nn.Module):
    """ConvNeXt's learnt factor for every channel."""

    def __init__(self, gamma: torch.Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(gamma)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        return x * self.gamma[:, None, None]


class Standardise(nn.Module):
    """Subtract a fixed mean and divide by a fixed deviation, a channel."""

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise."""
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        return (x - mean[:, None, None]) / deviation[:, None, None]


class Rescale(nn.Module):
    """A fixed factor and offset, one for all channels or one each."""

    def __init__(self, scale: torch.Tensor, offset: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.reshape(-1, 1, 1))
        self.register_buffer("offset", offset.reshape(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply and add."""
        return x * self.get_buffer("scale") + self.get_buffer("offset")


class Pool2d(nn.Module):
    """Pooling whose border never counts.

    Keras on PyTorch repeats the border of a map of even size before it averages; TensorFlow, with
    which the weights were trained, leaves it out of the average. So does this.

    Parameters
    ----------
    kind : {"max", "avg"}
    window, stride, padding : tuple of int
        Padding before the map; the windows run over its end where the stride asks for it.
    """

    def __init__(
        self,
        kind: str,
        window: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        over_the_end: bool,
    ) -> None:
        super().__init__()
        self.kind, self.window, self.stride = kind, window, stride
        self.padding, self.over_the_end = padding, over_the_end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool."""
        if self.kind == "max":
            return functional.max_pool2d(
                x, self.window, self.stride, self.padding, ceil_mode=self.over_the_end
            )
        return functional.avg_pool2d(
            x, self.window, self.stride, self.padding, self.over_the_end, count_include_pad=False
        )


class GlobalAverage(nn.Module):
    """The mean over all places."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average."""
        return x.mean((2, 3), keepdim=self.keep)


class Crop(nn.Module):
    """Cut rows and columns off."""

    def __init__(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Crop."""
        (top, bottom), (left, right) = self.rows, self.columns
        return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


class Reshape(nn.Module):
    """Keras' reshape: the values in its order, channels last."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reshape."""
        return places_last(channels_last(x).reshape(-1, *self.shape))


class Join(nn.Module):
    """Channels of several maps, one after the other."""

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        """Concatenate."""
        return torch.cat(parts, 1)


class Sum(nn.Module):
    """The sum of several maps, the last one scaled first."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        """Add."""
        total: torch.Tensor | float = parts[-1] if self.factor == 1 else parts[-1] * self.factor
        for part in reversed(parts[:-1]):
            total = part + total
        return total  # type: ignore[return-value]


class Product(nn.Module):
    """The product of two maps, or of a map and a vector, or a number."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        return first * second


class DropPath(nn.Module):
    """Leave a whole branch out for some pictures while training.

    Source: G. Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop, while training."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        chosen = torch.empty(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * chosen / keep
