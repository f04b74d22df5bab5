"""How does avalanche get imported, and what says its absence? Once, before anything here needs it.

torchvision goes first, by way of `sparsewire.continual._torchvision`.
"""

import importlib
import warnings

from sparsewire.continual._torchvision import import_torchvision


def require_avalanche() -> None:
    """Import avalanche.

    Raises
    ------
    ImportError
        If it, or something that it needs, is not installed; the message says how to install it.

    Examples
    --------
    >>> require_avalanche()
    """
    try:
        with warnings.catch_warnings():
            # GEM's solver looks for a backend at import; nothing here solves quadratic programs.
            warnings.filterwarnings("ignore", "no QP solver found", UserWarning)
            # Of solvers that qpsolvers tries to import, where they are installed.
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            import_torchvision()
            importlib.import_module("avalanche")
            importlib.import_module("avalanche.checkpointing")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "sparsewire":
            raise
        # Avalanche 0.6 reads distutils through GPUtil, which Python 3.12 no longer has.
        package = "setuptools" if error.name == "distutils" else error.name
        raise ImportError(
            f'sparsewire.continual.avalanche needs {package}: pip install "sparsewire[continual]" '
            "installs it."
        ) from error
