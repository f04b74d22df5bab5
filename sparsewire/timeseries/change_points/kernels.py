"""What does one auto-encoder of the ensemble compute, and what are its gradients?

A skip-LSTM encodes a window, a second one decodes the last hidden state into all outputs, and an
autoregressive path adds a linear map of earlier samples. Everything is written out for numba: a
window takes twelve steps of a few thousand multiplications, far too little for a framework's calls.

A skip-LSTM is an LSTM with hard sigmoid gates whose output is mixed with a look `skip` steps back,
``h[t] = s * h_lstm[t] + (1 - s) * sigmoid(V h[t - skip] + c)``, where what lies before the window
is zero. Of its arrays those named ``d...`` hold gradients.

All parameters of a member lie in one flat array; `sparsewire.timeseries.change_points.network`
says what they mean and draws them.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FAST = {"contract", "reassoc", "nsz"}
# Sums may be reordered, which vectorises them; the order is the same at every call.
_jit = cast(
    "Callable[[_Function], _Function]", njit(cache=True, error_model="numpy", fastmath=_FAST)
)
# For functions too large to be inlined unasked. As functions they would be linked to machine code
# with another order in the process that compiles them than in those that load it from the cache.
_inlined = cast(
    "Callable[[_Function], _Function]",
    njit(forceinline=True, error_model="numpy", fastmath=_FAST),
)


@_jit
def _cell_parts(flat: Any, at: int, n_in: int, units: int) -> Any:
    """Cut the parameters of a skip-LSTM out of the flat array, and say where they end."""
    gates = 4 * units
    W = flat[at : at + n_in * gates].reshape(n_in, gates)
    at += n_in * gates
    U = flat[at : at + units * gates].reshape(units, gates)
    at += units * gates
    b = flat[at : at + gates]
    at += gates
    V = flat[at : at + units * units].reshape(units, units)
    at += units * units
    c = flat[at : at + units]
    at += units
    return (W, U, b, V, c, flat[at : at + 1]), at + 1


@_jit
def _output_parts(flat: Any, at: int, window: int, n_lags: int, channels: int, units: int) -> Any:
    """Cut out the dense layer and the autoregressive maps."""
    n_in, n_out = window * units, window * channels
    D = flat[at : at + n_in * n_out].reshape(n_in, n_out)
    at += n_in * n_out
    e = flat[at : at + n_out]
    at += n_out
    A = flat[at : at + window * n_lags].reshape(window, n_lags)
    at += window * n_lags
    return D, e, A, flat[at : at + window]


@_jit
def _add_product(vector: Any, matrix: Any, out: Any) -> None:
    """Add vector @ matrix to out."""
    for i in range(len(vector)):
        factor, row = vector[i], matrix[i]
        for j in range(len(out)):
            out[j] += factor * row[j]


@_jit
def _add_product_back(matrix: Any, vector: Any, out: Any) -> None:
    """Add matrix @ vector to out."""
    for i in range(len(out)):
        row, total = matrix[i], 0.0
        for j in range(len(vector)):
            total += row[j] * vector[j]
        out[i] += total


@_jit
def _add_outer(left: Any, right: Any, out: Any) -> None:
    for i in range(len(left)):
        factor, row = left[i], out[i]
        for j in range(len(right)):
            row[j] += factor * right[j]


@_jit
def _hard_sigmoid(value: float) -> float:
    return min(1.0, max(0.0, 0.2 * value + 0.5))


@_inlined
def _cell_forward(parts: Any, skip: int, inputs: Any, trail: Any) -> None:
    """Run a skip-LSTM over its inputs; `trail` keeps what the way back needs.

    A single input is the same at every step.
    """
    W, U, b, V, c, s = parts
    h, cell, tanh_cell, gates, look = trail
    steps, units = h.shape
    z, same = np.empty(4 * units), len(inputs) == 1
    projected = b.copy()
    if same:
        _add_product(inputs[0], W, projected)
    for t in range(steps):
        z[:] = projected
        if not same:
            _add_product(inputs[t], W, z)
        look[t] = c
        if t > 0:
            _add_product(h[t - 1], U, z)
        if t >= skip:
            _add_product(h[t - skip], V, look[t])
        for j in range(units):
            i, f = _hard_sigmoid(z[j]), _hard_sigmoid(z[units + j])
            g, o = math.tanh(z[2 * units + j]), _hard_sigmoid(z[3 * units + j])
            before = cell[t - 1, j] if t > 0 else 0.0
            cell[t, j] = f * before + i * g
            tanh_cell[t, j] = math.tanh(cell[t, j])
            gates[t, j], gates[t, units + j] = i, f
            gates[t, 2 * units + j], gates[t, 3 * units + j] = g, o
            look[t, j] = 1.0 / (1.0 + math.exp(-look[t, j]))
            h[t, j] = s[0] * o * tanh_cell[t, j] + (1.0 - s[0]) * look[t, j]


@_jit
def _step_back(t: int, s: float, trail: Any, dh: Any, dcell: Any, dz: Any, dlook: Any) -> float:
    """Fill the gradients of gates and look before their non-linearities; return that of s."""
    _, cell, tanh_cell, gates, look = trail
    units, ds = len(dcell), 0.0
    for j in range(units):
        i, f = gates[t, j], gates[t, units + j]
        g, o = gates[t, 2 * units + j], gates[t, 3 * units + j]
        tanh, k, d = tanh_cell[t, j], look[t, j], dh[t, j]
        ds += d * (o * tanh - k)
        dlook[j] = (1.0 - s) * d * k * (1.0 - k)
        dc = dcell[j] + s * d * o * (1.0 - tanh * tanh)
        before = cell[t - 1, j] if t > 0 else 0.0
        # The slope of a hard sigmoid is 0.2 inside and 0 where it is cut off.
        dz[j] = 0.2 * dc * g if 0.0 < i < 1.0 else 0.0
        dz[units + j] = 0.2 * dc * before if 0.0 < f < 1.0 else 0.0
        dz[2 * units + j] = dc * i * (1.0 - g * g)
        dz[3 * units + j] = 0.2 * s * d * tanh if 0.0 < o < 1.0 else 0.0
        dcell[j] = dc * f
    return ds


@_inlined
def _cell_backward(
    parts: Any, dparts: Any, skip: int, inputs: Any, trail: Any, dh: Any, dinput: Any
) -> None:
    """Add the gradients of a skip-LSTM; `dh` is used up, `dinput` is that of a single input."""
    _, U, _, V, _, s = parts
    dW, dU, db, dV, dc, ds = dparts
    h = trail[0]
    steps, units = h.shape
    same = len(inputs) == 1
    dcell, dz, dlook = np.zeros(units), np.empty(4 * units), np.empty(units)
    total = np.zeros(4 * units)
    for t in range(steps - 1, -1, -1):
        ds[0] += _step_back(t, s[0], trail, dh, dcell, dz, dlook)
        dc += dlook
        total += dz
        if t >= skip:
            _add_outer(h[t - skip], dlook, dV)
            _add_product_back(V, dlook, dh[t - skip])
        if not same:
            _add_outer(inputs[t], dz, dW)
        if t > 0:
            _add_outer(h[t - 1], dz, dU)
            _add_product_back(U, dz, dh[t - 1])
    db += total
    if same:
        _add_outer(inputs[0], total, dW)
        _add_product_back(parts[0], total, dinput)


@_jit
def _trail(steps: int, units: int) -> Any:
    shape = (steps, units)
    gates = np.empty((steps, 4 * units))
    return np.empty(shape), np.empty(shape), np.empty(shape), gates, np.empty(shape)


@_inlined
def _reconstruct(
    parts: Any, skip: int, observed: Any, lags: Any, first: Any, second: Any, error: Any
) -> float:
    """Fill what the output is off by, and return the mean square."""
    encoder, decoder, (D, e, A, a) = parts
    steps, channels = observed.shape
    _cell_forward(encoder, skip, observed, first)
    _cell_forward(decoder, skip, first[0][steps - 1 : steps], second)
    error[:] = e
    _add_product(second[0].reshape(D.shape[0]), D, error)
    loss = 0.0
    for i in range(steps):
        for k in range(channels):
            forecast = a[i]
            for j in range(A.shape[1]):
                forecast += A[i, j] * lags[i, j, k]
            off = error[i * channels + k] + forecast - observed[i, k]
            error[i * channels + k] = off
            loss += off * off
    return loss / len(error)


@_inlined
def _gradient(
    parts: Any, dparts: Any, skip: int, observed: Any, lags: Any, first: Any, second: Any, derr: Any
) -> None:
    """Add the gradients of all parameters, given that of the output."""
    dencoder, ddecoder, (dD, de, dA, da) = dparts
    steps, channels = observed.shape
    for i in range(steps):
        for k in range(channels):
            d = derr[i * channels + k]
            da[i] += d
            for j in range(dA.shape[1]):
                dA[i, j] += d * lags[i, j, k]
    de += derr
    h = second[0]
    _add_outer(h.reshape(dD.shape[0]), derr, dD)
    dh = np.zeros(h.shape)
    _add_product_back(parts[2][0], derr, dh.reshape(dD.shape[0]))
    code = first[0][steps - 1 : steps]
    dfirst = np.zeros(first[0].shape)
    _cell_backward(parts[1], ddecoder, skip, code, second, dh, dfirst[steps - 1])
    _cell_backward(parts[0], dencoder, skip, observed, first, dfirst, dfirst[0])


@_jit
def _cut(flat: Any, window: int, n_lags: int, channels: int, units: int) -> Any:
    encoder, at = _cell_parts(flat, 0, channels, units)
    decoder, at = _cell_parts(flat, at, units, units)
    return encoder, decoder, _output_parts(flat, at, window, n_lags, channels, units)


@_jit
def _curvature(h: Any, lags: Any, channels: int) -> float:
    """Return a bound of the second derivative of the squared error along the linear output."""
    features = 1.0
    for value in h.flat:
        features += value * value
    largest = 0.0
    for i in range(len(lags)):
        total = float(channels)
        for value in lags[i].flat:
            total += value * value
        largest = max(largest, total)
    return 2.0 * (features + largest) / (len(lags) * channels)


@_jit
def losses(members: Any, skips: Any, units: int, observed: Any, lags: Any) -> Any:
    """Return the mean squared error of every member on every window, (n_members, n_windows).

    Parameters
    ----------
    members : ndarray of shape (n_members, n_parameters)
        Their parameters.
    skips : ndarray of int64 of shape (n_members,)
        How many steps each looks back.
    units : int
        Hidden units of encoder and decoder.
    observed : ndarray of shape (n_windows, window, n_channels)
        Windows.
    lags : ndarray of shape (n_windows, window, n_lags, n_channels)
        What the autoregressive path sees for each sample of each window.
    """
    n_windows, window, channels = observed.shape
    found = np.empty((len(members), n_windows))
    first, second = _trail(window, units), _trail(window, units)
    error = np.empty(window * channels)
    for m in range(len(members)):
        parts = _cut(members[m], window, lags.shape[2], channels, units)
        for n in range(n_windows):
            found[m, n] = _reconstruct(parts, skips[m], observed[n], lags[n], first, second, error)
    return found


@_jit
def gradients(members: Any, skips: Any, units: int, observed: Any, lags: Any) -> Any:
    """Return the gradient of every member's loss on one window, shaped like `members`.

    Parameters
    ----------
    members, skips, units
        As in `losses`.
    observed, lags
        As in `losses`, of one window.
    """
    window, channels = observed.shape
    found = np.zeros(members.shape)
    first, second = _trail(window, units), _trail(window, units)
    error = np.empty(window * channels)
    for m in range(len(members)):
        parts = _cut(members[m], window, lags.shape[1], channels, units)
        dparts = _cut(found[m], window, lags.shape[1], channels, units)
        _reconstruct(parts, skips[m], observed, lags, first, second, error)
        error *= 2.0 / len(error)
        _gradient(parts, dparts, skips[m], observed, lags, first, second, error)
    return found


@_jit
def descend(
    members: Any,
    active: Any,
    skips: Any,
    units: int,
    observed: Any,
    lags: Any,
    order: Any,
    rate: float,
) -> None:
    """Train every member in place by stochastic gradient descent, one window after the other.

    The step is shortened where the linear output would overshoot, which happens to samples tens
    of deviations away; elsewhere it is plain descent.

    Parameters
    ----------
    members, skips, units, observed, lags
        As in `losses`.
    active : ndarray of bool of shape (n_members, n_parameters) or (n_members, 0)
        False for parameters that stay as they are; without columns all are trained.
    order : ndarray of int64 of shape (n_steps,)
        Which window is learned from at each step.
    rate : float
        Learning rate.
    """
    _, window, channels = observed.shape
    first, second = _trail(window, units), _trail(window, units)
    error = np.empty(window * channels)
    flat = np.empty(members.shape[1])
    dparts = _cut(flat, window, lags.shape[2], channels, units)
    for m in range(len(members)):
        member = members[m]
        parts = _cut(member, window, lags.shape[2], channels, units)
        for n in order:
            flat[:] = 0.0
            _reconstruct(parts, skips[m], observed[n], lags[n], first, second, error)
            error *= 2.0 / len(error)
            _gradient(parts, dparts, skips[m], observed[n], lags[n], first, second, error)
            for j in range(active.shape[1]):
                if not active[m, j]:
                    flat[j] = 0.0
            step = rate / max(1.0, rate * _curvature(second[0], lags[n], channels))
            for j in range(len(member)):
                member[j] -= step * flat[j]
