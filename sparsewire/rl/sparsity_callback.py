"""How do connections and focus of an agent get into its log, for TensorBoard or CSV?"""

import math
from collections.abc import Iterator

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sparsewire.core._validation import check_integer
from sparsewire.rl.sparsity_report import SparsityReport, report_on


class SparsityCallback(BaseCallback):
    """Records the sparsity of an agent while it learns.

    The logger gets ``sparsity/total`` and ``sparsity/flops_ratio`` (both against dense),
    ``topology/events`` (of the critic), for every layer
    ``sparsity/<network>/<layer>/density|nnz|dropped|grown``, and where noise features are known
    ``focus/<network>_real|noise|ratio`` and ``focus/<network>_action``. A dense agent is logged
    likewise, as a baseline.

    Parameters
    ----------
    log_every : int, default 1000
        Calls, one per step of the (vectorised) environment, between two records: the interval of
        the papers' topology updates.
    verbose : int, default 0
        Has no effect but that of every callback.

    Raises
    ------
    InvalidArgumentError
        If `log_every` is below 1.

    Examples
    --------
    >>> from sparsewire.rl import SparseSAC
    >>> callback = SparsityCallback(log_every=10)
    >>> model = SparseSAC("MlpPolicy", "Pendulum-v1", preset="anf", buffer_size=100, seed=0)
    >>> _ = model.learn(10, callback)
    >>> round(model.logger.name_to_value["sparsity/actor/latent_pi.0/density"], 3)
    0.199
    """

    def __init__(self, log_every: int = 1000, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.log_every = check_integer("log_every", log_every, minimum=1)

    def _on_step(self) -> bool:
        if self.n_calls % self.log_every == 0:
            self._record()
        return True

    def _on_training_end(self) -> None:
        self._record()

    def _record(self) -> None:
        assert isinstance(self.model, OffPolicyAlgorithm)
        report = report_on(self.model)
        for name, value in _summary(report):
            self.logger.record(name, value)
        for name, value in _details(report):
            self.logger.record(name, value, exclude="stdout")


def _summary(report: SparsityReport) -> Iterator[tuple[str, float]]:
    yield "sparsity/total", report.density
    yield "sparsity/flops_ratio", report.flops / report.dense_flops
    yield "topology/events", report.events.get("critic", 0)
    for focus in report.focus:
        if not math.isnan(focus.ratio):
            yield f"focus/{focus.network}_ratio", focus.ratio


def _details(report: SparsityReport) -> Iterator[tuple[str, float]]:
    for row in report.layers:
        prefix = f"sparsity/{row.network}/{row.layer}"
        yield f"{prefix}/density", row.density
        yield f"{prefix}/nnz", row.connections
        yield f"{prefix}/dropped", row.dropped
        yield f"{prefix}/grown", row.grown
    for focus in report.focus:
        yield f"focus/{focus.network}_real", focus.real
        yield f"focus/{focus.network}_noise", focus.noise
        if focus.action is not None:
            yield f"focus/{focus.network}_action", focus.action
