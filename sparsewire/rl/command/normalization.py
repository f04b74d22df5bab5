"""How are the running moments of ``VecNormalize`` stored? As plain arrays, never as a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecNormalize

from sparsewire.core._files import replacing
from sparsewire.core.errors import CheckpointError
from sparsewire.rl.command import arrays

_MOMENTS = ("mean", "var", "count")


def save(normalizer: VecNormalize, path: Path) -> None:
    """Write the moments of observations and returns, in one step.

    Parameters
    ----------
    normalizer : VecNormalize
        Whose moments.
    path : pathlib.Path
        File ending in ``.npz``.
    """
    with replacing(path) as temporary:
        np.savez(temporary, allow_pickle=False, **_moments(normalizer))


def load(normalizer: VecNormalize, path: Path) -> None:
    """Read what `save` wrote.

    Parameters
    ----------
    normalizer : VecNormalize
        Changed in place.
    path : pathlib.Path
        The file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of other observations.
    """
    stored = arrays.read(path)
    for key, value in _moments(normalizer).items():
        found = stored.get(key)
        if found is None or found.shape != value.shape or found.dtype != value.dtype:
            raise CheckpointError(f"{path} does not fit: {key} must have shape {value.shape}.")
        kind, _, name = key.partition("_")
        if name:
            moments = getattr(normalizer, f"{kind}_rms")
            setattr(
                moments,
                name,
                found if isinstance(getattr(moments, name), np.ndarray) else found.item(),
            )
        else:
            normalizer.returns = found


def _moments(normalizer: VecNormalize) -> dict[str, npt.NDArray[Any]]:
    kinds = ["ret", *(["obs"] if normalizer.norm_obs else [])]
    moments = {
        f"{kind}_{name}": np.asarray(getattr(getattr(normalizer, f"{kind}_rms"), name))
        for kind in kinds
        for name in _MOMENTS
    }
    return moments | {"returns": normalizer.returns}
