"""ConceptCells: a random sub-network per concept, in a stream that need not name its concepts.

A *concept cell* is a static random mask over shared weights. What older cells use stays as it is
and may be used again; a new concept draws a new cell. `ConceptCells.observe` begins one by itself
when a `DriftDetector` reports that the accuracy has collapsed.

References
----------
Gurbuz et al. (2025), SERENA, CoLLAs, PMLR 330, arXiv:2403.14684.
"""

from torch import Tensor, nn
from torch.optim import Optimizer

from sparsewire.continual.drift import DriftDetector
from sparsewire.continual.method import assert_current
from sparsewire.continual.subnetwork_method import SubnetworkMethod
from sparsewire.core.allocation import Allocation


class ConceptCells(SubnetworkMethod):
    """Learns every concept in a static random sub-network of shared weights.

    Parameters
    ----------
    model : nn.Module
        Any model of linear and convolutional layers. Biases and normalisation are private to each
        cell, so the paper's models without biases are not needed.
    optimizer : torch.optim.Optimizer
        Its state of the model's parameters is cleared when a concept begins. The released code has
        SGD with learning rate 5e-4, Nesterov momentum 0.9 and weight decay 5e-4.
    n_classes : int
        Classes of all concepts together.
    density : float, default 0.05
        Share of the weights in each cell; the paper's sparsity of 95 %.
    allocation : str or Allocation, default "erk"
        How it is spread over layers; the paper's.
    seed : int, default 0
        Seed of the masks.

    Raises
    ------
    InvalidArgumentError
        If a value is out of range or the density too small for the layers.
    UnsupportedError
        If model or optimizer cannot be driven.

    Notes
    -----
    The allocation of the paper makes a small classifier dense. The first cell then owns all of it,
    and later ones learn in front of a frozen classifier.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4))
    >>> cells = ConceptCells(
    ...     model, torch.optim.SGD(model.parameters(), lr=0.5), n_classes=4, density=0.5
    ... )
    >>> x, y = torch.eye(4), torch.arange(4)
    >>> for concept in ([0, 1], [2, 3]):
    ...     cells.begin_task(concept)
    ...     for _ in range(50):
    ...         cells.optimizer.zero_grad()
    ...         logits = cells.logits(model(x[concept]), y[concept])
    ...         nn.functional.cross_entropy(logits, y[concept]).backward()
    ...         cells.optimizer.step()
    ...     cells.end_task()
    >>> cells.scores(x, routing="oracle", task=torch.tensor([0, 0, 1, 1])).argmax(1)
    tensor([0, 1, 2, 3])
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        n_classes: int,
        density: float = 0.05,
        allocation: str | Allocation = "erk",
        seed: int = 0,
    ) -> None:
        super().__init__(
            model,
            optimizer,
            {},
            n_classes=n_classes,
            density=density,
            allocation=allocation,
            seed=seed,
        )

    def logits(self, output: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the output as it is: the loss is over all classes, as in the paper.

        Parameters
        ----------
        output : Tensor, shape (n, classes)
            Output of the model.
        targets : Tensor, shape (n,), int64, optional
            Labels of the batch, checked to be of classes announced so far.

        Returns
        -------
        Tensor, shape (n, classes)
            `output`.

        Raises
        ------
        StateError
            Outside a task.
        InvalidArgumentError
            If a label belongs to no task announced so far.
        """
        self.active_classes(output, targets)
        return output

    def observe(self, output: Tensor, targets: Tensor, detector: DriftDetector) -> bool:
        """Begin a new concept if a batch of a stream without boundaries shows a drift.

        Call it with the output for each batch, before the loss. The concept being learnt then ends
        and one of the same classes begins, with a mask of its own and fresh optimizer state. The
        few batches that it took to notice have trained the old one.

        Parameters
        ----------
        output : Tensor, shape (n, classes)
            Output of the model for the batch.
        targets : Tensor, shape (n,), int64
            Its labels.
        detector : DriftDetector
            Watches the accuracy.

        Returns
        -------
        bool
            True if a concept has begun: `output` came from the old one, so run the model on the
            same batch again.

        Raises
        ------
        StateError
            Outside a task.
        InvalidArgumentError
            If a label belongs to no task announced so far.

        Examples
        --------
        A stream whose concepts nobody announces (`F` is ``torch.nn.functional``)::

            cells.begin_task(range(10))
            detector = DriftDetector()
            for x, y in stream:
                output = model(x)
                if cells.observe(output, y, detector):
                    output = model(x)
                optimizer.zero_grad()
                F.cross_entropy(cells.logits(output, y), y).backward()
                optimizer.step()
            cells.end_task()
        """
        right = self.logits(output, targets).argmax(1) == targets
        if not detector.observe(float(right.double().mean())):
            return False
        classes = assert_current(self.current)
        self.end_task()
        self.begin_task(classes)
        return True
