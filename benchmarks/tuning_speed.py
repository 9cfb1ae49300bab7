"""How fast layers train: against a plain PyTorch loop, and against what PyTorch can do at best.

*One pass.* The layers from a cut on, trained once over 2,000 pictures. Plain: the way of the usual
tutorial, the frozen part runs in eager float32 for every picture of every pass (decoding
included, and left out in the other column; measured on a quarter of the pictures).
regraft: what the frozen part says lies in the store.
Both train the same weights with the same optimiser in batches of 32, and take turns; regraft in the
arithmetic that its own trial finds faster.

*The whole network.* Pictures per second of a pass of `full` and of an epoch of fastai's `fine_tune`
after its frozen one: the same network, ants and bees, batches of 64, each with its own augmentation
and reading. fastai runs in an environment of its own, see `against_fastai.py`.

*The bare step.* Forward, backward and update of the whole network on one batch that lies in
memory, in every way that PyTorch has, against the one that regraft chooses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from against_fastai import environment
from common import HERE, Figure, Options, Report, main, median, run_process
from lessons import Lesson, lesson
from regraft.backbones.registry import get_backbone
from regraft.options import DEFAULT_BACKBONE
from regraft.strategy import Phase
from regraft.train.compute import Arithmetic
from regraft.train.loop import PhaseRun
from regraft.train.network import Part, Trainee, boundary_before
from regraft.train.recipes import recipe
from regraft.train.speed import choose_arithmetic, has_bf16

PICTURES, HELD_OUT, PASSES, ROUNDS = 2000, 32, 3, 4
TARGETS = {"blocks.6": 10.0, "blocks.5": 7.0}
RATE = 1e-4


def cached_pass(taught: Lesson, phase: Phase, passes: int) -> float:
    """Return the seconds of a pass of regraft's loop, its reading included."""
    tuner = taught.tuner([phase])
    trainee = Trainee(taught.backbone, taught.head)
    part, plain = trainee.part(phase), tuner.teaching(trainee, phase, 0)
    arithmetic = choose_arithmetic(part, plain, taught.material.store)
    run = PhaseRun(part, phase, replace(plain, rate=RATE, arithmetic=arithmetic))
    seconds = []
    for _ in range(1 + passes):  # the first one fills the store
        began = time.perf_counter()
        assert run._pass(), "the loss exploded"
        seconds.append(time.perf_counter() - began)
        run._state.epoch, run._state.step = run._state.epoch + 1, 0
    return median(seconds[1:])


def plain_pass(taught: Lesson, phase: Phase, part_of: int) -> tuple[float, float]:
    """Return the seconds of a pass of the usual loop, with and without decoding.

    Every picture costs the same: `part_of` of them are measured.
    """
    trainee = Trainee(taught.backbone, taught.head)
    part = trainee.part(phase).train()
    part.to(memory_format=torch.contiguous_format)
    boundary = boundary_before(taught.backbone, phase.train_from)
    assert boundary is not None
    frozen = taught.backbone.chain().prefix(boundary.name).eval()
    optimiser = torch.optim.AdamW([p for p in part.parameters() if p.requires_grad], lr=RATE)
    material, preprocess = taught.material, taught.backbone.preprocess
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.mean, preprocess.std))
    decoding, began = 0.0, time.perf_counter()
    for start in range(0, part_of, phase.batch):
        rows = material.train[start : start + phase.batch]
        at = time.perf_counter()
        pixels = np.stack([_decoded(material.sources[row].path, preprocess.size) for row in rows])
        decoding += time.perf_counter() - at
        x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
        with torch.no_grad():
            features = frozen(x.contiguous())
        scores = part(*features)
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(material.y[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    total = time.perf_counter() - began
    share = part_of / len(material.train)
    return total / share, (total - decoding) / share


def _decoded(path: object, size: tuple[int, int]) -> np.ndarray:
    with Image.open(path) as image:  # type: ignore[arg-type]
        return np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC))


def stepper(part: Part, arithmetic: Arithmetic) -> Callable[[], float]:
    """Return what takes a whole step on a batch that lies in memory, and says its seconds."""
    forward = arithmetic.prepared(part)
    x = torch.randn(part.batch, 3, 224, 224).contiguous(memory_format=_layout(part))
    y = torch.zeros(part.batch, dtype=torch.long)
    optimiser = torch.optim.AdamW(part.parameters(), lr=1e-6, fused=True)

    def step() -> float:
        began = time.perf_counter()
        with arithmetic.context():
            scores = forward(x)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(scores.float(), y).backward()
        optimiser.step()
        return time.perf_counter() - began

    return step


def _layout(part: Part) -> torch.memory_format:
    weight = next(p for p in part.parameters() if p.ndim == 4 and p.shape[1] > 1)
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def bare_steps(taught: Lesson, quick: bool) -> dict[str, float]:
    """Time the whole network in every way; ``"regraft"`` is the one that it chooses."""
    phase = Phase(None, epochs=1, patience=1, batch=4 if quick else 32, still_norms=False)

    def fresh() -> Part:
        return Trainee(taught.backbone, taught.head).part(phase).train()

    part = fresh()
    tuner = taught.tuner([phase])
    teaching = tuner.teaching(Trainee(taught.backbone, taught.head), phase, 0)
    chosen = choose_arithmetic(part, teaching, taught.material.store)
    steps = {"regraft": stepper(part, chosen)}
    ways = {
        "eager": (torch.contiguous_format, Arithmetic()),
        "channels-last": (torch.channels_last, Arithmetic()),
    }
    if not quick:
        ways["channels-last, compiled"] = (torch.channels_last, Arithmetic(compiled=True))
    if has_bf16("cpu"):  # without instructions for it, a step takes half a minute
        ways["channels-last, bf16"] = (torch.channels_last, Arithmetic(bf16=True))
        if not quick:
            both = Arithmetic(bf16=True, compiled=True)
            ways["channels-last, bf16, compiled"] = (torch.channels_last, both)
    for name, (layout, arithmetic) in ways.items():
        part = fresh()
        part.to(memory_format=layout)
        steps[name] = stepper(part, arithmetic)
    rounds = [{name: step() for name, step in steps.items()} for _ in range(1 + ROUNDS)]
    return {name: min(seconds[name] for seconds in rounds[1:]) for name in steps}


def whole_network(options: Options) -> tuple[float, float]:
    """Return the pictures per second of fastai and of regraft."""
    photos = options.pictures("hymenoptera")
    python = environment(options.work / "fastai")
    few = ["--epochs=1", "--every=3"] if options.quick else ["--epochs=2"]
    theirs = run_process([python, HERE / "fastai_fit.py", photos, *few])
    found = json.loads(theirs.out.splitlines()[-1])
    fastai = found["pictures"] / median(found["train_seconds_by_epoch"][1:])
    phase = replace(
        recipe("full", get_backbone(DEFAULT_BACKBONE, options.work).probes, 212, views=4)[0],
        batch=found["batch"],
    )
    with (
        options.scratch() as scratch,
        lesson(photos, scratch, 64 if options.quick else 212, HELD_OUT) as taught,
    ):
        seconds = cached_pass(taught, phase, 1 if options.quick else 2)
        return fastai, len(taught.material.train) / seconds


def measure(options: Options) -> Report:
    photos = options.pictures("flowers5")
    count = 64 if options.quick else PICTURES
    figures, cases = [], []
    with options.scratch() as scratch, lesson(photos, scratch, count, HELD_OUT) as taught:
        for cut, target in TARGETS.items():
            phase = Phase(cut, epochs=99, patience=99, views=1, still_norms=False)
            turns = [
                (plain_pass(taught, phase, count // 4), cached_pass(taught, phase, 1))
                for _ in range(1 if options.quick else PASSES)
            ]
            with_decoding = median([plain[0] for plain, _ in turns])
            without = median([plain[1] for plain, _ in turns])
            ours = median([cached for _, cached in turns])
            ratio = with_decoding / ours
            figures.append(
                Figure(f"one pass from {cut} on, against a plain loop", ratio, "x", target,
                       at_most=False)
            )  # fmt: skip
            cases.append(
                {
                    "trained": f"from {cut} on",
                    "plain loop, s": round(with_decoding, 2),
                    "without its decoding, s": round(without, 2),
                    "regraft, s": round(ours, 2),
                    "times faster": round(ratio, 1),
                    "without decoding": round(without / ours, 1),
                }
            )
        steps = bare_steps(taught, options.quick)
    fastai, regraft = whole_network(options)
    figures.append(
        Figure("whole network, pictures/s, against fastai", regraft / fastai, "x", 2.5,
               at_most=False)
    )  # fmt: skip
    best = min(seconds for name, seconds in steps.items() if name != "regraft")
    figures.append(
        Figure("whole network, bare step, part of the best of PyTorch", 100 * best
               / steps["regraft"], "%", 90, at_most=False)
    )  # fmt: skip
    batch = 4 if options.quick else 32
    raw = {name: round(batch / seconds, 2) for name, seconds in steps.items()}
    whole = {"fastai": round(fastai, 2), "regraft": round(regraft, 2)}
    return Report(
        figures, cases, {"bare step, pictures/s": raw, "whole network, pictures/s": whole}
    )


if __name__ == "__main__":
    main("tuning_speed", measure)
