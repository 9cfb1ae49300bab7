"""How the learning rate rises and falls over a phase."""

from __future__ import annotations

import math

_WARM_UP, _WARM_STEPS = 0.1, 10


def share_of_rate(number: int, steps: int, epochs: int) -> float:
    """Rise linearly, then fall as half a cosine (I. Loshchilov and F. Hutter, 2017).

    The first steps of Adam are as long as the rate, however small the gradient: where a pass has
    few steps, the rise takes several passes.

    Parameters
    ----------
    number : int
        Steps before this one.
    steps : int
        Steps of a pass.
    epochs : int
        Passes, at most.

    Returns
    -------
    float
        Part of the highest rate, 0 to 1.
    """
    total = epochs * steps
    least = min(_WARM_STEPS, total // 3) if steps < _WARM_STEPS else 1
    warm = max(1, least, min(steps, round(_WARM_UP * total)))
    if number < warm:
        return (number + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (number - warm) / max(1, total - warm)))
