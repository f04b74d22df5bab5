"""How does one train a sparse agent with Stable-Baselines3?

`SparseTD3`, `SparseSAC` and `SparseDDPG` are Stable-Baselines3's algorithms with two more
arguments, ``preset`` and ``sparse_kwargs``. Their training loops are inherited as they are;
everything sparse happens in hooks of the optimizers, set up by the policy. Without a preset they
are the stock algorithms, bit for bit.

PPO and DQN clip the norm of their gradients, which has to leave out inactive connections, inside
their training loops; no hook reaches that place, so they are not here.
"""

import io
import pathlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from gymnasium import spaces
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv

from sparsewire.core.errors import (
    CheckpointError,
    SparsewireError,
    UnsupportedError,
)
from sparsewire.rl.policies import SPARSE_POLICIES, SparsePolicyMixin
from sparsewire.rl.presets import check_overrides, resolve_settings
from sparsewire.rl.sparsity_report import SparsityReport, report_on
from sparsewire.rl.topology import Topology

_TOPOLOGY = "policy.topology"

if TYPE_CHECKING:

    class _Base(OffPolicyAlgorithm):
        policy_kwargs: dict[str, Any]
else:
    _Base = object


class ActionSpaceError(UnsupportedError, AssertionError):
    """The algorithm needs continuous actions; Stable-Baselines3 asserts it."""


class SparseAlgorithmMixin(_Base):
    """Adds sparsity to an off-policy algorithm with an actor and critics.

    Parameters
    ----------
    policy : str or type
        ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, or a class; with a preset one that
        derives from `SparsePolicyMixin`, in place of which a stock class may be given.
    env : gymnasium.Env, VecEnv or str
        Where it acts.
    *args, **kwargs
        Arguments of the Stable-Baselines3 class.
    preset : {"ds", "anf", "static", "rigl", "rlx2", "gmp"} or None, default None
        How it is sparse (see `sparsewire.rl.presets`); None is the dense stock algorithm.
    sparse_kwargs : mapping or None, default None
        Single entries of the preset to be replaced: ``layers``, ``density``, ``allocation``,
        ``epsilon``, ``drop_fraction``, ``update_interval``, ``total_steps``, ``target``,
        ``storage``.

    Attributes
    ----------
    sparsity : dict or None
        All settings that follow from the preset, `sparse_kwargs`, environment and seed.

    Raises
    ------
    InvalidArgumentError
        If the preset or an entry is unknown or out of range.
    ActionSpaceError
        If the actions are not continuous.
    """

    sparsity: dict[str, Any] | None

    _algorithm: ClassVar[str]
    _explores_by_noise: ClassVar[bool] = True

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        *args: Any,
        preset: str | None = None,
        sparse_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_overrides(preset, sparse_kwargs)
        if preset is not None:
            resolve_settings(preset, sparse_kwargs, algorithm=self._algorithm, seed=0)
            if isinstance(policy, type):
                policy = sparse_policy(policy)
        self.preset = preset
        self.sparse_kwargs = dict(sparse_kwargs or {})
        self.sparsity = None
        if isinstance(env, str):
            env = maybe_make_env(env, kwargs.get("verbose", 0))
        self._check_actions(env)
        super().__init__(policy, env, *args, **kwargs)
        if preset is not None and self._explores_by_noise and self.action_noise is None:
            warnings.warn(
                f"{type(self).__name__} explores by action noise and has none; pass "
                "action_noise=NormalActionNoise(zeros(n), 0.1 * ones(n)), the papers' noise, or "
                "**paper_settings(...).",
                UserWarning,
                stacklevel=3,
            )

    def _check_actions(self, env: GymEnv | None) -> None:
        if env is not None and not isinstance(env.action_space, spaces.Box):
            raise ActionSpaceError(
                f"{type(self).__name__} needs continuous actions, a Box, but the environment has "
                f"{env.action_space}; choose another environment, such as Pendulum-v1, or an "
                "algorithm for discrete actions, such as DQN."
            )

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        stock = super()._get_policy_from_name(policy_name)
        return stock if self.preset is None else sparse_policy(stock)

    def _setup_model(self) -> None:
        self.resolve_sparsity()
        if self.sparsity is None:
            super()._setup_model()
            return
        # Only for the construction: `load` compares policy_kwargs with what the user passes then.
        given = self.policy_kwargs
        self.policy_kwargs = {**given, "sparsity": self.sparsity}
        try:
            super()._setup_model()
        finally:
            self.policy_kwargs = given

    def resolve_sparsity(self) -> None:
        """Decide on everything that the preset leaves to environment, seed and algorithm."""
        if self.preset is not None and self.sparsity is None:
            self.sparsity = resolve_settings(
                self.preset,
                self.sparse_kwargs,
                algorithm=self._algorithm,
                env_id=self._env_id(),
                seed=self.seed,
                policy_delay=getattr(self, "policy_delay", 1),
            ).to_dict()
            if self.sparsity["storage"] == "auto" and self.device.type != "cpu":
                self.sparsity["storage"] = "masked"  # the kernels that gain are the CPU's

    def _env_id(self) -> str:
        try:
            spec = self.env.get_attr("spec", indices=0)[0] if self.env is not None else None
        except AttributeError:  # a VecEnv need not be made of Gymnasium's environments
            spec = None
        return "" if spec is None else str(spec.id)

    @property
    def topology(self) -> Topology | None:
        """What keeps the networks sparse; None for a dense agent."""
        return getattr(self.policy, "topology", None)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Do gradient steps; see the class of Stable-Baselines3."""
        super().train(gradient_steps, batch_size)
        if self.topology is not None:
            self.topology.settle_targets()

    def sparsity_report(self, relevant: Any = None) -> SparsityReport:
        """Count connections, parameters and FLOPs, and where the inputs are looked at.

        Parameters
        ----------
        relevant : array of bool of shape (n_features,), or None, default None
            True for observed features that are no noise; None asks the environment.

        Returns
        -------
        SparsityReport
            ``print`` it for a table.
        """
        return report_on(self, relevant)

    # Files

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, variables = super()._get_torch_save_params()
        return [*names, *([_TOPOLOGY] if self.topology is not None else [])], variables

    def set_parameters(
        self,
        load_path_or_dict: Any,
        exact_match: bool = True,
        device: Any = "auto",
    ) -> None:
        """Load the tensors of a file or of `get_parameters`.

        Raises
        ------
        CheckpointError
            If they are of other sparse settings; nothing has changed then.
        """
        params = load_path_or_dict
        if not isinstance(params, dict):
            _, params, _ = load_from_zip_file(params, device=device, load_data=False)
        saved = params.get(_TOPOLOGY)
        if self.topology is None and saved is not None:
            raise CheckpointError(
                "these are the parameters of a sparse agent and this one is dense; build it with "
                "the preset they were saved with, or use load()."
            )
        if self.topology is not None and saved is not None:
            self.topology.check_state_dict(saved, exact_match)
        elif self.topology is not None and exact_match:
            raise CheckpointError(
                f"these parameters have no topology and this agent is sparse (preset "
                f"{self.preset!r}); load them into a dense one and convert it with "
                "sparsewire.rl.sparsify."
            )
        super().set_parameters(params, exact_match, device)

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Load an agent from a zip file, as in Stable-Baselines3.

        Parameters
        ----------
        path : str, Path or file
            The file.
        env : gymnasium.Env, VecEnv or None, default None
            Where it goes on acting.
        *args, **kwargs
            Arguments of Stable-Baselines3's ``load``. With ``preset`` or ``sparse_kwargs`` the file
            must have been saved with the same.

        Returns
        -------
        SparseTD3, SparseSAC or SparseDDPG
            The agent. Training goes on bit for bit if the replay buffer and the states of the
            global random generators are restored as well.

        Raises
        ------
        CheckpointError
            If the file is of other sparse settings.
        """
        asked = {key: kwargs.pop(key) for key in ("preset", "sparse_kwargs") if key in kwargs}
        try:
            model: Self = super().load(path, env, *args, **kwargs)
        except KeyError as error:
            # Stable-Baselines3 takes every ValueError for an old file of DQN's.
            if isinstance(error.__context__, SparsewireError):
                raise error.__context__ from None
            raise
        for key, value in asked.items():
            if (saved := getattr(model, key)) != (dict(value or {}) if key != "preset" else value):
                raise CheckpointError(
                    f"{path} was saved with {key}={saved!r}, not {value!r}; leave {key} out to "
                    "load it as it is."
                )
        return model


def sparse_policy(policy: type[BasePolicy]) -> type[BasePolicy]:
    """Return the sparse policy class for a stock one; one that is sparse as it is.

    Raises
    ------
    UnsupportedError
        If there is none.
    """
    if issubclass(policy, SparsePolicyMixin):
        return policy
    if policy in SPARSE_POLICIES:
        return SPARSE_POLICIES[policy]
    raise UnsupportedError(
        f"{policy.__name__} cannot be sparse; define class Sparse{policy.__name__}("
        f"SparsePolicyMixin, {policy.__name__}) and pass that."
    )


class SparseTD3(SparseAlgorithmMixin, TD3):
    """TD3 (Fujimoto et al., 2018, arXiv:1802.09477) with sparse networks.

    See `SparseAlgorithmMixin` for ``preset`` and ``sparse_kwargs``, and
    ``stable_baselines3.TD3`` for everything else. A preset says nothing about learning rates and
    the like; `sparsewire.rl.paper_settings` knows those of the papers.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from sparsewire.rl import SparseTD3, paper_settings
    >>> env = gym.make("Pendulum-v1")
    >>> settings = paper_settings("anf-td3", env) | {"buffer_size": 1000, "learning_starts": 64}
    >>> model = SparseTD3("MlpPolicy", env, preset="anf", seed=0, **settings).learn(80)
    >>> model.topology.handles["actor"].masks()["mu.0.weight"].sum()
    tensor(153)
    """

    _algorithm = "td3"


class SparseDDPG(SparseAlgorithmMixin, DDPG):
    """DDPG (Lillicrap et al., 2016, arXiv:1509.02971) with sparse networks.

    See `SparseAlgorithmMixin` for ``preset`` and ``sparse_kwargs``, and
    ``stable_baselines3.DDPG`` for everything else.
    """

    _algorithm = "ddpg"


class SparseSAC(SparseAlgorithmMixin, SAC):
    """SAC (Haarnoja et al., 2018, arXiv:1801.01290) with sparse networks.

    See `SparseAlgorithmMixin` for ``preset`` and ``sparse_kwargs``, and
    ``stable_baselines3.SAC`` for everything else.

    Notes
    -----
    ``target_update_interval`` counts gradient steps over calls of `train`, as documented in
    Stable-Baselines3, whose own SAC begins to count anew in every call and so updates its target in
    every step of the default ``gradient_steps=1``. The two agree wherever ``gradient_steps`` is a
    multiple of the interval, in particular for the default interval of 1.

    Examples
    --------
    >>> from sparsewire.rl import SparseSAC
    >>> model = SparseSAC("MlpPolicy", "Pendulum-v1", preset="rigl", buffer_size=1000, seed=0)
    >>> round(model.sparsity_report().density, 2)
    0.1
    """

    _algorithm = "sac"
    _explores_by_noise = False

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Do gradient steps, in runs of those that update the target and those that do not."""
        tau, interval = self.tau, self.target_update_interval
        if interval == 1:
            super().train(gradient_steps, batch_size)
            return
        try:
            while gradient_steps > 0:
                since = self._n_updates % interval
                run = min(gradient_steps, 1 if since == 0 else interval - since)
                self.tau = tau if since == 0 else 0.0  # averaging with 0 changes nothing
                super().train(run, batch_size)
                gradient_steps -= run
        finally:
            self.tau = tau
