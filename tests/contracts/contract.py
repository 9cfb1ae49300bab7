"""What every network that trains keeps, whatever its zoo."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from contracts.subjects import PICTURES, Check, Subject, noise, opened
from contracts.training import Partly, digest, loss_of, take_step, undone
from pictures import texture
from regraft.backbones.base import Backbone
from regraft.backbones.flow import PRE_LOGITS
from regraft.backbones.pooling import Pool
from regraft.frozen.engine import OpenVinoEngine, run_all, supports_bf16
from regraft.frozen.graph import feature_model
from regraft.frozen.network import converted_network
from regraft.frozen.torch_engine import TorchEngine
from regraft.strategy import Precision, Tap

SIDE_BRANCHES = {"torchvision:googlenet": "aux", "torchvision:inception_v3": "AuxLogits"}
MOST_RELATIVE_ERROR: dict[Precision, float] = {"f32": 1e-5, "bf16": 1e-1}
_BATCH = 4


def stages_partition_the_weights(subject: Subject) -> None:
    owners: dict[int, list[str]] = {}
    for stage in subject.chain.stages:
        for weight in stage.module.parameters():
            owners.setdefault(id(weight), []).append(stage.name)
    assert all(len(stages) == 1 for stages in owners.values())
    weights = dict(subject.root.named_parameters())
    without = {name for name, weight in weights.items() if id(weight) not in owners}
    assert len(owners) + len(without) == len(weights)
    assert set(subject.chain.dropped()) == without
    side = SIDE_BRANCHES.get(subject.spelling)
    assert without == {name for name in weights if side and name.startswith(side)}


def cuts_are_named_after_modules(subject: Subject) -> None:
    names = [cut.name for cut in subject.chain.cuts]
    assert len(set(names)) == len(names)
    assert set(names) <= {PRE_LOGITS, *dict(subject.root.named_modules())}
    assert PRE_LOGITS not in names[:-1]
    assert [stage.name for stage in subject.chain.stages] == [*names, "head"]
    assert set(subject.chain.probes) <= set(names)
    assert subject.chain.probes[-1] == names[-1]
    assert subject.backbone.cuts == subject.chain.cuts


def stage_by_stage_is_the_whole(subject: Subject) -> None:
    values, scores = subject.staged
    assert torch.equal(scores, subject.whole)
    assert scores.isfinite().all()
    read_by_head = values[-1][0].flatten(1)
    assert read_by_head.std(dim=0).mean() > 0, "pictures must differ, or this shows nothing"


def the_whole_is_the_network_of_the_zoo(subject: Subject) -> None:
    """Where regraft builds the network from parts, nothing but its own graph can run it."""
    own = (torch.nn.Module.forward, torch.nn.ModuleDict.forward)
    if type(subject.root).forward not in own:
        with torch.no_grad():
            assert torch.equal(subject.root(subject.x), subject.whole)


def any_cut_splits_the_network(subject: Subject) -> None:
    values, _ = subject.staged
    chosen = subject.some_cuts()
    names = [cut.name for cut in subject.chain.cuts]
    with torch.no_grad():
        for number in chosen:
            before = subject.chain.prefix(names[number])(subject.x)
            assert len(before) == len(values[number])
            assert all(map(torch.equal, before, values[number]))
            assert torch.equal(subject.chain.suffix(names[number])(*before), subject.whole)
        for start, stop in itertools.pairwise(chosen):
            between = subject.chain.between(names[start], names[stop])(*values[start])
            assert all(map(torch.equal, between, values[stop]))


def tensors_have_the_announced_shapes(subject: Subject) -> None:
    values, _ = subject.staged
    for cut, tensors in zip(subject.chain.cuts, values, strict=True):
        announced = [(PICTURES, *tensor.shape) for tensor in cut.tensors]
        assert [tuple(tensor.shape) for tensor in tensors] == announced


def pooled_features_have_the_announced_width(subject: Subject) -> None:
    values, _ = subject.staged
    for cut, tensors in zip(subject.chain.cuts, values, strict=True):
        for pooling in cut.poolings:
            features = Pool(cut, pooling)(tensors)
            assert features.shape == (PICTURES, cut.width(pooling))
            assert features.isfinite().all()


def the_head_reads_the_average_of_the_last_probe(subject: Subject) -> None:
    """What a linear head on these features can do, the network's own head could do too."""
    traced = subject.backbone.opener().traced
    read: list[torch.Tensor] = []
    hooks = [
        traced.root.get_submodule(path).register_forward_pre_hook(lambda _, x: read.append(x[0]))
        for path in traced.classifier
    ]
    with torch.no_grad():
        subject.chain.network(subject.x)
    for hook in hooks:
        hook.remove()
    assert len(read) == len(traced.classifier)
    last = subject.chain.cuts[-1]
    features = Pool(last, "avg")(subject.staged[0][-1])
    if read:  # the trunk of a detector has no head
        vectors = torch.cat([x.flatten(2).mean(2) if x.ndim == 4 else x for x in read], dim=1)
        assert relative_error(vectors.numpy(), features.numpy()) <= MOST_RELATIVE_ERROR["f32"]


def the_head_is_replaced_for_any_number_of_classes(subject: Subject) -> None:
    names = [cut.name for cut in subject.chain.cuts]
    with torch.no_grad():
        for n_classes, cut in ((2, None), (7, None), (3, names[len(names) // 2])):
            scores = subject.chain.with_head(n_classes, cut)(subject.x)
            assert scores.shape == (PICTURES, n_classes)


def what_is_frozen_stays(subject: Subject) -> None:
    cuts = subject.chain.cuts
    x = noise(_BATCH, subject.backbone.preprocess.size)
    with undone(subject.root):
        model = Partly(subject.chain, cuts[(len(cuts) - 1) // 2], frozen=True).train()
        weights, values = digest(model.start), model.start(x)
        rest = digest(model.between or model.head)
        take_step(model, x)
        assert digest(model.start) == weights
        assert all(map(torch.equal, model.start(x), values))
        assert digest(model.between or model.head) != rest


def every_weight_gets_a_gradient(subject: Subject) -> None:
    x = noise(_BATCH, subject.backbone.preprocess.size)
    with undone(subject.root):
        model = subject.chain.with_head(_BATCH).train().requires_grad_(True)
        loss_of(model, x).backward()
        for name, weight in model.named_parameters():
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name


def the_engine_agrees_with_pytorch(subject: Subject) -> None:
    backbone = subject.backbone
    taps = [Tap(cut.name) for cut in backbone.probes]
    last = [cut for cut in backbone.probes if "max" in cut.poolings][-1:]
    taps += [Tap(cut.name, pooling) for cut in last for pooling in cut.poolings[1:]]
    pictures = [texture(label, 0, size=300) for label in "abc"]
    pixels = np.stack([backbone.preprocess.rgb(picture) for picture in pictures])
    eager = TorchEngine(backbone, taps, "f32", "cpu")
    eager.batch = len(pixels)  # it would fill up a batch of the size that suits a CUDA card
    exact = _split(run_all(eager, pixels), backbone, taps)
    network = converted_network(backbone, taps, subject.cache)
    model = feature_model(network.graph, network.cuts, taps, backbone.preprocess)
    precisions: tuple[Precision, ...] = ("f32", "bf16") if supports_bf16() else ("f32",)
    for precision in precisions:
        found = _split(run_all(OpenVinoEngine(model.clone(), precision), pixels), backbone, taps)
        errors = {tap: relative_error(exact[tap], found[tap], _scale(tap, exact)) for tap in taps}
        assert max(errors.values()) <= MOST_RELATIVE_ERROR[precision], (precision, errors)


def _split(features: np.ndarray, backbone: Backbone, taps: Sequence[Tap]) -> dict[Tap, np.ndarray]:
    """Take apart what each tap gave."""
    named = {cut.name: cut for cut in backbone.cuts}
    ends = np.cumsum([named[tap.cut].width(tap.pooling) for tap in taps])
    assert features.shape[1] == ends[-1]
    return dict(zip(taps, np.split(features, ends[:-1], axis=1), strict=True))


def _scale(tap: Tap, exact: dict[Tap, np.ndarray]) -> np.ndarray:
    """Say to what an error is relative: to the vector itself, but for deviations to the map.

    Where random weights leave a map that is hardly more than its mean (Inception-ResNet v2: the
    deviation is 0.007 of it), the deviation is what is left of a difference of two large numbers:
    PyTorch's own is 7e-6 off there, from what it gives in float64.
    """
    if tap.pooling != "std":
        return exact[tap]
    return np.hypot(exact[tap], exact[Tap(tap.cut)])


def relative_error(exact: np.ndarray, found: np.ndarray, scale: np.ndarray | None = None) -> float:
    norm = np.linalg.norm((exact if scale is None else scale).astype(np.float64))
    assert norm > 0
    return float(np.linalg.norm(found.astype(np.float64) - exact) / norm)


def a_second_look_opens_nothing(subject: Subject) -> None:
    again = opened(subject.spelling, subject.cache, size=subject.network.size)
    assert again.description == subject.backbone.description
    assert again.opener.cache_info().misses == 0


CHECKS: tuple[Check, ...] = (
    stages_partition_the_weights,
    cuts_are_named_after_modules,
    stage_by_stage_is_the_whole,
    the_whole_is_the_network_of_the_zoo,
    any_cut_splits_the_network,
    tensors_have_the_announced_shapes,
    pooled_features_have_the_announced_width,
    the_head_reads_the_average_of_the_last_probe,
    the_head_is_replaced_for_any_number_of_classes,
    what_is_frozen_stays,
    every_weight_gets_a_gradient,
    the_engine_agrees_with_pytorch,
    a_second_look_opens_nothing,
)
