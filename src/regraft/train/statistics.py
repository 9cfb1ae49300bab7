"""Whether the statistics of batch normalisations may move while a network is trained."""

from __future__ import annotations

import math

import torch

from regraft.data.views import View
from regraft.frozen.activations import spread
from regraft.train.compute import mixed
from regraft.train.network import Part
from regraft.train.teaching import Stopped, Teaching

_WORSE = 1.1
_KNOWS = 0.99  # a part of the loss of a guess; above it there is no start to spoil


def moves(part: Part, teaching: Teaching) -> bool:
    """Return whether a batch can be normalised by its own statistics without spoiling the start.

    A head that has converged expects the features that the running statistics give. Where these
    describe other pictures, those of a batch give other features, and what the head knows is lost
    in the first pass. A network with random weights has nothing to lose.

    Parameters
    ----------
    part : Part
        What is to train; stays as it is.
    teaching : Teaching
        What it is trained with.

    Raises
    ------
    regraft.train.teaching.Stopped
        If somebody wanted to stop.
    """
    rows = spread(teaching.train.rows, part.batch)
    batch = teaching.train.activations.read(View(0), rows.tolist())
    y = torch.from_numpy(teaching.train.y[rows]).to(part.device)
    buffers = {name: buffer.clone() for name, buffer in part.named_buffers()}
    losses = []
    torch.manual_seed(mixed(teaching.seed))  # for dropout
    with torch.no_grad():
        for training in (False, True):  # in this order: training moves what is compared
            if teaching.stop():
                raise Stopped
            part.train(training)
            scores = part(*part.tensors(batch))
            losses.append(float(torch.nn.functional.cross_entropy(scores, y)))
        for name, buffer in part.named_buffers():
            buffer.copy_(buffers[name])
    by_running, by_batch = losses
    chance = math.log(len(part.head.bias))
    return by_batch <= _WORSE * by_running or by_running >= _KNOWS * chance
