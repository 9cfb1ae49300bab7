"""Networks of timm, with the weights of the Hugging Face hub, of a file, or random ones.

Source: R. Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.base import Origin
from regraft.backbones.blocks import check_runs, split_in_two, trace_blocks
from regraft.backbones.checkpoints import load_into, read_checkpoint
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.spelling import Request
from regraft.backbones.torch_graph import TorchGraph, size_must_suit
from regraft.backbones.torchvision_shim import declare_missing_operators
from regraft.backbones.traced import Traced
from regraft.backbones.weights import hub_file, sha256_of, url_file
from regraft.errors import RegraftError, UserError

if TYPE_CHECKING:
    import torch

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CLOSEST = 8
# Parts of timm's tags, and what they say of the source task; the first that fits counts.
_TASKS = {
    "lvd142m": "LVD-142M (DINOv2), no classes",
    "lvd1689m": "LVD-1689M (DINOv3), no classes",
    "inat21": "iNaturalist 2021",
    "in12k": "ImageNet-12k",
    "in22k": "ImageNet-22k",
    "in21k": "ImageNet-21k",
    "laion": "LAION, pictures with captions",
    "openai": "OpenAI's pictures with captions (CLIP)",
    "webli": "WebLI, pictures with captions",
    "datacomp": "DataComp, pictures with captions",
    "in1k": "ImageNet-1k",
}


class TimmZoo:
    """See `regraft.backbones.zoos.Zoo`."""

    def names(self) -> Sequence[str]:
        """Every architecture, and every one with the tag of weights that there are."""
        timm = _import_timm()
        return sorted({*timm.list_models(), *timm.list_pretrained()})

    def open(self, request: Request, say: Callable[[str], None]) -> TorchGraph:
        """Build a network; see `regraft.backbones.zoos.Zoo.open`."""
        timm = _import_timm()
        config = _config(timm, request)
        full = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
        size = request.overrides.size or tuple(config.input_size[1:])
        built_for = request.overrides.size if config.fixed_input_size else None
        sources: tuple[Path, ...] = ()
        if request.checkpoint is None and request.pretrained:
            path = _weight_file(config, f"timm:{full}", say)
            network = _known_network(timm, full, built_for, path)
            sources, weights, digest = (path,), f"timm:{full}", sha256_of(path)
        else:
            network = _random_network(timm, full, request.seed, built_for)
            weights = f"random, seed {request.seed}"
            digest = hashlib.sha256(
                f"timm {timm.__version__} torch {_torch_version()} {full} {weights}".encode()
            ).hexdigest()
        head = head_paths(network, config.classifier)
        if request.checkpoint is not None:
            _load(network, request.checkpoint, config.architecture, head)
            path = request.checkpoint
            sources, weights, digest = (path,), path.name, sha256_of(path)
        known = request.pretrained and request.checkpoint is None
        with size_must_suit(f"timm:{full}", size):
            traced = traced_timm(network, head, size)
        origin = Origin(
            zoo="timm",
            architecture=full,
            weights=weights,
            weights_sha256=digest,
            licence=(config.license or "unknown") if known else "unknown",
            trained_on=_task(config.tag or "") if known else _own_task(request),
            timm_classifier=_linear_head(network, head) if traced.root is network else None,
            timm_image_size=built_for,
        )
        return TorchGraph(
            traced=traced,
            name=request.spelling if not known else f"timm:{full}",
            origin=origin,
            preprocess=timm_preprocess(timm, network, config, size, request),
            sources=sources,
        )


def _import_timm() -> Any:
    declare_missing_operators()
    import timm

    return timm


def _config(timm: Any, request: Request) -> Any:
    """Return timm's description of the weights; of the architecture where it has none."""
    architecture, tag = timm.models.split_model_name_tag(request.name)
    known = timm.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture.lower(), known, _CLOSEST, 0.5)
        raise UserError(
            f"timm: must be followed by the name of one of timm's {len(known)} networks, got "
            f"{request.name!r}; see `regraft backbones timm:`",
            [f"timm:{name}" for name in close],
        )
    tags = timm.models.get_arch_pretrained_cfgs(architecture)
    named = f"{architecture}.{tag}"
    if tag and named not in tags:
        raise UserError(
            f"the weights of timm:{architecture} must be one of the tags listed, got {tag!r}",
            [f"timm:{name}" for name in tags],
        )
    config = tags[named] if tag else timm.get_pretrained_cfg(architecture)
    if config is None:
        raise UserError(f"timm says nothing of how pictures are prepared for {architecture}")
    has_weights = config.hf_hub_id or config.url
    if request.pretrained and request.checkpoint is None and not has_weights:
        raise UserError(
            f"timm has no weights for {architecture}; give a file, timm:{architecture}@FILE, or "
            "ask for the architecture alone with pretrained=False (--no-pretrained)"
        )
    return config


def _weight_file(config: Any, spelling: str, say: Callable[[str], None]) -> Path:
    if config.hf_hub_id:
        repo, _, revision = config.hf_hub_id.partition("@")
        names = [config.hf_hub_filename] if config.hf_hub_filename else _WEIGHTS
        return hub_file(repo, names, revision=revision or None, spelling=spelling, say=say)
    return url_file(config.url, spelling=spelling, say=say)


def _network(timm: Any, name: str, size: tuple[int, int] | None, **options: Any) -> Any:
    """Let timm build a network; for another size than its own where one is given."""
    if size is None:
        return timm.create_model(name, **options)
    with size_must_suit(f"timm:{name}", size):
        return timm.create_model(name, img_size=size, **options)


def _known_network(timm: Any, name: str, size: tuple[int, int] | None, path: Path) -> Any:
    """Let timm build a network with the weights of a file that it fetched."""
    overlay = {"file": str(path)}
    try:
        return _network(timm, name, size, pretrained=True, pretrained_cfg_overlay=overlay)
    except RegraftError:
        raise
    except Exception as error:  # timm lets through whatever is wrong with the file
        read_checkpoint(path)  # says it better where the file is damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the weights of timm:{name} in {path} must be those of that network, but timm cannot "
            f"load them ({reason}); remove the file, and it is fetched again"
        ) from error


def _random_network(timm: Any, name: str, seed: int, size: tuple[int, int] | None) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _network(timm, name, size, pretrained=False)


def _load(network: torch.nn.Module, path: Path, architecture: str, head: Sequence[str]) -> None:
    """Load a checkpoint, in timm's own names or in those of the authors that timm knows."""
    from timm.models import _registry

    tensors = read_checkpoint(path)
    module = importlib.import_module(f"timm.models.{_registry._model_to_module[architecture]}")
    translate = getattr(module, "checkpoint_filter_fn", None)
    try:
        load_into(network, tensors, path=path, head=head)
    except UserError as misfit:
        if translate is None:
            raise
        try:  # timm's translation may stumble over anything in a file that is not what it expects
            load_into(network, translate(tensors, network), path=path, head=head)
        except Exception:
            raise misfit from None


def head_paths(network: Any, classifier: str | Sequence[str] | None) -> tuple[str, ...]:
    """Paths of the modules that are a network's head; none where it has no classes."""
    import torch

    paths = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    modules = dict(network.named_modules())
    return tuple(
        path
        for path in paths
        if path in modules and not isinstance(modules[path], torch.nn.Identity)
    )


def traced_timm(network: Any, head: Sequence[str], size: tuple[int, int]) -> Traced:
    """Trace one of timm's networks, block by block where that works."""
    models: Any = importlib.import_module("timm.models")

    network.requires_grad_(False).eval()
    prefix = getattr(network, "num_prefix_tokens", 0)
    try:
        traced = trace_blocks(
            network,
            classifier=head,
            prefix=prefix,
            whole_modules=models.get_notrace_modules(),
            whole_functions=models.get_notrace_functions(),
        )
        check_runs(traced, size)
    except RegraftError:
        import torch

        classifier = network.get_classifier()
        network.reset_classifier(0)
        head_module = classifier if isinstance(classifier, torch.nn.Module) else torch.nn.Identity()
        return split_in_two(network.eval(), head_module, prefix)
    return traced


def timm_preprocess(
    timm: Any, network: Any, config: Any, size: tuple[int, int], request: Request
) -> Preprocess:
    """Translate timm's description of how pictures are prepared."""
    found = timm.data.resolve_data_config({}, pretrained_cfg=config.to_dict(), model=network)
    squash = found["crop_mode"] == "squash"
    known = Preprocess(
        size=size,
        crop_pct=None if squash else found["crop_pct"],
        interpolation=found["interpolation"],
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
    )
    return known.overridden(request.overrides)


def _task(tag: str) -> str:
    """Read the source tasks off a tag, the last one first."""
    found = {task: tag.rfind(part) for part, task in _TASKS.items() if part in tag}
    ordered = sorted(found, key=found.__getitem__, reverse=True)
    return ", before that ".join(ordered) or f"timm's tag {tag!r}"


def _linear_head(network: Any, head: Sequence[str]) -> str | None:
    """Return the path of a head that holds one matrix of weights, as regraft's own do."""
    import torch

    if len(head) == 1 and isinstance(network.get_submodule(head[0]), torch.nn.Linear):
        return head[0]
    return None


def _torch_version() -> str:
    import torch

    return str(torch.__version__)


def _own_task(request: Request) -> str:
    return "unknown (a file of yours)" if request.checkpoint else "nothing (random weights)"
