"""Where shall be computed? On the CPU, or on a GPU if there is one."""

import torch

from sparsewire.core.errors import InvalidArgumentError


def resolve_device(device: str) -> torch.device:
    """Return the device for "cpu", "cuda" or "auto".

    Raises
    ------
    InvalidArgumentError
        If CUDA is asked for and missing.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InvalidArgumentError("device='cuda' but torch finds no GPU; use 'cpu' or 'auto'.")
    return torch.device("cuda" if available and device != "cpu" else "cpu")
