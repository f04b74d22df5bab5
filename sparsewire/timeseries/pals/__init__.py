"""Adaptive sparsity: a dense network shrinks, rests or expands as its validation loss allows.

Atashgahi, Pechenizkiy, Veldhuis & Mocanu (2024). Adaptive sparsity level during training for
efficient time series forecasting with transformers. ECML-PKDD 2024; arXiv:2305.18382.

`controller` holds the `PALS` that users drive in their own training loop, `rule` decides, and
`method` turns decisions into topology updates of `sparsewire.core`.
"""

from sparsewire.timeseries.pals.controller import PALS
from sparsewire.timeseries.pals.method import PALSMethod
from sparsewire.timeseries.pals.rule import Memory, Rule, changes, decide

__all__ = ["PALS", "Memory", "PALSMethod", "Rule", "changes", "decide"]
