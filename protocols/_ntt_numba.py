"""The number-theoretic transform of one prime, compiled: the parts of `_ring_numba` and `_fused_numba`.

Inside a kernel a residue is a signed double, an exact integer below 2^53. For a fixed w with |w| <= q/2, a fused
multiply-add splits x*w = high + low exactly, and with b = rint(x * (w/q)) the difference r = (high - b*q) + low is
exact too, congruent to x*w, and |r| < 0.63q as long as |x| < 15q and q < 2^48. So the forward transform corrects
nothing in its at most 15 layers (it stays below 11q), and the inverse corrects one output of four.

A polynomial is a matrix of rows of 128 coefficients. The first layers combine rows: they run on 16 or 32 columns at a
time, which stay in the nearest cache. The last seven layers combine columns: they run on the transposed matrix, whose
twiddle factors lie ready in the same order. Two layers at a time (radix 4) halve the traffic.

Source: van der Hoeven, Lecerf and Quintin, "Modular SIMD arithmetic in Mathemagix" (2016), on floating-point moduli.
"""

from typing import Any, Final

from numba import int64, types
from numba.extending import intrinsic

from ._numba_vectors import (
    LANES,
    called,
    double_constant,
    doubles,
    doubles_at,
    emitted,
    native,
    one_at,
    part,
    read,
    splat,
    transposed,
    vector_fma,
    word_constant,
    words,
    write,
)

__all__ = [
    "FROM_WORDS",
    "PADDING",
    "PREFIX",
    "RUN",
    "TO_WORDS",
    "centred",
    "forward",
    "from_words",
    "inverse",
    "product",
    "residue",
    "run",
    "times",
    "to_words",
    "write_residue",
]

RUN: Final = 128  # coefficients in a row, as in `ring`
PADDING: Final = 8  # doubles after each transposed row, so that rows do not fall on the same cache lines
_ROUND: Final = 6755399441055744.0  # 1.5 * 2^52: adding and subtracting it rounds to the nearest integer
_NEAR: Final = 32  # rows of doubles that the nearest cache holds
_MIDDLE: Final = 32
_TAIL: Final = 2 * (RUN - 1)  # doubles of twiddle factors for each row: every layer's w, and its w/q
PREFIX: Final = 8  # doubles before a prime's twiddle factors: q, 1/q, and six that are not used
_ROW: Final = 8 * RUN  # bytes
_VECTOR: Final = 8 * LANES  # bytes
FROM_WORDS: Final = 1  # the transforms' last argument: residues come in, not doubles
TO_WORDS: Final = 2  # and go out


def _reduced(builder: Any, high: Any, quotient: Any, q: Any) -> Any:
    """high - q * (quotient - _ROUND): the quotient was rounded by adding _ROUND."""
    return vector_fma(builder, builder.fsub(double_constant(_ROUND), quotient), q, high)


def _times(builder: Any, x: Any, w: Any, w_by_q: Any, q: Any) -> Any:
    """x*w - b*q for the b that brings it near zero. Arguments: x, w, w/q, q."""
    high = builder.fmul(x, w)
    low = vector_fma(builder, x, w, builder.fneg(high))
    quotient = vector_fma(builder, x, w_by_q, double_constant(_ROUND))
    return builder.fadd(_reduced(builder, high, quotient, q), low)


@emitted(doubles, doubles, doubles, doubles, doubles)
def product(builder: Any, x: Any, y: Any, q: Any, inverse_q: Any) -> Any:
    """The same for a y whose quotient by q was not prepared; |x*y| < 2^99. Arguments: x, y, q, 1/q."""
    high = builder.fmul(x, y)
    low = vector_fma(builder, x, y, builder.fneg(high))
    quotient = vector_fma(builder, high, inverse_q, double_constant(_ROUND))
    return builder.fadd(_reduced(builder, high, quotient, q), low)


def _centred(builder: Any, x: Any, q: Any, inverse_q: Any) -> Any:
    """The representative of x in about [-q/2, q/2]. Arguments: x, q, 1/q."""
    return _reduced(builder, x, vector_fma(builder, x, inverse_q, double_constant(_ROUND)), q)


def _residue(builder: Any, x: Any, q: Any) -> Any:
    """x in (-q, q) -> the residue in [0, q), still as doubles."""
    below = builder.fcmp_ordered("<", x, double_constant(0.0))
    return builder.select(below, builder.fadd(x, q), x)


@emitted(doubles, words)
def from_words(builder: Any, x: Any) -> Any:
    """Words below 2^52 -> doubles."""
    bits = builder.or_(x, word_constant(0x4330000000000000))
    return builder.fsub(builder.bitcast(bits, double_constant(0.0).type), double_constant(2.0**52))


def _to_words(builder: Any, x: Any) -> Any:
    """Doubles that are integers in [0, 2^52) -> words."""
    bits = builder.bitcast(builder.fadd(x, double_constant(2.0**52)), word_constant(0).type)
    return builder.and_(bits, word_constant(0x000FFFFFFFFFFFFF))


times: Any = emitted(doubles, doubles, doubles, doubles, doubles)(_times)
centred: Any = emitted(doubles, doubles, doubles, doubles)(_centred)
residue: Any = emitted(doubles, doubles, doubles)(_residue)
to_words: Any = emitted(words, doubles)(_to_words)

run: Any = called(7)  # (address of a transform, its seven arguments)


def _lifted(builder: Any, x: Any, lift: Any) -> Any:
    """Doubles as they are for a `lift` of zero, words below 2^52 as doubles for one of 2^52."""
    word = word_constant(0).type
    bits = builder.or_(builder.bitcast(x, word), builder.bitcast(lift, word))
    return builder.fsub(builder.bitcast(bits, x.type), lift)


lifted: Any = emitted(doubles, doubles, doubles)(_lifted)


def _part(kinds: str) -> Any:
    """The signature of a part without result: i for an address or a distance in bytes, v for doubles."""
    return types.void(*[doubles if kind == "v" else types.int64 for kind in kinds])


def _get(builder: Any, place: Any, steps: Any) -> Any:
    return [builder.load(doubles_at(builder, at), align=1) for at in _places(builder, place, steps, 4)]


def _places(builder: Any, place: Any, step: Any, count: int) -> list[Any]:
    places = [place]
    while len(places) < count:
        places.append(builder.add(places[-1], step))
    return places


def _put(builder: Any, place: Any, step: Any, values: list[Any]) -> None:
    for at, value in zip(_places(builder, place, step, len(values)), values, strict=True):
        builder.store(value, doubles_at(builder, at), align=1)


def _by(builder: Any, x: Any, pair: Any, q: Any) -> Any:
    """As `times`; `pair` is (w, w/q)."""
    return _times(builder, x, pair[0], pair[1], q)


def _radix_4(builder: Any, x: list[Any], w: Any, q: Any) -> list[Any]:
    v2, v3 = _by(builder, x[2], w[0:2], q), _by(builder, x[3], w[0:2], q)
    y1 = _by(builder, builder.fadd(x[1], v3), w[2:4], q)
    y3 = _by(builder, builder.fsub(x[1], v3), w[4:6], q)
    y0, y2 = builder.fadd(x[0], v2), builder.fsub(x[0], v2)
    return [builder.fadd(y0, y1), builder.fsub(y0, y1), builder.fadd(y2, y3), builder.fsub(y2, y3)]


def _forward_4(
    _: Any, x: Any, a: Any, step: Any, w1: Any, w1_q: Any, w2: Any, w2_q: Any, w3: Any, w3_q: Any, q: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        x, a, step, *w, q = given
        _put(builder, a, step, _radix_4(builder, _get(builder, x, step), w, q))
        return context.get_dummy_value()

    return _part("iiivvvvvvv"), generate


def _first_4(
    _: Any, x: Any, a: Any, step: Any, w1: Any, w1_q: Any, w2: Any, w2_q: Any, w3: Any, w3_q: Any, q: Any, lift: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        x, a, step, *w, q, lift = given
        values = [_lifted(builder, value, lift) for value in _get(builder, x, step)]
        _put(builder, a, step, _radix_4(builder, values, w, q))
        return context.get_dummy_value()

    return _part("iiivvvvvvvv"), generate


def _inverse_4(
    _: Any, a: Any, step: Any, w1: Any, w1_q: Any, w2: Any, w2_q: Any, w3: Any, w3_q: Any, q: Any, inverse_q: Any
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        a, step, *w, q, inverse_q = given
        x = _get(builder, a, step)
        y0, y1 = builder.fadd(x[0], x[1]), _by(builder, builder.fsub(x[0], x[1]), w[2:4], q)
        y2, y3 = builder.fadd(x[2], x[3]), _by(builder, builder.fsub(x[2], x[3]), w[4:6], q)
        z0, z1 = _centred(builder, builder.fadd(y0, y2), q, inverse_q), builder.fadd(y1, y3)
        z2 = _by(builder, builder.fsub(y0, y2), w[0:2], q)
        z3 = _by(builder, builder.fsub(y1, y3), w[0:2], q)
        _put(builder, a, step, [z0, z1, z2, z3])
        return context.get_dummy_value()

    return _part("iivvvvvvvv"), generate


def _transpose(_: Any, x: Any, step: Any, out: Any, out_step: Any, lift: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        x, step, out, out_step, lift = given
        rows = [builder.load(doubles_at(builder, at), align=1) for at in _places(builder, x, step, LANES)]
        _put(builder, out, out_step, transposed(builder, [_lifted(builder, row, lift) for row in rows]))
        return context.get_dummy_value()

    return _part("iiiiv"), generate


def _move(_: Any, x: Any, step: Any, out: Any, out_step: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        x, step, out, out_step = given
        rows = [builder.load(doubles_at(builder, at), align=1) for at in _places(builder, x, step, LANES)]
        _put(builder, out, out_step, transposed(builder, rows))
        return context.get_dummy_value()

    return _part("iiii"), generate


def _finish(_: Any, x: Any, step: Any, out: Any, out_step: Any, q: Any, inverse_q: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        x, step, out, out_step, q, inverse_q = given
        rows = [builder.load(doubles_at(builder, at), align=1) for at in _places(builder, x, step, LANES)]
        reduced = [_residue(builder, _centred(builder, row, q, inverse_q), q) for row in transposed(builder, rows)]
        as_words = [builder.bitcast(_to_words(builder, row), row.type) for row in reduced]
        _put(builder, out, out_step, as_words)
        return context.get_dummy_value()

    return _part("iiiivv"), generate


def _write_residue(_: Any, place: Any, value: Any, q: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place, value, q = given
        bits = builder.bitcast(_to_words(builder, _residue(builder, value, q)), value.type)
        builder.store(bits, doubles_at(builder, place), align=1)
        return context.get_dummy_value()

    return _part("ivv"), generate


# In memory: one radix-4 step (from, to, distance, factors), or eight by eight (from, distance, to, distance).
_forward_step: Any = intrinsic(_forward_4)
_first_step: Any = intrinsic(_first_4)
_inverse_step: Any = intrinsic(_inverse_4)
_transposed_in: Any = intrinsic(_transpose)
_transposed: Any = intrinsic(_move)
_transposed_out: Any = intrinsic(_finish)
write_residue: Any = intrinsic(_write_residue)  # (address, doubles in (-q, q), q): the residues, as words


@part
def _heads(x: int, to: int, step: int, table: int, row: int, runs: int) -> None:
    """Two layers on four runs of `step` bytes."""
    q, at = splat(one_at(table)), table + 8 * (PREFIX + row)
    w1, w1_by_q = splat(one_at(at)), splat(one_at(at + 8 * runs))
    at += 8 * row
    w2, w2_by_q = splat(one_at(at)), splat(one_at(at + 8 * runs))
    w3, w3_by_q = splat(one_at(at + 8)), splat(one_at(at + 8 * runs + 8))
    for i in range(0, step, _VECTOR):
        _forward_step(x + i, to + i, step, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q)


@part
def _first(x: int, to: int, table: int, runs: int, lift_by: float) -> None:
    """The first layer, or the first two, so that an even number of layers between rows is left."""
    q, lift, at = splat(one_at(table)), splat(lift_by), table + 8 * (PREFIX + 1)
    w1, w1_by_q = splat(one_at(at)), splat(one_at(at + 8 * runs))
    if runs & 0x55555555 == 0:
        step = runs * _ROW // 2
        for i in range(0, step, _VECTOR):
            low, high = lifted(read(x + i), lift), times(lifted(read(x + i + step), lift), w1, w1_by_q, q)
            write(to + i, low + high)
            write(to + i + step, low - high)
    else:
        w2, w2_by_q = splat(one_at(at + 8)), splat(one_at(at + 8 * runs + 8))
        w3, w3_by_q = splat(one_at(at + 16)), splat(one_at(at + 8 * runs + 16))
        for i in range(0, runs * _ROW // 4, _VECTOR):
            _first_step(x + i, to + i, runs * _ROW // 4, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q, lift)


@part
def _columns(a: int, t: int, first: int, last: int, stride: int) -> None:
    """Some rows of `a` become columns of `t`."""
    for r in range(first, last, LANES):
        for c in range(0, RUN, LANES):
            _transposed(a + r * _ROW + 8 * c, _ROW, t + c * stride + 8 * r, stride)


@part
def _rows(t: int, a: int, first: int, last: int, stride: int) -> None:
    """Some columns of `t` become rows of `a`."""
    for r in range(first, last, LANES):
        for c in range(0, RUN, LANES):
            _transposed(t + c * stride + 8 * r, stride, a + r * _ROW + 8 * c, _ROW)


_ARGUMENTS: Final = (int64,) * 7


@native(*_ARGUMENTS)
def forward(x: int, out: int, scratch: int, table: int, factor: int, runs: int, kind: int) -> None:
    """Coefficients to NTT form modulo one prime (Cooley and Tukey), from address to address.

    Doubles below q or residues in; residues, or doubles below 11q, out (`kind`). `table`: q, 1/q and the twiddle
    factors. `scratch` holds 128 * (2 * runs + PADDING) doubles. `factor` is not used.
    """
    q, inverse_q = splat(one_at(table)), splat(one_at(table + 8))
    a, t, stride = scratch, scratch + runs * _ROW, 8 * (runs + PADDING)
    _first(x, a, table, runs, 4503599627370496.0 if kind & 1 else 0.0)
    odd = runs & 0x55555555 == 0
    m, rows = (2, runs // 2) if odd else (4, runs // 4)
    while rows > _NEAR:
        rows = rows // 4
        for g in range(m):
            _heads(a + 4 * g * rows * _ROW, a + 4 * g * rows * _ROW, rows * _ROW, table, m + g, runs)
        m = 4 * m
    for block in range(m):
        at, inside, rest = a + block * rows * _ROW, 1, rows
        while rest > 1:
            rest = rest // 4
            for g in range(inside):
                here = at + 4 * g * rest * _ROW
                _heads(here, here, rest * _ROW, table, (m + block) * inside + g, runs)
            inside = 4 * inside
        if rows >= LANES:
            _columns(a, t, block * rows, (block + 1) * rows, stride)
    if rows < LANES:
        _columns(a, t, 0, runs, stride)
    for lane in range(0, runs, LANES):
        tails, here = table + 8 * (PREFIX + 2 * runs + lane * _TAIL), t + 8 * lane
        w, w_by_q = read(tails), read(tails + _VECTOR)
        for at in range(here, here + RUN // 2 * stride, stride):
            low, high = read(at), times(read(at + RUN // 2 * stride), w, w_by_q, q)
            write(at, low + high)
            write(at + RUN // 2 * stride, low - high)
        inside = 2
        while inside < RUN:
            quarter = _MIDDLE // inside * stride
            for g in range(inside):
                a1, a2 = tails + (inside - 1 + g) * 2 * _VECTOR, tails + (2 * (inside + g) - 1) * 2 * _VECTOR
                w1, w1_by_q, w2, w2_by_q = read(a1), read(a1 + _VECTOR), read(a2), read(a2 + _VECTOR)
                w3, w3_by_q = read(a2 + 2 * _VECTOR), read(a2 + 3 * _VECTOR)
                for at in range(here + 4 * g * quarter, here + (4 * g + 1) * quarter, stride):
                    _forward_step(at, at, quarter, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q)
            inside *= 4
        if kind & 2:
            for c in range(0, RUN, LANES):
                _transposed_out(here + c * stride, stride, out + lane * _ROW + 8 * c, _ROW, q, inverse_q)
        else:
            for c in range(0, RUN, LANES):
                _transposed(here + c * stride, stride, out + lane * _ROW + 8 * c, _ROW)


@part
def _inverse_heads(a: int, step: int, table: int, row: int, runs: int) -> None:
    """Two layers on four runs of `step` bytes."""
    q, inverse_q, at = splat(one_at(table)), splat(one_at(table + 8)), table + 8 * (PREFIX + row)
    w1, w1_by_q = splat(one_at(at)), splat(one_at(at + 8 * runs))
    at += 8 * row
    w2, w2_by_q = splat(one_at(at)), splat(one_at(at + 8 * runs))
    w3, w3_by_q = splat(one_at(at + 8)), splat(one_at(at + 8 * runs + 8))
    for i in range(a, a + step, _VECTOR):
        _inverse_step(i, step, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q, inverse_q)


@native(*_ARGUMENTS)
def inverse(x: int, out: int, scratch: int, table: int, factor: int, runs: int, kind: int) -> None:
    """NTT form to coefficients modulo one prime (Gentleman and Sande), from address to address.

    Doubles below 2q or residues in; residues, or doubles below q, out (`kind`). `factor`: two doubles, w and w/q, for
    the w that makes w * N the factor by which the coefficients are multiplied.
    """
    q, inverse_q = splat(one_at(table)), splat(one_at(table + 8))
    w0, w0_by_q, lift = splat(one_at(factor)), splat(one_at(factor + 8)), splat(4503599627370496.0 if kind & 1 else 0.0)
    a, t, stride = scratch, scratch + runs * _ROW, 8 * (runs + PADDING)
    for lane in range(0, runs, LANES):
        tails, here = table + 8 * (PREFIX + 2 * runs + lane * _TAIL), t + 8 * lane
        for c in range(0, RUN, LANES):
            _transposed_in(x + lane * _ROW + 8 * c, _ROW, here + c * stride, stride, lift)
        inside = _MIDDLE
        while inside >= 2:
            quarter = _MIDDLE // inside * stride
            for g in range(inside):
                a1, a2 = tails + (inside - 1 + g) * 2 * _VECTOR, tails + (2 * (inside + g) - 1) * 2 * _VECTOR
                w1, w1_by_q, w2, w2_by_q = read(a1), read(a1 + _VECTOR), read(a2), read(a2 + _VECTOR)
                w3, w3_by_q = read(a2 + 2 * _VECTOR), read(a2 + 3 * _VECTOR)
                for at in range(here + 4 * g * quarter, here + (4 * g + 1) * quarter, stride):
                    _inverse_step(at, quarter, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q, inverse_q)
            inside //= 4
        w, w_by_q = read(tails), read(tails + _VECTOR)
        for at in range(here, here + RUN // 2 * stride, stride):
            low, high = read(at), read(at + RUN // 2 * stride)
            write(at, centred(low + high, q, inverse_q))
            write(at + RUN // 2 * stride, times(low - high, w, w_by_q, q))
    odd = runs & 0x55555555 == 0
    inner = runs // 2 if odd else runs // 4  # rows that stay together until the last pass
    rows = inner
    while rows > _NEAR:
        rows = rows // 4
    if rows < LANES:
        _rows(t, a, 0, runs, stride)
    for block in range(runs // rows):
        if rows >= LANES:
            _rows(t, a, block * rows, (block + 1) * rows, stride)
        rest, groups = 1, rows // 4
        while groups >= 1:
            for g in range(groups):
                here = a + (block * rows + 4 * g * rest) * _ROW
                _inverse_heads(here, rest * _ROW, table, (runs // rows + block) * groups + g, runs)
            rest, groups = 4 * rest, groups // 4
    while rows < inner:
        for g in range(runs // (4 * rows)):
            _inverse_heads(a + 4 * g * rows * _ROW, rows * _ROW, table, runs // (4 * rows) + g, runs)
        rows = 4 * rows
    half = runs * _ROW // 2
    if odd:
        at = table + 8 * (PREFIX + 1)
        w1, w1_by_q = splat(one_at(at)), splat(one_at(at + 8 * runs))
        for i in range(a, a + half, _VECTOR):
            low, high = read(i), read(i + half)
            write(i, low + high)
            write(i + half, times(low - high, w1, w1_by_q, q))
    else:
        _inverse_heads(a, half // 2, table, 1, runs)
    if kind & 2:
        for i in range(0, 2 * half, _VECTOR):
            write_residue(out + i, times(read(a + i), w0, w0_by_q, q), q)
    else:
        for i in range(0, 2 * half, _VECTOR):
            write(out + i, times(read(a + i), w0, w0_by_q, q))
