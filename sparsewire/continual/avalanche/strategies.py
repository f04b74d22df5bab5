"""Which strategies come ready-made? One per method: Avalanche's naive loop with its plugin.

They take keyword arguments only: those of Avalanche's ``SupervisedTemplate`` and of the plugin.
"""

import inspect
from typing import Any, ClassVar

from avalanche.training.templates import SupervisedTemplate

from sparsewire.continual.avalanche.plugins import (
    AFAFPlugin,
    SpaceNetPlugin,
    SparsePlugin,
    keyword_only,
)
from sparsewire.continual.avalanche.subnetwork_plugins import ConceptCellsPlugin, DSTMasksPlugin


class SparseStrategy(SupervisedTemplate):
    """Base of the strategies; `plugin_class` says which plugin one appends.

    Parameters
    ----------
    **arguments
        Those of ``avalanche.training.templates.SupervisedTemplate``: model, optimizer, criterion,
        train_mb_size, train_epochs, eval_mb_size, device, plugins, evaluator, eval_every,
        peval_mode; and those of the plugin, which comes behind all others.

    Raises
    ------
    TypeError
        If neither has such an argument.
    """

    plugin_class: ClassVar[type[SparsePlugin]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the subclass a constructor that names its arguments: Avalanche checks the names."""
        own = cls.plugin_class.parameters()

        def initialize(self: SparseStrategy, **arguments: Any) -> None:
            plugin = cls.plugin_class(**{n: arguments.pop(n) for n in own if n in arguments})
            others = arguments.pop("plugins", None) or ()
            super().__init__(plugins=[*others, plugin], **arguments)

        me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        known = keyword_only(SupervisedTemplate.__init__) | own
        signature = inspect.Signature([me, *known.values()])
        initialize.__signature__ = signature  # type: ignore[attr-defined]
        cls.__init__ = initialize  # type: ignore[method-assign, assignment]
        super().__init_subclass__(**kwargs)


class SpaceNetStrategy(SparseStrategy):
    """Learns with `SpaceNetPlugin`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)
    ... )
    >>> strategy = SpaceNetStrategy(
    ...     model=model,
    ...     optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
    ...     train_mb_size=128,
    ...     train_epochs=4,
    ...     select=5,
    ...     reserve=2,
    ... )
    >>> type(strategy.plugins[0]).__name__, strategy.plugins[0].settings
    ('SpaceNetPlugin', {'select': 5, 'reserve': 2})
    """

    plugin_class = SpaceNetPlugin


class AFAFStrategy(SparseStrategy):
    """Learns with `AFAFPlugin`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)
    ... )
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> AFAFStrategy(model=model, optimizer=optimizer, reuse_from=1).plugins[0].settings
    {'reuse_from': 1}
    """

    plugin_class = AFAFPlugin


class DSTMasksStrategy(SparseStrategy):
    """Learns with `DSTMasksPlugin`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)
    ... )
    >>> strategy = DSTMasksStrategy(
    ...     model=model,
    ...     optimizer=torch.optim.Adam(model.parameters()),
    ...     n_classes=4,
    ...     routing="oracle",
    ... )
    >>> strategy.plugins[0].routing
    'oracle'
    """

    plugin_class = DSTMasksPlugin


class ConceptCellsStrategy(SparseStrategy):
    """Learns with `ConceptCellsPlugin`.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Linear(8, 20), torch.nn.ReLU(), torch.nn.Linear(20, 4)
    ... )
    >>> strategy = ConceptCellsStrategy(
    ...     model=model,
    ...     optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
    ...     n_classes=4,
    ...     routing="max_softmax",
    ... )
    >>> strategy.plugins[0].routing
    'max_softmax'
    """

    plugin_class = ConceptCellsPlugin
