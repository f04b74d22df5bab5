"""How does a policy of Stable-Baselines3 become sparse?

Each class is the stock policy of the same name with one more argument, ``sparsity``: a dictionary
that says everything about it, so that a saved policy rebuilds itself. None is the stock policy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac import policies as sac
from stable_baselines3.td3 import policies as td3
from torch import Tensor, nn

from sparsewire.rl.sparsity_settings import SparsitySettings
from sparsewire.rl.topology import Part, Topology

if TYPE_CHECKING:
    from typing import Protocol

    class _Built(Protocol):
        def _build(self, lr_schedule: Schedule) -> None: ...

    class _Base(BasePolicy):
        def _build(self, lr_schedule: Schedule) -> None: ...
else:
    _Base = object


class SparsePolicyMixin(_Base):
    """Makes the actor and the critics of a policy sparse when it is built.

    Put it before a policy class of TD3, DDPG or SAC, or before one derived from them.

    Parameters
    ----------
    sparsity : dict or None, default None
        What `SparsitySettings.to_dict` returns; None is a dense policy.
    *args, **kwargs
        Arguments of the policy.

    Attributes
    ----------
    topology : Topology or None
        What keeps it sparse; None in a dense policy.
    """

    topology: Topology | None

    def __init__(self, *args: Any, sparsity: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self._sparsity = sparsity
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.topology = None
        if self._sparsity is not None:
            settings = SparsitySettings.from_dict(self._sparsity)
            self.topology = Topology(settings, [self._part("actor"), self._part("critic")])
            self.register_load_state_dict_post_hook(_recount)  # type: ignore[no-untyped-call]

    def _part(self, name: str) -> Part:
        network = getattr(self, name)
        return Part(name, network, network.optimizer, getattr(self, f"{name}_target", None))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"sparsity": self._sparsity}


def _recount(policy: nn.Module, _: object) -> None:
    topology = policy.topology
    assert isinstance(topology, Topology)
    topology.recount()


class LeanCritic(ContinuousCritic):
    """Critics that form no gradient of their weights for the loss of the actor.

    Nobody looks at that gradient: the critic's optimizer clears it before the next step. Stock
    critics form it; to leave it out changes no weight and pays for what masks cost.
    """

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Return the values of all critics."""
        with _frozen(self, actions.requires_grad):
            return super().forward(obs, actions)

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return the values of the first critic."""
        with _frozen(self, actions.requires_grad):
            return super().q1_forward(obs, actions)


@contextmanager
def _frozen(network: nn.Module, frozen: bool) -> Iterator[None]:
    """Let a forward pass take parameters for constants."""
    parameters = [p for p in network.parameters() if p.requires_grad] if frozen else []
    for parameter in parameters:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad = True


class _WithLeanCritic(_Base):
    """Makes critics as the stock policies do, but lean ones."""

    critic_kwargs: dict[str, Any]

    def make_critic(
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> ContinuousCritic:
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return LeanCritic(**kwargs).to(self.device)


class SparseTD3Policy(SparsePolicyMixin, _WithLeanCritic, td3.TD3Policy):
    """``MlpPolicy`` of `SparseTD3` and `SparseDDPG`."""


class SparseTD3CnnPolicy(SparsePolicyMixin, _WithLeanCritic, td3.CnnPolicy):
    """``CnnPolicy`` of `SparseTD3` and `SparseDDPG`; its features extractor is dense."""


class SparseTD3MultiInputPolicy(SparsePolicyMixin, _WithLeanCritic, td3.MultiInputPolicy):
    """``MultiInputPolicy`` of `SparseTD3` and `SparseDDPG`; its features extractor is dense."""


class SparseSACPolicy(SparsePolicyMixin, _WithLeanCritic, sac.SACPolicy):
    """``MlpPolicy`` of `SparseSAC`."""


class SparseSACCnnPolicy(SparsePolicyMixin, _WithLeanCritic, sac.CnnPolicy):
    """``CnnPolicy`` of `SparseSAC`; its features extractor is dense."""


class SparseSACMultiInputPolicy(SparsePolicyMixin, _WithLeanCritic, sac.MultiInputPolicy):
    """``MultiInputPolicy`` of `SparseSAC`; its features extractor is dense."""


SPARSE_POLICIES: dict[type[BasePolicy], type[BasePolicy]] = {
    td3.TD3Policy: SparseTD3Policy,
    td3.CnnPolicy: SparseTD3CnnPolicy,
    td3.MultiInputPolicy: SparseTD3MultiInputPolicy,
    sac.SACPolicy: SparseSACPolicy,
    sac.CnnPolicy: SparseSACCnnPolicy,
    sac.MultiInputPolicy: SparseSACMultiInputPolicy,
}
"""The sparse policy for each stock one."""
