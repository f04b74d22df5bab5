"""Which mistakes can the engine report?

One class per kind of mistake, so that a caller can tell them apart. Each also derives from the
built-in exception a reader would expect (``ValueError`` for bad arguments, ``RuntimeError`` for a
call at the wrong time), so ordinary ``except ValueError`` keeps working.
"""


class SparsewireError(Exception):
    """Base class of every error raised on purpose by sparsewire."""


class InvalidArgumentError(SparsewireError, ValueError):
    """An argument has a wrong value; the message names the value and the allowed range."""


class InfeasibleDensityError(InvalidArgumentError):
    """The requested density cannot be met; the message gives the attainable range."""


class UnknownLayerError(InvalidArgumentError):
    """A name or glob given in ``include``, ``exclude`` or an allocation matches nothing."""


class UnknownMethodError(InvalidArgumentError):
    """No method, allocation or criterion of that name exists."""


class NoMaskableLayersError(InvalidArgumentError):
    """Nothing in the model can be sparsified with the given selection."""


class UnsupportedError(SparsewireError, TypeError):
    """The model or optimizer is of a kind the engine cannot handle correctly."""


class StateError(SparsewireError, RuntimeError):
    """A call at the wrong time, such as sparsifying a model twice."""


class CheckpointError(SparsewireError, ValueError, RuntimeError):
    """A checkpoint is corrupted, foreign, or does not fit this model and method.

    Also a ``RuntimeError``, which torch raises for a state that does not fit.
    """


class NonFiniteError(SparsewireError, ArithmeticError):
    """Weights or gradients that should rank connections contain NaN or infinity."""


class TopologyError(SparsewireError, RuntimeError):
    """A topology update would break an invariant; nothing was changed."""


class TrainingDivergedError(SparsewireError, RuntimeError):
    """Training ran into NaN or infinity; the message names the epoch and what to change."""
