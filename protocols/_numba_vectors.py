"""Eight lanes at a time, spelled out: vectors of doubles and of 64-bit words for the compiled kernels.

The compiler's own vectoriser gives up on transposes and pays for aliasing checks in short loops. Here a kernel says
itself what is a vector: the operations are LLVM's, on eight lanes, and LLVM splits them where the processor's
registers are shorter. Nothing here may be reordered by the compiler: `fastmath` stays off.

A `Doubles` or `Words` exists inside compiled code only. Offsets count elements and are not checked.
"""

import hashlib
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from numba import cfunc, njit, types, void
from numba.core.caching import FunctionCache
from numba.core.cgutils import get_or_insert_function, ir
from numba.core.codegen import ll
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, register_model

__all__ = [
    "LANES",
    "address",
    "any_bit",
    "as_doubles",
    "as_words",
    "called",
    "constant",
    "double_constant",
    "doubles",
    "doubles_at",
    "emitted",
    "inlined",
    "kept_kernels",
    "kernel",
    "load",
    "load_word",
    "native",
    "one_at",
    "ones",
    "pack3",
    "pack4",
    "pack5",
    "pack6",
    "part",
    "processor",
    "read",
    "shifted_down",
    "shifted_left",
    "shifted_right",
    "splat",
    "splat_word",
    "store",
    "transposed",
    "unpack3",
    "unpack4",
    "unpack5",
    "unpack6",
    "vector_fma",
    "where_negative",
    "word_constant",
    "words",
    "write",
]

LANES: Final = 8
_DOUBLE: Final = ir.VectorType(ir.DoubleType(), LANES)
_WORD: Final = ir.VectorType(ir.IntType(64), LANES)

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONS: Final = {"nogil": True, "error_model": "numpy", "_nrt": False, "no_rewrites": True}
_UNWRAPPED: Final = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called by kernels only


def _sources() -> str:
    """A digest of the compiled modules' sources: a kernel kept from others must not be taken for this one.

    numba looks at the file of the kernel alone, and not at the files of the parts that disappear in it.
    """
    hashed = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("_*numba*.py")):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()[:16]


_VERSION: Final = _sources()
_WIDEST: Final = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("neon", "NEON"))


def processor() -> tuple[str, str]:
    """LLVM's name for this processor, and the widest vectors it has."""
    features = ll.get_host_cpu_features()
    return ll.get_host_cpu_name(), next((shown for flag, shown in _WIDEST if features.get(flag)), "128 bits")


def kept_kernels() -> tuple[str | None, bool]:
    """The folder in which compiled kernels are kept, None if there is none, and whether these were kept there before.

    A kernel is kept for one processor: on another it is compiled again, though one is there.
    """
    try:
        folder = str(FunctionCache(_sources).cache_path)
    except RuntimeError:  # no folder can be written
        return None, False
    return folder, any(Path(folder).glob(f"_fused_numba.*_{_VERSION}-*.nbi"))


def kernel(*arguments: Any) -> Callable[[_Function], _Function]:
    """Compile for these arguments, into the cache beside the file (or the user's), or without one if none can be."""

    def compile_(function: _Function) -> _Function:
        function.__qualname__ = f"{function.__name__}_{_VERSION}"  # the name it is kept under
        try:
            compiled: _Function = njit(void(*arguments), cache=True, **_OPTIONS)(function)
        except (RuntimeError, OSError):  # no folder to cache in, or it is full
            compiled = njit(void(*arguments), **_OPTIONS)(function)
        return compiled

    return compile_


def inlined(function: _Function) -> _Function:
    """A part of a kernel, in which it always disappears."""
    part: _Function = njit(forceinline=True, **_UNWRAPPED, **_OPTIONS)(function)
    return part


def part(function: _Function) -> _Function:
    """A larger part of kernels, compiled once and called."""
    compiled: _Function = njit(**_UNWRAPPED, **_OPTIONS)(function)
    return compiled


def native(*arguments: Any) -> Callable[[_Function], Any]:
    """Compile once into a function that kernels call by its address, so that none of them holds a copy."""

    def compile_(function: _Function) -> Any:
        function.__qualname__ = f"{function.__name__}_{_VERSION}"
        try:
            return cfunc(void(*arguments), cache=True, error_model="numpy")(function)
        except (RuntimeError, OSError):
            return cfunc(void(*arguments), error_model="numpy")(function)

    return compile_


class Doubles(types.Type):  # type: ignore[misc]
    """Eight doubles."""

    def __init__(self) -> None:
        super().__init__(name="Doubles")


class Words(types.Type):  # type: ignore[misc]
    """Eight 64-bit words, with or without sign."""

    def __init__(self) -> None:
        super().__init__(name="Words")


doubles, words = Doubles(), Words()


def _model(llvm: Any) -> Any:
    class Model(models.PrimitiveModel):  # type: ignore[misc]
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, llvm)

    return Model


register_model(Doubles)(_model(_DOUBLE))
register_model(Words)(_model(_WORD))


def _pointer(context: Any, builder: Any, kind: Any, place: Any, llvm: Any) -> Any:
    array, offset = place
    data = context.data_model_manager.lookup(kind).get(builder, array, "data")
    return builder.bitcast(builder.gep(data, [offset]), llvm.as_pointer())


def _load(_: Any, array: Any, offset: Any) -> Any:
    kind, llvm = (doubles, _DOUBLE) if array.dtype == types.float64 else (words, _WORD)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, array, arguments, llvm), align=1)

    return kind(array, types.intp), generate


def _store(_: Any, array: Any, offset: Any, value: Any) -> Any:
    llvm = _DOUBLE if value is doubles else _WORD

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(context, builder, array, arguments[:2], llvm), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


load: Any = intrinsic(_load)  # (array, offset) -> the eight elements from there, as their own kind
store: Any = intrinsic(_store)  # (array, offset, vector)


def _load_word(_: Any, array: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, array, arguments, ir.IntType(64)), align=1)

    return types.uint64(array, types.intp), generate


load_word: Any = intrinsic(_load_word)  # (bytes, offset) -> the eight bytes from there, as one word


def _spread(builder: Any, value: Any, llvm: Any) -> Any:
    one = builder.insert_element(ir.Constant(llvm, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(llvm, ir.Undefined), zeros)


def _splat(_: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0], _DOUBLE)

    return doubles(types.float64), generate


def _splat_word(_: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0], _WORD)

    return words(types.uint64), generate


splat: Any = intrinsic(_splat)
splat_word: Any = intrinsic(_splat_word)


def _constant(_: Any, value: Any) -> Any:
    number = value.literal_value if isinstance(value, types.Literal) else None
    if number is None:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_WORD, [number] * LANES)

    return words(value), generate


constant: Any = intrinsic(prefer_literal=True)(_constant)


def emitted(result: Any, *kinds: Any) -> Callable[[Any], Any]:
    """A part of kernels given by the instructions it becomes: from a builder and values of these kinds, one value."""

    def intrinsic_of(instructions: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return instructions(builder, *arguments)

        names = [f"x{i}" for i in range(len(kinds))]
        rule: Any = {
            1: lambda _, x0: (result(*kinds), generate),
            2: lambda _, x0, x1: (result(*kinds), generate),
            3: lambda _, x0, x1, x2: (result(*kinds), generate),
            4: lambda _, x0, x1, x2, x3: (result(*kinds), generate),
        }[len(names)]
        rule.__name__ = instructions.__name__
        return intrinsic(rule)

    return intrinsic_of


_OPERATIONS: Final = (
    (operator.add, doubles, "fadd"),
    (operator.sub, doubles, "fsub"),
    (operator.mul, doubles, "fmul"),
    (operator.add, words, "add"),
    (operator.sub, words, "sub"),
    (operator.mul, words, "mul"),
    (operator.and_, words, "and_"),
    (operator.or_, words, "or_"),
)


def _define(symbol: Any, kind: Any, method: str) -> None:
    class Template(ConcreteTemplate):  # type: ignore[misc]
        cases = (signature(kind, kind, kind),)

    def generate(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return getattr(builder, method)(*arguments)

    infer_global(symbol)(Template)
    lower_builtin(symbol, kind, kind)(generate)


for _operation in _OPERATIONS:
    _define(*_operation)


@emitted(words, words, words)
def shifted_left(builder: Any, x: Any, places: Any) -> Any:
    """Lane by lane."""
    return builder.shl(x, places)


@emitted(words, words, words)
def shifted_right(builder: Any, x: Any, places: Any) -> Any:
    """Lane by lane, zeros coming in."""
    return builder.lshr(x, places)


@emitted(words, words, words)
def shifted_down(builder: Any, x: Any, places: Any) -> Any:
    """Lane by lane, the sign coming in."""
    return builder.ashr(x, places)


def _call(builder: Any, name: str, llvm: Any, arguments: Any) -> Any:
    """LLVM's own function of this name, from vectors to a vector of one kind."""
    function = get_or_insert_function(builder.module, ir.FunctionType(llvm, [llvm] * len(arguments)), name)
    return builder.call(function, arguments)


def vector_fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """x*y + z, rounded once. For use by `emitted` parts."""
    return _call(builder, "llvm.fma.v8f64", _DOUBLE, (x, y, z))


def double_constant(value: float) -> Any:
    """The same double in all lanes. For use by `emitted` parts."""
    return ir.Constant(_DOUBLE, [value] * LANES)


def word_constant(value: int) -> Any:
    """The same word in all lanes. For use by `emitted` parts."""
    return ir.Constant(_WORD, [value] * LANES)


@emitted(doubles, words)
def as_doubles(builder: Any, x: Any) -> Any:
    """The same bits."""
    return builder.bitcast(x, _DOUBLE)


@emitted(words, doubles)
def as_words(builder: Any, x: Any) -> Any:
    """The same bits."""
    return builder.bitcast(x, _WORD)


@emitted(doubles, doubles, doubles, doubles)
def where_negative(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """Lane by lane: y where x is below zero, else z."""
    return builder.select(builder.fcmp_ordered("<", x, double_constant(0.0)), y, z)


@emitted(types.boolean, words)
def any_bit(builder: Any, x: Any) -> Any:
    """Whether any bit of any lane is one."""
    return builder.icmp_unsigned(
        "!=", builder.bitcast(x, ir.IntType(64 * LANES)), ir.Constant(ir.IntType(64 * LANES), 0)
    )


@emitted(words, words)
def ones(builder: Any, x: Any) -> Any:
    """Lane by lane: how many bits are one."""
    return _call(builder, "llvm.ctpop.v8i64", _WORD, (x,))


def _shuffle(builder: Any, x: Any, y: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of eight vectors. For use by parts given by their instructions."""
    half = 1
    while half < LANES:  # exchange the off-diagonal squares of growing size
        low = [(i & ~half) + (LANES if i & half else 0) for i in range(LANES)]
        high = [(i | half) + (LANES if i & half else 0) for i in range(LANES)]
        exchanged = list(rows)
        for i in range(LANES):
            if not i & half:
                exchanged[i] = _shuffle(builder, rows[i], rows[i + half], low)
                exchanged[i + half] = _shuffle(builder, rows[i], rows[i + half], high)
        rows, half = exchanged, 2 * half
    return rows


def doubles_at(builder: Any, place: Any) -> Any:
    """A pointer to eight doubles, from an address."""
    return builder.inttoptr(place, _DOUBLE.as_pointer())


def _address(_: Any, array: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, array, arguments, ir.IntType(8))
        return builder.ptrtoint(pointer, ir.IntType(64))

    return types.int64(array, types.intp), generate


def _one_at(_: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.DoubleType().as_pointer()))

    return types.float64(types.int64), generate


def _read(_: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(doubles_at(builder, arguments[0]), align=1)

    return doubles(types.int64), generate


def _write(_: Any, place: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], doubles_at(builder, arguments[0]), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, doubles), generate


address: Any = intrinsic(_address)  # (array, offset) -> where that element lies, as an integer
one_at: Any = intrinsic(_one_at)  # (address) -> one double
read: Any = intrinsic(_read)  # (address) -> eight doubles
write: Any = intrinsic(_write)  # (address, doubles)


def called(count: int) -> Any:
    """A part of kernels: a call of the function whose address comes first, with `count` integers."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * count)

    def rule(_: Any, function: Any, arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            target = builder.inttoptr(given[0], kind.as_pointer())
            builder.call(target, [builder.extract_value(given[1], i) for i in range(count)])
            return context.get_dummy_value()

        return types.void(types.int64, types.UniTuple(types.int64, count)), generate

    return intrinsic(rule)


def _pack(width: int) -> Any:
    octets, packed = ir.VectorType(ir.IntType(8), 8 * LANES), ir.VectorType(ir.IntType(8), width * LANES)

    def rule(_: Any, out: Any, row: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            out, row = arguments
            raw = builder.bitcast(builder.load(builder.inttoptr(row, _WORD.as_pointer()), align=1), octets)
            short = _shuffle(builder, raw, raw, [8 * i + b for i in range(LANES) for b in range(width)])
            builder.store(short, builder.inttoptr(out, packed.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return intrinsic(rule)


def _unpack(width: int) -> Any:
    packed = ir.VectorType(ir.IntType(8), width * LANES)

    def rule(_: Any, array: Any, offset: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            raw = builder.load(_pointer(context, builder, array, arguments, packed), align=1)
            zeros = ir.Constant(packed, [0] * (width * LANES))
            wide = [width * i + b if b < width else width * LANES for i in range(LANES) for b in range(8)]
            return builder.bitcast(_shuffle(builder, raw, zeros, wide), _WORD)

        return words(array, types.intp), generate

    return intrinsic(rule)


# (to, from): the low bytes of each of eight words, one word after the other; and (bytes, offset) -> words.
pack3, pack4, pack5, pack6 = _pack(3), _pack(4), _pack(5), _pack(6)
unpack3, unpack4, unpack5, unpack6 = _unpack(3), _unpack(4), _unpack(5), _unpack(6)
