"""Do the kernels compute what dense matrices give, within their arrays, on any number of threads?

Also the index they are given. With SPARSEWIRE_BOUNDS_CHECK=1 in the environment this file tests the
portable kernels alone, with every index checked; one of its tests does so in another process.
"""

import ctypes
import faulthandler
import functools
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsewire.core.csr import multiply as dispatch
from sparsewire.core.csr import portable, torch_ops, vector
from sparsewire.core.csr.index import Index, Layout, default_layout
from sparsewire.core.errors import TopologyError

Array = npt.NDArray[Any]

BACKENDS: dict[str, ModuleType] = {"portable": portable}
if not portable.BOUNDS_CHECK:
    BACKENDS["vector"] = vector
FAST = BACKENDS.get("vector", portable)
LAYOUTS: tuple[Layout, Layout] = ("csr", "csc")
WANTED = [(True, True), (True, False), (False, True), (False, False)]
ODD = [np.nan, np.inf, -np.inf]

# Checked indices are slow.
thoroughly = settings(max_examples=15 if portable.BOUNDS_CHECK else 100)
each_backend = pytest.mark.parametrize("kernels", BACKENDS.values(), ids=BACKENDS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
once = pytest.mark.skipif(portable.BOUNDS_CHECK, reason="not about the portable kernels")
forks = [
    once,
    pytest.mark.skipif(sys.platform != "linux", reason="needs fork and mprotect"),
    # Python 3.12 and later warn of every fork beside a thread.
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning"),
]
# torch says so once per process, whoever makes the first sparse tensor.
quiet = pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR):UserWarning")


def marked(*marks: Any) -> Callable[[Any], Any]:
    def apply(test: Any) -> Any:
        for mark in marks:
            test = mark(test)
        return test

    return apply


@contextmanager
def setting(kernels: ModuleType, *, threads: int = 1, scatters: bool = False) -> Iterator[None]:
    """Use these kernels and share even the smallest work among threads."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "backend", lambda: kernels)
        patch.setattr(dispatch, "_SERIAL", 1)
        patch.setattr(dispatch, "_scatters", lambda index, X: scatters)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def index_of(mask: Array, layout: Layout) -> tuple[Index, Array | None]:
    n_out, n_in = mask.shape
    return Index.from_positions(np.flatnonzero(mask), n_out, n_in, layout)


class Problem:
    """Connections and numbers: `w` in the order of the positions, 0 in lanes from `batch` on."""

    def __init__(self, mask: Array, vectors: int, dtype: Any, seed: int, padding: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n_out, n_in = mask.shape
        lanes = vectors * dispatch.lanes_of(np.dtype(dtype))
        self.mask = mask
        self.w = rng.standard_normal([int(mask.sum())]).astype(dtype)
        self.bias = rng.standard_normal([n_out]).astype(dtype)
        self.X = rng.standard_normal((n_in, lanes)).astype(dtype)
        self.dY = rng.standard_normal((n_out, lanes)).astype(dtype)
        self.batch = max(0, lanes - padding)
        self.X[:, self.batch :] = self.dY[:, self.batch :] = 0

    def __repr__(self) -> str:
        lanes = self.X.shape[1]
        return f"{len(self.w)} connections in {self.mask.shape}, {self.batch} of {lanes} lanes"

    def stored(self, layout: Layout) -> tuple[Index, Array]:
        """Return the index and the weights in its order."""
        index, order = index_of(self.mask, layout)
        return index, self.w.copy() if order is None else self.w[order]

    def in_order(self, index: Index, g: Array) -> Array:
        """Return numbers of the index in the order of the positions."""
        order = index.order()
        return g if order is None else g[order]

    def dense(self) -> Array:
        W = np.zeros(self.mask.shape)
        W[self.mask] = self.w
        return W

    def solve(self, layout: Layout, *, bias: bool = True) -> list[Array]:
        """Return Y, dX and g, all through the functions under test."""
        index, w = self.stored(layout)
        Y = dispatch.multiply(index, w, self.bias if bias else None, self.X)
        dX, g = dispatch.gradients(index, w, self.X, self.dY, inputs=True, weights=True)
        assert dX is not None
        assert g is not None
        return [Y, dX, self.in_order(index, g)]


def assert_sums(actual: Array | None, terms: list[Array], bounds: list[Array]) -> None:
    """Compare with exact sums up to the rounding that any order of summation may cause."""
    expected, size = sum(terms), sum(bounds)
    assert actual is not None
    assert actual.shape == np.shape(expected)
    n = 300 + max(actual.shape, default=0)
    slack = float(np.finfo(actual.dtype).eps) * n * size + np.finfo(actual.dtype).tiny
    assert np.all(np.abs(actual - expected) <= slack)


def masks(limit: int) -> st.SearchStrategy[Array]:
    """Masks of any shape and density, some with empty or full rows or columns."""

    def build(n_out: int, n_in: int, density: float, pattern: str, seed: int) -> Array:
        rng = np.random.default_rng(seed)
        mask = rng.random((n_out, n_in)) < density
        some = rng.random(n_out if "rows" in pattern else n_in) < 0.3
        if "rows" in pattern:
            mask[some] = "full" in pattern
        elif "columns" in pattern:
            mask[:, some] = "full" in pattern
        return mask

    sizes = st.integers(0, min(limit, 40)) | st.integers(0, limit)
    patterns = ["even", "empty rows", "full rows", "empty columns", "full columns"]
    return st.builds(
        build,
        sizes,
        sizes,
        st.sampled_from([0.0, 0.02, 1.0]) | st.floats(0, 1),
        st.sampled_from(patterns),
        st.integers(0, 999),
    )


@st.composite
def problems(draw: st.DrawFn, kernels: ModuleType, dtype: Any, threads: int, limit: int) -> Problem:
    """Problems whose batch fills some vectors.

    Every width of a tile compiles once more; the portable kernels, slow to compile, get two.
    """
    step = dispatch.lanes_of(np.dtype(dtype))
    if kernels is vector:
        batch = draw(st.integers(0, 70) | st.integers(8 * step + 1, 17 * step))
        vectors = -(-batch // step)
        padding = vectors * step - batch
    else:
        vectors = draw(st.sampled_from([0, 1, 8, 9] if threads == 1 else [0, 1, 8 * threads]))
        padding = draw(st.integers(0, step - 1))
    return Problem(draw(masks(limit)), vectors, dtype, draw(st.integers(0, 999)), padding)


# The formulas


@each_dtype
@each_backend
@thoroughly
@given(data=st.data(), threads=st.integers(1, 3), scatters=st.booleans(), bias=st.booleans())
def test_products_and_gradients_equal_dense_ones(
    kernels: ModuleType, dtype: Any, data: st.DataObject, threads: int, scatters: bool, bias: bool
) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    problem = data.draw(problems(kernels, dtype, threads, limit=200))
    index, w = problem.stored(layout)
    W, X, dY = problem.dense(), problem.X.astype(np.float64), problem.dY.astype(np.float64)
    b = problem.bias[:, None].astype(np.float64) * bias
    with setting(kernels, threads=threads, scatters=scatters):
        Y = dispatch.multiply(index, w, problem.bias if bias else None, problem.X)
        assert Y.dtype == dtype
        assert_sums(Y, [W @ X, b], [abs(W) @ abs(X), abs(b)])
        for inputs, weights in WANTED:
            dX, g = dispatch.gradients(
                index, w, problem.X, problem.dY, inputs=inputs, weights=weights
            )
            assert (dX is not None, g is not None) == (inputs, weights)
            if inputs:
                assert_sums(dX, [W.T @ dY], [abs(W.T) @ abs(dY)])
            if g is not None:
                size = (abs(dY) @ abs(X).T)[problem.mask]
                assert_sums(problem.in_order(index, g), [(dY @ X.T)[problem.mask]], [size])


def exactly(problem: Problem) -> list[Array]:
    """Return Y, dX and g, connection by connection: what is not connected does not meet."""
    rows, columns = np.nonzero(problem.mask)
    w, X, dY = (array.astype(np.float64) for array in (problem.w, problem.X, problem.dY))
    Y = np.repeat(problem.bias[:, None].astype(np.float64), X.shape[1], 1)
    dX = np.zeros_like(X)
    with np.errstate(invalid="ignore"):
        np.add.at(Y, rows, w[:, None] * X[columns])
        np.add.at(dX, columns, w[:, None] * dY[rows])
        return [Y, dX, (X[columns] * dY[rows]).sum(1)]


def spoil(array: Array, share: float, rng: np.random.Generator) -> None:
    array[rng.random(array.shape) < share] = rng.choice(ODD)


@each_dtype
@each_backend
@thoroughly
@given(data=st.data(), threads=st.integers(1, 3), scatters=st.booleans())
def test_nan_and_infinity_appear_where_the_formula_has_them_and_nowhere_else(
    kernels: ModuleType, dtype: Any, data: st.DataObject, threads: int, scatters: bool
) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    problem = data.draw(problems(kernels, dtype, threads, limit=30))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    batch = problem.batch
    for array in (problem.w, problem.bias, problem.X[:, :batch], problem.dY[:, :batch]):
        spoil(array, data.draw(st.sampled_from([0, 0.01, 0.1])), rng)
    with setting(kernels, threads=threads, scatters=scatters):
        solved = problem.solve(layout)
    expected = exactly(problem)
    for actual, exact in zip(solved, expected, strict=True):
        real = (slice(None), slice(batch)) if actual.ndim == 2 else slice(None)
        finite = np.isfinite(exact[real])
        np.testing.assert_array_equal(actual[real][~finite], exact[real][~finite])
        assert np.isfinite(actual[real][finite]).all()


@each_dtype
@each_layout
@each_backend
def test_an_infinite_gradient_of_one_tile_stays_infinite_in_the_next(
    kernels: ModuleType, layout: Layout, dtype: Any
) -> None:
    problem = Problem(np.ones((2, 3), bool), 9, dtype, 0)
    problem.X[0, 0] = np.inf
    with setting(kernels):
        for inputs in (True, False):
            index, w = problem.stored(layout)
            _, g = dispatch.gradients(index, w, problem.X, problem.dY, inputs=inputs, weights=True)
            assert g is not None
            exact = exactly(problem)[2]
            np.testing.assert_allclose(problem.in_order(index, g), exact, rtol=1e-3)


@each_dtype
@pytest.mark.parametrize("shape", [(24, 2**14), (2**14, 24)], ids=["wide", "tall"])
@pytest.mark.parametrize("vectors", [1, 8])
@each_layout
def test_shapes_that_pass_the_real_thresholds_are_right(
    layout: Layout, vectors: int, shape: tuple[int, int], dtype: Any
) -> None:
    rng = np.random.default_rng(0)
    problem = Problem(rng.random(shape) < 0.8, vectors, dtype, 0)
    for actual, exact in zip(problem.solve(layout), exactly(problem), strict=True):
        np.testing.assert_allclose(actual, exact, rtol=1e-3, atol=1e-3)


def test_a_huge_layer_scatters_a_small_batch_to_save_the_second_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "_MANY", 10)
    for vectors, kept in [(1, False), (8, True)]:
        problem = Problem(np.ones((5, 6), bool), vectors, np.float32, 0)
        index, w = problem.stored("csc")
        index = Index(index.n_out, index.n_in, "csc", index.indptr, index.indices)
        Y = dispatch.multiply(index, w, None, problem.X)
        np.testing.assert_allclose(Y, problem.dense() @ problem.X, rtol=1e-4, atol=1e-5)
        assert ("other_side" in index.__dict__) == kept


def test_the_default_layout_compresses_along_the_inputs_unless_outputs_are_far_more() -> None:
    assert default_layout(2**14, 2**12 - 1) == "csr"
    assert default_layout(2**14, 2**12) == "csc"
    assert default_layout(2**14 - 1, 1) == "csc"


# Threads and processes

SKEWED = {
    "first": [9, 0, 0, 0, 0],
    "last": [0, 0, 0, 0, 9],
    "middle": [0, 0, 9, 0, 0],
    "ends": [9, 0, 0, 0, 9],
    "even": [2, 2, 2, 2, 2],
    "one": [9],
}


def skewed(counts: list[int]) -> Array:
    return np.arange(9) < np.array(counts)[:, None]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("counts", SKEWED.values(), ids=SKEWED)
@each_layout
def test_no_row_is_left_out_when_few_rows_have_all_connections(
    layout: Layout, counts: list[int], threads: int
) -> None:
    mask = skewed(counts) if layout == "csr" else skewed(counts).T
    problem = Problem(mask, 8, np.float64, 1)
    with setting(FAST, threads=threads):
        solved = problem.solve(layout)
    for actual, exact in zip(solved, exactly(problem), strict=True):
        np.testing.assert_allclose(actual, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("scatters", [False, True], ids=["gather", "scatter"])
@each_layout
@each_backend
def test_two_runs_agree_in_every_bit(
    kernels: ModuleType, layout: Layout, scatters: bool, threads: int
) -> None:
    rng = np.random.default_rng(0)
    problem = Problem(rng.random((90, 110)) < 0.4, 8 * threads, np.float32, 0)
    with setting(kernels, threads=threads, scatters=scatters):
        first, second = problem.solve(layout), problem.solve(layout)
    for one, other in zip(first, second, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
@each_layout
def test_four_python_threads_at_once_get_right_results(layout: Layout, threads: int) -> None:
    rng = np.random.default_rng(0)
    cases = [Problem(rng.random((60, 50)) < 0.4, 2, np.float32, seed) for seed in range(4)]
    expected = [exactly(problem) for problem in cases]

    def work(number: int) -> None:
        for _ in range(50):
            solved = cases[number].solve(layout)
            for actual, exact in zip(solved, expected[number], strict=True):
                np.testing.assert_allclose(actual, exact, rtol=1e-3, atol=1e-4)

    with setting(FAST, threads=threads), ThreadPoolExecutor(4) as executor:
        list(executor.map(work, range(4)))


def test_the_first_two_callers_may_come_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowToStart(ThreadPoolExecutor):
        def __init__(self, *args: Any) -> None:
            time.sleep(0.3)
            super().__init__(*args)

    monkeypatch.setattr(dispatch, "ThreadPoolExecutor", SlowToStart)
    pool = dispatch._Pool()
    ran: list[int] = []

    def call(first: int) -> None:
        pool.run([lambda: ran.append(first), lambda: ran.append(first + 1)])

    callers = [threading.Thread(target=call, args=(first,)) for first in (0, 10)]
    for caller in callers:
        caller.start()
        time.sleep(0.1)
    for caller in callers:
        caller.join()
    assert sorted(ran) == [0, 1, 10, 11]


def test_the_pool_passes_on_what_a_thread_raises() -> None:
    def fail() -> None:
        raise IndexError("in a thread")

    with pytest.raises(IndexError, match="in a thread"):
        dispatch._Pool().run([lambda: None, fail])


def run_forked(work: Callable[[], object]) -> int | None:
    """Run in a forked process; return its exit code, or None if it had to be killed."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(30)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code


@marked(*forks)
@each_layout
def test_a_forked_process_multiplies_after_threads_have_run(layout: Layout) -> None:
    problem = Problem(np.ones((40, 30), bool), 2, np.float32, 0)

    def work() -> None:
        for actual, exact in zip(problem.solve(layout), exactly(problem), strict=True):
            np.testing.assert_allclose(actual, exact, rtol=1e-3, atol=1e-4)

    with setting(FAST, threads=2):
        work()
        assert dispatch._pool._size >= 1
        assert run_forked(work) == 0
        work()


# Within their arrays

MARGIN = 67
FENCE = 12345.0
PROT_NONE = 0


@dataclass
class Call:
    """One direct call of a kernel, and its numbers by name."""

    name: str
    arrays: dict[str, Array]
    outputs: tuple[str, ...]

    def run(self, kernels: ModuleType, width: int, rows: tuple[int, int], low: int) -> None:
        getattr(kernels, self.name)((0,) * width, tuple(self.arrays.values()), *rows, low)


def build_call(name: str, mask: Array, lanes: int, dtype: Any) -> Call:
    """Return a call for a mask of shape (major rows, minor rows)."""
    rng = np.random.default_rng(0)
    n, m = mask.shape
    index, _ = Index.from_positions(np.flatnonzero(mask), n, m, "csr")
    count = len(index.indices)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    own: dict[str, Array] = {"indptr": index.indptr, "indices": index.indices}
    place: dict[str, Array] = {"position": rng.permutation(count).astype(np.int32)}
    w, g = {"w": draw(count)}, {"g": draw(count)}
    gather = {"bias": draw(n), "X": draw(m, lanes), "out": draw(n, lanes)}
    cases: dict[str, tuple[dict[str, Array], tuple[str, ...]]] = {
        "gather": (own | w | gather, ("out",)),
        "gather_at": (own | place | w | gather, ("out",)),
        "scatter": (own | w | {"X": draw(n, lanes), "out": draw(m, lanes)}, ("out",)),
        "dot": (own | g | {"A": draw(n, lanes), "B": draw(m, lanes)}, ("g",)),
        "gather_dot": (
            own | w | g | {"X": draw(n, lanes), "dY": draw(m, lanes), "dX": draw(n, lanes)},
            ("g", "dX"),
        ),
        "scatter_dot": (
            own | w | g | {"X": draw(m, lanes), "dY": draw(n, lanes), "dX": draw(m, lanes)},
            ("g", "dX"),
        ),
    }
    return Call(name, *cases[name])


def by_hand(call: Call, rows: tuple[int, int], tile: slice) -> dict[str, Array]:
    """Return what the outputs should be, one connection after the other."""
    a = {key: value.astype(np.float64) for key, value in call.arrays.items()}
    indptr, indices = call.arrays["indptr"], call.arrays["indices"]
    position = call.arrays.get("position", np.arange(len(indices)))
    for major in range(*rows):
        if call.name in ("gather", "gather_at"):
            a["out"][major, tile] = a["bias"][major]
        if call.name == "gather_dot":
            a["dX"][major, tile] = 0
        for k in range(indptr[major], indptr[major + 1]):
            minor = indices[k]
            if call.name in ("gather", "gather_at"):
                a["out"][major, tile] += a["w"][position[k]] * a["X"][minor, tile]
            elif call.name == "scatter":
                a["out"][minor, tile] += a["w"][k] * a["X"][major, tile]
            elif call.name == "dot":
                a["g"][k] += a["A"][major, tile] @ a["B"][minor, tile]
            elif call.name == "gather_dot":
                a["dX"][major, tile] += a["w"][k] * a["dY"][minor, tile]
                a["g"][k] += a["X"][major, tile] @ a["dY"][minor, tile]
            else:
                a["dX"][minor, tile] += a["w"][k] * a["dY"][major, tile]
                a["g"][k] += a["X"][minor, tile] @ a["dY"][major, tile]
    return {name: a[name] for name in call.outputs}


KERNELS = ["gather", "gather_at", "scatter", "dot", "gather_dot", "scatter_dot"]
DENSITIES = [0.0, 0.4, 1.0]
each_kernel = pytest.mark.parametrize("name", KERNELS)
each_density = pytest.mark.parametrize("density", DENSITIES)


def fence(array: Array, value: float) -> tuple[Array, Array]:
    """Copy an array into the middle of a larger one full of a value; return both."""
    whole = np.full(array.size + 2 * MARGIN, value, array.dtype)
    inner = whole[MARGIN : MARGIN + array.size].reshape(array.shape)
    inner[...] = array
    return inner, whole


@each_density
@pytest.mark.parametrize("width", [1, 8])
@each_dtype
@each_kernel
@each_backend
def test_a_kernel_writes_its_rows_and_lanes_only_and_reads_nothing_outside(
    kernels: ModuleType, name: str, dtype: Any, width: int, density: float
) -> None:
    step = dispatch.lanes_of(np.dtype(dtype))
    rows, low = (2, 9), step
    tile = slice(low, low + width * step)
    mask = np.random.default_rng(1).random((11, 13)) < density
    call = build_call(name, mask, (width + 2) * step, dtype)
    wholes = {}
    for key, array in call.arrays.items():
        if array.ndim == 2 and key not in call.outputs:
            array[:, : tile.start] = array[:, tile.stop :] = np.nan
        # Indices outside would be used: as 0 they would bring in numbers that do not belong.
        outside = FENCE if key in call.outputs else np.nan if array.dtype == dtype else 0
        call.arrays[key], wholes[key] = fence(array, outside)
    expected = by_hand(call, rows, tile)
    before = {key: whole.copy() for key, whole in wholes.items()}
    call.run(kernels, width, rows, low)
    for key, whole in wholes.items():
        inner, past = whole[MARGIN:-MARGIN], before[key][MARGIN:-MARGIN]
        np.testing.assert_array_equal(whole[:MARGIN], before[key][:MARGIN])
        np.testing.assert_array_equal(whole[-MARGIN:], before[key][-MARGIN:])
        if key not in call.outputs:
            np.testing.assert_array_equal(inner, past)
            continue
        same = expected[key].ravel() == past
        np.testing.assert_array_equal(inner[same], past[same])
        np.testing.assert_allclose(inner[~same], expected[key].ravel()[~same], rtol=1e-3, atol=1e-4)


def guarded(array: Array, *, at_end: bool) -> Array:
    """Copy an array flush to a page that must not be touched, behind it or before it."""
    page = mmap.PAGESIZE
    room = -(-max(1, array.nbytes) // page) * page
    memory = mmap.mmap(-1, room + page)
    start = room - array.nbytes if at_end else page
    inner = np.frombuffer(memory, array.dtype, array.size, start).reshape(array.shape)
    inner[...] = array
    first = np.frombuffer(memory, np.uint8).ctypes.data
    forbidden = ctypes.c_void_p(first + (room if at_end else 0))
    assert ctypes.CDLL(None).mprotect(forbidden, ctypes.c_size_t(page), PROT_NONE) == 0
    return inner


@marked(*forks)
def test_a_touched_guard_page_ends_the_process() -> None:
    def work(*, at_end: bool) -> None:
        faulthandler.disable()
        array = guarded(np.zeros(16, np.float32), at_end=at_end)
        ctypes.string_at(array.ctypes.data + (array.nbytes if at_end else -1), 1)

    for at_end in (True, False):
        assert run_forked(functools.partial(work, at_end=at_end)) == -signal.SIGSEGV


@marked(*forks)
@pytest.mark.parametrize("width", [1, 8])
@each_dtype
@each_kernel
@each_backend
def test_a_kernel_touches_no_byte_beside_its_arrays(
    kernels: ModuleType, name: str, dtype: Any, width: int
) -> None:
    def work() -> None:
        faulthandler.disable()
        lanes = width * dispatch.lanes_of(np.dtype(dtype))
        for density in DENSITIES:
            mask = np.random.default_rng(1).random((11, 13)) < density
            for at_end in (True, False):
                call = build_call(name, mask, lanes, dtype)
                expected = by_hand(call, (0, 11), slice(lanes))
                for key, array in call.arrays.items():
                    call.arrays[key] = guarded(array, at_end=at_end)
                call.run(kernels, width, (0, 11), 0)
                for key, exact in expected.items():
                    np.testing.assert_allclose(call.arrays[key], exact, rtol=1e-3, atol=1e-4)

    mask = np.ones((2, 2), bool)  # compiles it, once for all children
    lanes = width * dispatch.lanes_of(np.dtype(dtype))
    build_call(name, mask, lanes, dtype).run(kernels, width, (0, 2), 0)
    assert run_forked(work) == 0


# The mode that checks every index


@pytest.mark.skipif(not portable.BOUNDS_CHECK, reason="would read and write beside its arrays")
@pytest.mark.parametrize(("inputs", "weights"), WANTED[:3], ids=["both", "inputs", "weights"])
@each_layout
def test_a_damaged_index_is_caught(layout: Layout, inputs: bool, weights: bool) -> None:
    problem = Problem(np.ones((2, 3), bool), 1, np.float32, 0)
    index, w = problem.stored(layout)
    index.other_side[1][1] = 10**6
    index.indices[1] = 10**6
    assert dispatch.backend() is portable
    gradients = functools.partial(dispatch.gradients, index, w, problem.X, problem.dY)
    with pytest.raises(IndexError):
        dispatch.multiply(index, w, None, problem.X)
    with pytest.raises(IndexError):
        gradients(inputs=inputs, weights=weights)


@once
def test_the_kernels_pass_with_every_index_checked() -> None:
    chosen = "equal_dense_ones or nan_and_infinity or writes_its_rows or is_caught"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, __file__],
        env=os.environ | {"SPARSEWIRE_BOUNDS_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@once
def test_explicit_vectors_are_used_where_they_compile() -> None:
    assert dispatch.backend() is vector


# The index


@each_layout
@given(mask=masks(60))
def test_positions_survive_the_index(layout: Layout, mask: Array) -> None:
    positions = np.flatnonzero(mask)
    index, belongs = index_of(mask, layout)
    index.check()
    assert (index.n_major, index.n_minor) == (mask.shape if layout == "csr" else mask.shape[::-1])
    np.testing.assert_array_equal(index.positions(), positions)
    order = index.order()
    if layout == "csr":
        assert order is None
        assert belongs is None
    else:
        assert order is not None
        assert belongs is not None
        np.testing.assert_array_equal(belongs[order], np.arange(len(positions)))
    assert [index.indptr.dtype.name, index.indices.dtype.name] == ["int64", "int32"]


@each_layout
@given(mask=masks(60))
def test_the_other_side_lists_the_same_connections(layout: Layout, mask: Array) -> None:
    index, _ = index_of(mask, layout)
    indptr, indices, place = index.other_side
    other: Layout = "csc" if layout == "csr" else "csr"
    turned, _ = index_of(mask, other)
    np.testing.assert_array_equal(indptr, turned.indptr)
    np.testing.assert_array_equal(indices, turned.indices)
    major = np.repeat(np.arange(index.n_major), np.diff(index.indptr))
    minor = np.repeat(np.arange(index.n_minor), np.diff(indptr))
    np.testing.assert_array_equal(major[place], indices)
    np.testing.assert_array_equal(index.indices[place], minor)


def damage(kind: str, indptr: Array, indices: Array, row: int, n_minor: int) -> None:
    """Damage an index in place; major row `row` has at least two connections."""
    first, last = int(indptr[row]), int(indptr[row + 1]) - 1
    if kind == "repeated":
        indices[last] = indices[last - 1]
    elif kind == "descending":
        indices[[first, last]] = indices[[last, first]]
    elif kind == "too large":
        indices[last] = n_minor
    elif kind == "far too large":
        indices[last] = np.iinfo(np.int32).max
    elif kind == "negative":
        indices[first] = -1
    elif kind == "pointer beyond":
        indptr[row + 1] = np.iinfo(np.int64).max
    elif kind == "pointer negative":
        indptr[row + 1] = np.iinfo(np.int64).min
    elif kind == "late start":
        indptr[0] = 1
    elif kind == "early end":
        indptr[-1] -= 1
    else:
        assert kind == "late end"
        indptr[-1] += 1


DAMAGES = [
    "repeated",
    "descending",
    "too large",
    "far too large",
    "negative",
    "pointer beyond",
    "pointer negative",
    "late start",
    "early end",
    "late end",
]


@pytest.mark.parametrize("kind", DAMAGES)
@each_layout
@given(mask=masks(20), data=st.data())
def test_a_damaged_index_is_refused(
    layout: Layout, kind: str, mask: Array, data: st.DataObject
) -> None:
    if min(mask.shape) < 2:
        mask = np.ones((2, 2), bool)
    row = data.draw(st.integers(0, (mask.shape[0] if layout == "csr" else mask.shape[1]) - 1))
    (mask if layout == "csr" else mask.T)[row, :2] = True
    index, _ = index_of(mask, layout)
    index.check()
    damage(kind, index.indptr, index.indices, row, index.n_minor)
    with pytest.raises(TopologyError, match=r"damaged in (in|out)put \d+: .* in \[0, \d+\)"):
        index.check()


@each_layout
def test_an_index_of_another_shape_is_refused(layout: Layout) -> None:
    good, _ = Index.from_positions(np.arange(6), 2, 3, layout)
    for indptr, indices in [
        (good.indptr[:-1], good.indices),
        (np.append(good.indptr, 6), good.indices),
        (good.indptr[:0], good.indices),
        (good.indptr[:, None], good.indices),
        (good.indptr, good.indices[:, None]),
        (good.indptr, good.indices[:-1]),
        (good.indptr, np.append(good.indices, np.int32(0))),
    ]:
        with pytest.raises(TopologyError, match="damaged"):
            Index(2, 3, layout, indptr, indices).check()


@each_layout
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)], ids=str)
def test_a_side_may_be_empty(shape: tuple[int, int], layout: Layout) -> None:
    index, _ = Index.from_positions(np.zeros(0, np.int64), *shape, layout)
    index.check()
    assert len(index.positions()) == 0


# The operations of other devices


@quiet
@each_dtype
@each_layout
@given(
    mask=masks(40),
    batch=st.integers(0, 40),
    bias=st.booleans(),
    chunk=st.sampled_from([1, 50, 2**24]),
    seed=st.integers(0, 99),
)
def test_torch_operations_equal_the_kernels(
    layout: Layout, dtype: Any, mask: Array, batch: int, bias: bool, chunk: int, seed: int
) -> None:
    problem = Problem(mask, 5 if dtype == np.float64 else 3, dtype, seed)
    index, w = problem.stored(layout)
    X, dY = problem.X[:, :batch], problem.dY[:, :batch]
    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in (w, X, dY)]
    weight, X_, dY_ = tensors
    b = torch.from_numpy(problem.bias) if bias else None
    compare = functools.partial(
        np.testing.assert_allclose, rtol=1e-4, atol=1e-4 if dtype == np.float32 else 1e-10
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_ops, "_CHUNK", chunk)
        expected = problem.dense() @ X + problem.bias[:, None] * bias
        Y = torch_ops.multiply(index, weight, b, X_)
        assert Y.dtype == weight.dtype
        compare(Y.numpy(), expected)
        for inputs, weights in WANTED:
            dX, g = torch_ops.gradients(index, weight, X_, dY_, inputs=inputs, weights=weights)
            assert (dX is not None, g is not None) == (inputs, weights)
            if dX is not None:
                compare(dX.numpy(), problem.dense().T @ dY)
            if g is not None:
                found = problem.in_order(index, g.numpy())
                compare(found, (dY @ X.T)[mask])


@quiet
@each_layout
def test_torch_operations_ignore_autocast(layout: Layout) -> None:
    problem = Problem(np.ones((4, 5), bool), 1, np.float32, 0)
    index, w = problem.stored(layout)
    weight, X, dY = (torch.from_numpy(array) for array in (w, problem.X, problem.dY))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Y = torch_ops.multiply(index, weight, None, X)
        dX, _ = torch_ops.gradients(index, weight, X, dY, inputs=True, weights=False)
    assert dX is not None
    np.testing.assert_allclose(Y.numpy(), problem.dense() @ problem.X, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(dX.numpy(), problem.dense().T @ problem.dY, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@each_layout
def test_torch_operations_say_that_they_know_their_index_to_be_sound(layout: Layout) -> None:
    index, _ = index_of(np.ones((3, 4), bool), layout)
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else only the first sparse tensor of a process warns
    try:
        torch_ops.multiply(index, torch.ones(12), None, torch.ones(4, 2))
    finally:
        torch.set_warn_always(before)
