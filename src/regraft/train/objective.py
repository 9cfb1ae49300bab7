"""What a step of training minimises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from regraft.strategy import Phase
from regraft.train.batches import Batch
from regraft.train.network import Part
from regraft.train.teaching import Teaching


def losses(
    forward: Callable[..., torch.Tensor],
    part: Part,
    phase: Phase,
    teaching: Teaching,
    batch: Batch,
    number: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss of a batch, mixed where the phase says so (H. Zhang et al., mixup, 2018).

    Parameters
    ----------
    forward : callable
        The part, as the arithmetic prepared it.
    part, phase, teaching : Part, Phase and Teaching
        What trains, and how.
    batch : Batch
        Rows and classes.
    number : int
        Of the step; with the seed it decides what is mixed.

    Returns
    -------
    loss : Tensor
        What is minimised, penalty of the head included.
    alike : Tensor
        The same with all pictures weighing the same, which tells an explosion: of a class of one in
        a thousand a single picture makes the first a hundred times what it was before.
    """
    tensors = part.tensors(batch.rows)
    y = torch.from_numpy(batch.y).to(part.device)
    share, other = 1.0, y
    if phase.mixup:
        generator = np.random.default_rng([*teaching.seed, number])
        share = float(generator.beta(phase.mixup, phase.mixup))
        partner = torch.from_numpy(generator.permutation(len(y))).to(y.device)
        tensors = tuple(x.lerp(x[partner], 1 - share) for x in tensors)
        other = y[partner]
    with teaching.arithmetic.context():
        scores = forward(*tensors)

    def mean_of(weights: torch.Tensor | None) -> torch.Tensor:
        loss = share * cross_entropy(scores, y, weights, phase.label_smoothing)
        if share < 1:
            loss = loss + (1 - share) * cross_entropy(scores, other, weights, phase.label_smoothing)
        return loss + part.head.penalty()

    weights = teaching.class_weights
    loss = mean_of(weights)
    return loss, loss if weights is None else mean_of(None)


def cross_entropy(
    scores: torch.Tensor, y: torch.Tensor, weights: torch.Tensor | None, smoothing: float
) -> torch.Tensor:
    """Mean loss of a batch: by weights that are 1 on average over all pictures, not over it.

    Parameters
    ----------
    scores : Tensor of shape (batch, n_classes)
        What the network says.
    y : Tensor of shape (batch,), int64
        Columns of the classes.
    weights : Tensor of shape (n_classes,), optional
        What a picture of each class counts.
    smoothing : float
        Of the labels (C. Szegedy et al., 2016).
    """
    entropy = torch.nn.functional.cross_entropy
    if weights is None:
        return entropy(scores.float(), y, label_smoothing=smoothing)
    each = entropy(scores.float(), y, label_smoothing=smoothing, reduction="none")
    return (each * weights[y]).mean()
