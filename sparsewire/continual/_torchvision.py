"""How is torchvision imported where its compiled operators do not fit the installed torch?

torchvision's wheel on PyPI is built for CUDA. Beside a CPU-only torch its extension cannot be
loaded, the operators ``nms`` and ``qnms`` stay undeclared, and ``import torchvision`` raises
``RuntimeError: operator torchvision::nms does not exist`` while it registers their shapes.
Avalanche imports torchvision, so that error would forbid continual learning on such a machine,
although nothing there ever calls these operators. Where torchvision fits, nothing is changed.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

_OPERATORS = ("nms", "qnms")
# A library that is garbage collected takes its declarations with it.
_declared: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring the operators that it misses if, and only if, it fails so.

    Returns
    -------
    module
        torchvision.

    Raises
    ------
    ModuleNotFoundError
        If torchvision is not installed.
    RuntimeError
        If its import fails for another reason.

    Examples
    --------
    >>> import_torchvision().__name__
    'torchvision'
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    if not _declared:
        new_library: Any = torch.library.Library  # untyped
        library = new_library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
    return importlib.import_module("torchvision")
