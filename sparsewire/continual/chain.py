"""Which layers of a model form the chain in which a continual learner owns connections?

A *chain* is the sequence of linear and convolutional layers from the input to the classifier. Its
units are the neurons of linear layers and the channels of convolutions; a linear layer after a
flattened convolution has that convolution's channels as its inputs. Tensors with one entry per unit
(biases, batch normalisation) belong to the layer in front of them.

The order is taken from the model's graph as `torch.fx` sees it, which also tells whether the model
branches. Models that cannot be traced are taken in the order of their modules; what lies in an
``nn.ModuleDict``, such as the heads of a multi-head classifier, is then no part of the chain.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from sparsewire.continual.grid import Grid
from sparsewire.core._validation import suggest
from sparsewire.core.errors import InvalidArgumentError, UnknownLayerError, UnsupportedError

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LINKS = (nn.Linear, *_CONVOLUTIONS)
# An output of these depends on units of other tasks, so nothing behind them could be isolated.
_MIXING = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.Bilinear,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_SHAPE_METHODS = {"size", "dim", "numel", "ndimension"}
_SHAPE_ATTRIBUTES = {"shape", "ndim", "dtype", "device"}
_ADVICE = "pass layers=[...], the names of the linear and convolutional layers in order"


@dataclass(frozen=True)
class Link:
    """One layer of a chain.

    Attributes
    ----------
    name : str
        Name of the module.
    block : int
        Weights per connection.
    vectors : tuple of (str, str)
        Module and tensor name of everything with one entry per output unit: bias, scale, shift and
        running statistics.
    """

    name: str
    block: int
    vectors: tuple[tuple[str, str], ...]

    def module(self, model: nn.Module) -> nn.Module:
        """Return the layer, which may have been replaced by a wider one."""
        return model.get_submodule(self.name)

    def grid(self, model: nn.Module) -> Grid:
        """Return the connections of the layer as it is now."""
        weight = self.module(model).get_parameter("weight")
        rows = weight.shape[0]
        return Grid(rows, weight.numel() // (rows * self.block), self.block)


@dataclass(frozen=True)
class Chain:
    """The layers in which a continual learner owns connections.

    Attributes
    ----------
    links : tuple of Link
        From the input to the output.
    has_head : bool
        Whether the last link is the classifier; False if the model has a head per task behind it.
    """

    links: tuple[Link, ...]
    has_head: bool = True

    @staticmethod
    def discover(model: nn.Module, layers: Sequence[str] | None = None) -> "Chain":
        """Find the chain of a model.

        Parameters
        ----------
        model : nn.Module
            The model.
        layers : sequence of str or None, default None
            Names of the layers in order, for a model that branches; None finds them.

        Returns
        -------
        Chain
            At least two layers long, or one with heads behind it.

        Raises
        ------
        UnsupportedError
            If the model branches, is no chain of layers whose widths fit, uses a layer twice, or
            mixes units by layer or group normalisation, attention, recurrence or transposed
            convolution.
        UnknownLayerError
            If `layers` names what is no linear or convolutional layer.

        Examples
        --------
        >>> model = nn.Sequential(
        ...     nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2)
        ... )
        >>> for link in Chain.discover(model).links:
        ...     print(link.name, link.block, link.grid(model).shape)
        0 9 (4, 1)
        3 9 (2, 4)
        """
        modules = dict(model.named_modules())
        graph = _trace(model)
        if graph is None:
            names, has_head = _registered(model)
        else:
            names, has_head = [str(n.target) for n in graph.nodes if n.op == "call_module"], True
        if layers is not None:
            names, has_head = _with_followers(modules, names, list(layers)), True
        elif graph is not None:
            _check_unbranched(graph)
        links = [name for name in names if isinstance(modules[name], LINKS)]
        if len(links) < 1 + has_head:
            raise UnsupportedError(
                f"the model has {len(links)} linear or convolutional layers in a chain ({links}), "
                "but connections are owned in a hidden layer and a classifier at least."
            )
        _check_supported(modules, names, links)
        return Chain(tuple(_link(modules, links, names, i) for i in range(len(links))), has_head)


def _with_followers(modules: dict[str, nn.Module], order: list[str], names: list[str]) -> list[str]:
    """Check names given by a user, and put the other modules behind the layers they follow."""
    known = [name for name, module in modules.items() if isinstance(module, LINKS)]
    for name in names:
        if name not in known:
            raise UnknownLayerError(
                f"layers names {name!r}, which is no linear or convolutional layer of the model."
                f"{suggest(name, known)}"
            )
    if len(set(names)) < len(names):
        raise InvalidArgumentError(f"layers must name each layer once, got {names}.")
    followed = {name: [name] for name in names}
    last = None
    for name in order:
        if isinstance(modules[name], LINKS):
            last = followed.get(name)
        elif last is not None:
            last.append(name)
    return [module for name in names for module in followed[name]]


def _registered(model: nn.Module) -> tuple[list[str], bool]:
    """Return leaf modules in the order of definition, and whether none is a head per task."""
    inside = [f"{name}." for name, module in model.named_modules() if type(module) is nn.ModuleDict]
    leaves = [name for name, module in model.named_modules() if not list(module.children())]
    outside = [name for name in leaves if not name.startswith(tuple(inside))]
    return outside, not inside


class _Tracer(fx.Tracer):
    """Follows a model down to torch's own layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is looked at from outside alone."""
        return not list(m.children())


def _trace(model: nn.Module) -> fx.Graph | None:
    """Return the graph of a model; None if it cannot be traced."""
    try:
        return _Tracer().trace(model)
    except Exception:  # whatever the model's own code raises when it meets a proxy
        return None


def _check_unbranched(graph: fx.Graph) -> None:
    carrying: set[fx.Node] = set()
    used: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        inputs = [source for source in dict.fromkeys(node.all_input_nodes) if source in carrying]
        if _is_shape(node) or not (inputs or node.op == "placeholder"):
            continue
        if node.op == "placeholder" and carrying:
            continue  # such as task labels
        carrying.add(node)
        branching = len(inputs) > 1 or any(source in used for source in inputs)
        if branching and node.op != "output":
            raise UnsupportedError(
                f"the model branches at {node.name!r}, so its layers form no chain; {_ADVICE}, if "
                "connections may be owned in a part of it."
            )
        used |= dict.fromkeys(inputs, node)


def _is_shape(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SHAPE_METHODS
    return node.op == "call_function" and (
        node.target is len
        or (node.target is getattr and node.args[1] in _SHAPE_ATTRIBUTES)
        or (node.target is operator.getitem and _is_shape(node.all_input_nodes[0]))
    )


def _check_supported(modules: dict[str, nn.Module], names: list[str], links: list[str]) -> None:
    for name in names:
        if isinstance(modules[name], _MIXING):
            raise UnsupportedError(
                f"{name} is a {type(modules[name]).__name__}, which mixes the units of all tasks; "
                "use linear layers, convolutions, and batch normalisation or none."
            )
    for name in links:
        if links.count(name) > 1:
            raise UnsupportedError(
                f"{name} is used {links.count(name)} times, but a connection can only have one "
                "place in the chain; give each place a layer of its own."
            )
        if getattr(modules[name], "groups", 1) != 1:
            raise UnsupportedError(f"{name} is a grouped convolution; use groups=1.")


def _link(modules: dict[str, nn.Module], links: list[str], names: list[str], i: int) -> Link:
    module = modules[links[i]]
    weight = module.get_parameter("weight")
    columns = weight.shape[1]
    if i > 0:
        before = modules[links[i - 1]].get_parameter("weight").shape[0]
        flattens = isinstance(module, nn.Linear) and isinstance(
            modules[links[i - 1]], _CONVOLUTIONS
        )
        if columns % before or (columns != before and not flattens):
            raise UnsupportedError(
                f"{links[i]} has {columns} inputs, but {links[i - 1]} before it has {before} "
                f"outputs, so the layers form no chain; {_ADVICE}."
            )
        columns = before
    end = names.index(links[i + 1]) if i + 1 < len(links) else len(names)
    behind = names[names.index(links[i]) : end]
    vectors = tuple(
        (name, key) for name in behind for key in _unit_tensors(modules[name], weight.shape[0])
    )
    return Link(links[i], weight.numel() // (weight.shape[0] * columns), vectors)


def _unit_tensors(module: nn.Module, units: int) -> Iterator[str]:
    """Yield the names of a module's floating tensors that have one entry per unit."""
    own: dict[str, Tensor | None] = {**module._parameters, **module._buffers}
    for key, tensor in own.items():
        if (
            tensor is not None
            and tensor.is_floating_point()
            and tensor.shape == torch.Size([units])
        ):
            yield key
