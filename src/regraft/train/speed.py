"""Which arithmetic a step is fastest in, on this machine: measured, once for each network."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import torch

from regraft.data.views import View
from regraft.frozen.activations import spread
from regraft.frozen.store import FeatureStore
from regraft.train.batches import Batch, steps_of
from regraft.train.compute import Arithmetic, is_depthwise
from regraft.train.network import Part
from regraft.train.teaching import Stopped, Teaching

# bfloat16 has to be faster by this much: it costs precision.
_WORTH = 1.15
_ROUNDS = 3
_SCHEME = 4
_UNUSED = 1 << 16  # a view that is never stored


def choose_arithmetic(part: Part, teaching: Teaching, store: FeatureStore) -> Arithmetic:
    """Return how steps are to be computed.

    What was measured is kept in the store, so that the same training on the same machine takes
    the same way.

    Parameters
    ----------
    part : Part
        What trains; stays as it is.
    teaching : Teaching
        What it is trained with, plainly.
    store : FeatureStore
        Keeps the answer.

    Raises
    ------
    regraft.train.teaching.Stopped
        If somebody wanted to stop.
    """
    plain = teaching.arithmetic
    others = _others(plain, part)
    if not others:
        return plain
    shapes = [[name, list(p.shape), p.requires_grad] for name, p in part.named_parameters()]
    machine = [torch.__version__, torch.get_num_threads(), plain.device]
    # A compiler has to pay for itself; else a step is a step, however many are to come.
    steps = None
    if any(arithmetic.compiled for arithmetic in others):
        steps = steps_of(len(teaching.train.rows), part.batch) * part.epochs
    row_bytes = teaching.train.activations.boundary.row_bytes
    batch = min(part.batch, len(teaching.train.rows))
    parts = [_SCHEME, machine, batch, row_bytes, steps, shapes]
    key = "arithmetic:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    noted = store.note(key)
    if noted is None:
        noted = asdict(_fastest(part, teaching, others, steps))
        store.set_note(key, noted)
    return Arithmetic(**noted)


def step_seconds(part: Part, teaching: Teaching) -> tuple[float, float]:
    """Time a training step, and what the frozen part takes for it.

    Parameters
    ----------
    part : Part
        What trains; stays as it is.
    teaching : Teaching
        What it is trained with.

    Returns
    -------
    step : float
        Seconds of a step of one batch, forwards and backwards.
    frozen : float
        Seconds that the frozen part takes for a picture.
    """
    rows = spread(teaching.train.rows, part.batch)
    activations = teaching.train.activations
    activations.read(View(_UNUSED), rows[:1].tolist())  # what the engine does at first
    began = time.perf_counter()
    found = activations.read(View(_UNUSED), rows.tolist())
    frozen = (time.perf_counter() - began) / len(rows)
    batch = Batch(found, teaching.train.y[rows])
    with _buffers_kept(part):
        _, step = _seconds(part, batch, teaching.arithmetic, teaching.stop)
    return step, frozen


def has_bf16(device: str) -> bool:
    """Whether there are instructions for products in bfloat16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.backends.cpu.get_cpu_capability()
    has = "AVX512" in capabilities and bool(torch.cpu._is_avx512_bf16_supported())
    return device == "cpu" and has


def _others(plain: Arithmetic, part: Part) -> list[Arithmetic]:
    """Return the ways to compute that might be faster."""
    on_card = plain.device == "cuda"
    found = [replace(plain, compiled=True)] if on_card else []
    if has_bf16(plain.device):
        half = replace(plain, bf16=True)
        found.append(half)
        if on_card:
            found.append(replace(half, compiled=True))
        elif any(is_depthwise(parameter) for parameter in part.parameters()):
            found.append(replace(half, depthwise_f32=True))
    return found


def _fastest(
    part: Part, teaching: Teaching, others: list[Arithmetic], steps: int | None
) -> Arithmetic:
    """Time a step of one batch in every arithmetic; compiling has to pay within so many steps."""
    rows = spread(teaching.train.rows, part.batch)
    batch = Batch(teaching.train.activations.read(View(0), rows.tolist()), teaching.train.y[rows])

    def cost(arithmetic: Arithmetic) -> float:
        first, each = _seconds(part, batch, arithmetic, teaching.stop)
        return each if steps is None else first + steps * each

    best = teaching.arithmetic
    with _buffers_kept(part):
        least = cost(best)
        for arithmetic in others:
            try:
                seconds = cost(arithmetic)
            except Exception:
                if not arithmetic.compiled:
                    raise
                continue  # compilers fail in many ways; without one it works as well
            if seconds * (_WORTH if arithmetic.bf16 and not best.bf16 else 1.0) < least:
                best, least = arithmetic, seconds
    return best


@contextlib.contextmanager
def _buffers_kept(part: Part) -> Iterator[None]:
    """Let a part train without a trace in the statistics of its normalisations."""
    buffers = {name: buffer.clone() for name, buffer in part.named_buffers()}
    part.train()
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in part.named_buffers():
                buffer.copy_(buffers[name])


def _seconds(
    part: Part, batch: Batch, arithmetic: Arithmetic, stop: Callable[[], bool]
) -> tuple[float, float]:
    """Return what the first step takes, compiling included, and the best of some others."""
    forward = arithmetic.prepared(part)
    y = torch.from_numpy(batch.y).to(part.device)
    times = []
    for _ in range(1 + _ROUNDS):
        if stop():
            raise Stopped
        began = time.perf_counter()
        with arithmetic.context():
            scores = forward(*part.tensors(batch.rows))
        loss = torch.nn.functional.cross_entropy(scores.float(), y)
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())  # waits for the device
        if part.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        part.zero_grad(set_to_none=True)
    return times[0], min(times[1:])
