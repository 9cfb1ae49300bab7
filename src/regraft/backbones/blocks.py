"""From a PyTorch network of any zoo to a graph of its blocks, by symbolic tracing.

`torch.fx` runs the network's own ``forward`` once with stand-ins for tensors. Blocks are left
whole, so that only the few lines that connect them are traced: that works for nearly every network
of timm and torchvision, where tracing every operation does not. Source: J. Reed et al., "torch.fx:
Practical Program Capture and Transformation for Deep Learning in Python", MLSys 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from regraft.backbones.traced import Traced
from regraft.errors import RegraftError

if TYPE_CHECKING:
    import torch
    from torch import fx

# Attributes under which networks keep a stack of blocks; what has one of them is looked into.
_STACKS = frozenset({"blocks", "layers", "stages", "levels", "features", "encoder", "trunk"})


def trace_blocks(
    network: torch.nn.Module,
    *,
    classifier: Sequence[str],
    prefix: int = 0,
    whole_modules: Sequence[type] = (),
    whole_functions: Sequence[Callable[..., Any]] = (),
) -> Traced:
    """Trace a network in evaluation mode, so that auxiliary heads stay away.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (N, 3, H, W) to the scores of its classes.
    classifier : sequence of str
        Paths of the modules that are its head.
    prefix : int
        Class and register tokens before those of the picture.
    whole_modules, whole_functions : sequence
        What tracing must not look into.

    Returns
    -------
    Traced

    Raises
    ------
    RegraftError
        If the network's ``forward`` decides by the values of tensors.
    """
    import torch
    from torch import fx

    class Blocks(fx.Tracer):
        """Looks into containers only, and notes what every module gives."""

        def __init__(self, deep: bool) -> None:
            super().__init__(autowrap_functions=tuple(whole_functions))
            self.deep = deep
            self.found: dict[str, list[Any]] = {}

        def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
            if isinstance(m, tuple(whole_modules)) or _is_classifier(module_qualified_name):
                return True
            if isinstance(m, torch.nn.Sequential) or _holds_classifier(module_qualified_name):
                return False
            stacks = (torch.nn.Sequential, torch.nn.ModuleList)
            return not self.deep or not any(
                name in _STACKS and isinstance(child, stacks) for name, child in m.named_children()
            )

        def call_module(self, m: Any, forward: Any, args: Any, kwargs: Any) -> Any:
            output = super().call_module(m, forward, args, kwargs)
            self.found.setdefault(self.path_of_module(m), []).append(output)
            return output

    def _is_classifier(path: str) -> bool:
        return path in classifier

    def _holds_classifier(path: str) -> bool:
        return any(name.startswith(f"{path}.") for name in classifier)

    problems = []
    for deep in (True, False):
        tracer = Blocks(deep)
        try:
            graph = tracer.trace(network)
        except Exception as error:  # what a stand-in cannot do differs from network to network
            problems.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        _keep_values(network, graph)
        outputs = {
            path: nodes
            for path, results in tracer.found.items()
            if len(results) == 1 and (nodes := _nodes(results[0]))
        }
        return Traced(network, graph, outputs, tuple(classifier), prefix)
    raise RegraftError(f"{type(network).__name__} cannot be traced", problems)


def check_runs(traced: Traced, size: tuple[int, int]) -> None:
    """Run a graph once: what could be traced may still have lost what its ``forward`` keeps.

    Raises
    ------
    RegraftError
        If it does not run, or gives something else than the network.
    """
    import torch
    from torch import fx

    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = traced.root(pixels)
        try:
            found = fx.GraphModule(traced.root, traced.graph).forward(pixels)
        except Exception as error:  # what was lost differs from network to network
            raise RegraftError(f"the graph of {type(traced.root).__name__} does not run") from error
    if not torch.equal(found, expected):
        raise RegraftError(f"the graph of {type(traced.root).__name__} gives something else")


def _keep_values(network: torch.nn.Module, graph: fx.Graph) -> None:
    """Let no call between blocks overwrite what it reads: a cut may have passed that on."""
    for node in graph.nodes:
        if node.op == "call_module":
            module: Any = network.get_submodule(str(node.target))
            if getattr(module, "inplace", False):
                module.inplace = False
        elif node.kwargs.get("inplace"):
            node.update_kwarg("inplace", False)


def _nodes(output: Any) -> tuple[fx.Node, ...]:
    """Return the nodes behind what a module gave; none where it is no tensor or tuple of them."""
    from torch import fx

    if isinstance(output, fx.Proxy):
        return (output.node,)
    if isinstance(output, tuple | list) and output:
        parts = [_nodes(part) for part in output if part is not None]
        if all(len(part) == 1 for part in parts):
            return tuple(part[0] for part in parts)
    return ()


def split_in_two(network: torch.nn.Module, head: torch.nn.Module, prefix: int = 0) -> Traced:
    """Make a graph of two calls, for a network that cannot be traced: features, then the head.

    Parameters
    ----------
    network : torch.nn.Module
        The network without its head.
    head : torch.nn.Module
        What was its head.
    prefix : int
        As for `trace_blocks`.
    """
    import torch
    from torch import fx

    root = torch.nn.ModuleDict({"features": network, "head": head}).eval()
    graph = fx.Graph()
    features = graph.call_module("features", (graph.placeholder("pixels"),))
    graph.output(graph.call_module("head", (features,)))
    return Traced(root, graph, {"features": (features,)}, ("head",), prefix)
