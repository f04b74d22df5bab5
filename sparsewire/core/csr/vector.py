"""What do the kernels look like where the compiler is told about vectors?

One row of a sparse matrix is combined with whole rows of activations: `lanes` numbers that lie
side by side, held in vector registers through an explicit LLVM loop. numba's own vectoriser does
not keep them there and is half as fast. How many vectors a kernel holds is part of the type of its
first argument, so that numba compiles one machine function per width and caches it on disk.

All kernels share their arguments. `indptr` and `indices` list, for each *major* row, the *minor*
rows it is connected to; `begin` and `end` bound the major rows, and `low` is the first lane of the
tile that is computed. Arrays are C-contiguous; nothing is checked here.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

VECTOR_BYTES = 64
"""One AVX-512 register; LLVM splits it where registers are smaller."""

_I32, _I64 = ir.IntType(32), ir.IntType(64)
# Multiplication and addition may be fused; nothing else is relaxed, so NaN and infinity survive.
_FUSE = ("contract",)
_JIT: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


class _Lanes:
    """Loads, stores and arithmetic on `count` neighbouring vectors."""

    def __init__(self, builder: Any, count: int, element: Any) -> None:
        self.builder = builder
        self.count = count
        bits = 64 if isinstance(element, ir.DoubleType) else 32
        self.width = VECTOR_BYTES * 8 // bits
        self.bytes = bits // 8
        self.element = element
        self.vector = ir.VectorType(element, self.width)
        self.zeros = [ir.Constant(self.vector, [0.0] * self.width)] * count

    def splat(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
        order = ir.Constant(ir.VectorType(_I32, self.width), [0] * self.width)
        return self.builder.shuffle_vector(first, undefined, order)

    def _address(self, row: Any, q: int) -> Any:
        place = self.builder.gep(row, [ir.Constant(_I64, q * self.width)])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def load(self, row: Any) -> list[Any]:
        loaded = [self.builder.load(self._address(row, q)) for q in range(self.count)]
        for vector in loaded:
            vector.align = self.bytes
        return loaded

    def store(self, vectors: list[Any], row: Any) -> None:
        for q, vector in enumerate(vectors):
            self.builder.store(vector, self._address(row, q)).align = self.bytes

    def add_scaled(self, vectors: list[Any], scale: Any, others: list[Any]) -> list[Any]:
        scaled = [self.builder.fmul(scale, other, flags=_FUSE) for other in others]
        return [
            self.builder.fadd(vector, product, flags=_FUSE)
            for vector, product in zip(vectors, scaled, strict=True)
        ]

    def dot(self, left: list[Any], right: list[Any]) -> Any:
        """Sum of products over all lanes, in a fixed order."""
        sums: list[Any] = [None, None]
        for q, (a, b) in enumerate(zip(left, right, strict=True)):
            product = self.builder.fmul(a, b, flags=_FUSE)
            side = sums[q % 2]
            sums[q % 2] = product if side is None else self._add(side, product)
        total = sums[0] if sums[1] is None else self._add(*sums)
        width = self.width
        while width > 1:
            width //= 2
            total = self._add(self._part(total, 0, width), self._part(total, width, width))
        return self.builder.extract_element(total, ir.Constant(_I32, 0))

    def _add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=_FUSE)

    def _part(self, vector: Any, start: int, width: int) -> Any:
        order = ir.Constant(ir.VectorType(_I32, width), list(range(start, start + width)))
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)


class _Row:
    """One major row of the index inside an intrinsic: its connections, and rows of activations."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.builder = builder
        lanes, arrays, _, _ = signature.args
        values = cgutils.unpack_tuple(builder, args[1])
        self._arrays = [
            cgutils.create_struct_proxy(kind)(context, builder, value=value)
            for kind, value in zip(arrays, values, strict=True)
        ]
        self.data = [array.data for array in self._arrays]
        self.major, self._low = args[2:]
        element = context.get_value_type(arrays[-1].dtype)
        self.lanes = _Lanes(builder, lanes.count, element)

    def number(self, array: int, k: Any) -> Any:
        """One entry of a flat array; indices are widened to 64 bits."""
        value = self.builder.load(self.builder.gep(self.data[array], [k]))
        return self.builder.sext(value, _I64) if value.type == _I32 else value

    def activations(self, array: int, row: Any) -> Any:
        """Address of the tile's first lane in a row of a two-dimensional array."""
        columns = cgutils.unpack_tuple(self.builder, self._arrays[array].shape)[1]
        offset = self.builder.add(self.builder.mul(row, columns), self._low)
        return self.builder.gep(self.data[array], [offset])

    def each(self, carried: list[Any], body: Any) -> list[Any]:
        """Loop over the row's connections, passing values from one turn to the next."""
        builder = self.builder
        first = self.number(0, self.major)
        last = self.number(0, builder.add(self.major, ir.Constant(_I64, 1)))
        before = builder.block
        loop, done = builder.append_basic_block("each"), builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", first, last), loop, done)
        builder.position_at_end(loop)
        k = builder.phi(_I64)
        k.add_incoming(first, before)
        inside = [builder.phi(value.type) for value in carried]
        for phi, value in zip(inside, carried, strict=True):
            phi.add_incoming(value, before)
        results = body(k, inside)
        following = builder.add(k, ir.Constant(_I64, 1))
        k.add_incoming(following, loop)
        for phi, value in zip(inside, results, strict=True):
            phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, last), loop, done)
        builder.position_at_end(done)
        outside = [builder.phi(value.type) for value in carried]
        for phi, value, result in zip(outside, carried, results, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(result, loop)
        return outside


def _intrinsic(emit: Callable[["_Row"], None]) -> Any:
    """Make an intrinsic out of a function that emits the code of one row."""

    def typed(typing_context: Any, lanes: Any, arrays: Any, major: Any, low: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            emit(_Row(context, builder, signature, values))
            return context.get_dummy_value()

        return types.void(lanes, arrays, types.int64, types.int64), code

    return intrinsic(typed)


def _gather(row: _Row) -> None:
    """out[major] = bias[major] + sum of weights times X[minor]."""
    lanes = row.lanes

    def add(k: Any, sums: list[Any]) -> list[Any]:
        scale = lanes.splat(row.number(2, k))
        return lanes.add_scaled(sums, scale, lanes.load(row.activations(4, row.number(1, k))))

    start = [lanes.splat(row.number(3, row.major))] * lanes.count
    lanes.store(row.each(start, add), row.activations(5, row.major))


def _gather_at(row: _Row) -> None:
    """out[major], with weights in the order of the other side: number k lies at position[k]."""
    lanes = row.lanes

    def add(k: Any, sums: list[Any]) -> list[Any]:
        scale = lanes.splat(row.number(3, row.number(2, k)))
        return lanes.add_scaled(sums, scale, lanes.load(row.activations(5, row.number(1, k))))

    start = [lanes.splat(row.number(4, row.major))] * lanes.count
    lanes.store(row.each(start, add), row.activations(6, row.major))


def _scatter(row: _Row) -> None:
    """out[minor] += weight times X[major], for every connection."""
    lanes = row.lanes
    own = lanes.load(row.activations(3, row.major))

    def add(k: Any, carried: list[Any]) -> list[Any]:
        target = row.activations(4, row.number(1, k))
        scale = lanes.splat(row.number(2, k))
        lanes.store(lanes.add_scaled(lanes.load(target), scale, own), target)
        return carried

    row.each([], add)


def _dot(row: _Row) -> None:
    """g[k] += A[major] . B[minor], for every connection."""
    lanes = row.lanes
    own = lanes.load(row.activations(3, row.major))

    def add(k: Any, carried: list[Any]) -> list[Any]:
        _accumulate(row, 2, k, lanes.dot(own, lanes.load(row.activations(4, row.number(1, k)))))
        return carried

    row.each([], add)


def _gather_dot(row: _Row) -> None:
    """dX[major] = sum of weights times dY[minor], and g[k] += X[major] . dY[minor]."""
    lanes = row.lanes
    own = lanes.load(row.activations(4, row.major))

    def add(k: Any, sums: list[Any]) -> list[Any]:
        other = lanes.load(row.activations(5, row.number(1, k)))
        scale = lanes.splat(row.number(2, k))
        _accumulate(row, 3, k, lanes.dot(other, own))
        return lanes.add_scaled(sums, scale, other)

    lanes.store(row.each(lanes.zeros, add), row.activations(6, row.major))


def _scatter_dot(row: _Row) -> None:
    """dX[minor] += weight times dY[major], and g[k] += X[minor] . dY[major]."""
    lanes = row.lanes
    own = lanes.load(row.activations(5, row.major))

    def add(k: Any, carried: list[Any]) -> list[Any]:
        minor = row.number(1, k)
        _accumulate(row, 3, k, lanes.dot(lanes.load(row.activations(4, minor)), own))
        target = row.activations(6, minor)
        scale = lanes.splat(row.number(2, k))
        lanes.store(lanes.add_scaled(lanes.load(target), scale, own), target)
        return carried

    row.each([], add)


def _accumulate(row: _Row, array: int, k: Any, value: Any) -> None:
    place = row.builder.gep(row.data[array], [k])
    row.builder.store(row.builder.fadd(row.builder.load(place), value), place)


_gather_row = _intrinsic(_gather)
_gather_at_row = _intrinsic(_gather_at)
_scatter_row = _intrinsic(_scatter)
_dot_row = _intrinsic(_dot)
_gather_dot_row = _intrinsic(_gather_dot)
_scatter_dot_row = _intrinsic(_scatter_dot)


@njit(**_JIT)
def gather(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, bias, X, out."""
    for major in range(begin, end):
        _gather_row(lanes, arrays, major, low)


@njit(**_JIT)
def gather_at(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, position, w, bias, X, out."""
    for major in range(begin, end):
        _gather_at_row(lanes, arrays, major, low)


@njit(**_JIT)
def scatter(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, X, out."""
    for major in range(begin, end):
        _scatter_row(lanes, arrays, major, low)


@njit(**_JIT)
def dot(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, g, A, B."""
    for major in range(begin, end):
        _dot_row(lanes, arrays, major, low)


@njit(**_JIT)
def gather_dot(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, g, X, dY, dX."""
    for major in range(begin, end):
        _gather_dot_row(lanes, arrays, major, low)


@njit(**_JIT)
def scatter_dot(lanes: Any, arrays: Any, begin: int, end: int, low: int) -> None:
    """Arrays: indptr, indices, w, g, X, dY, dX."""
    for major in range(begin, end):
        _scatter_dot_row(lanes, arrays, major, low)
