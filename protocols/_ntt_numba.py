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

from numba import types
from numba.extending import overload

from ._numba_vectors import (
    LANES,
    double_constant,
    doubles,
    emitted,
    inlined,
    load,
    part,
    splat,
    store,
    transpose,
    vector_fma,
    word_constant,
    words,
)

__all__ = ["PADDING", "RUN", "centred", "forward", "from_words", "inverse", "product", "residue", "times", "to_words"]

RUN: Final = 128  # coefficients in a row, as in `ring`
PADDING: Final = 8  # doubles after each transposed row, so that rows do not fall on the same cache lines
_ROUND: Final = 6755399441055744.0  # 1.5 * 2^52: adding and subtracting it rounds to the nearest integer
_NEAR: Final = 32  # rows of doubles that the nearest cache holds
_MIDDLE: Final = 32
_TAIL: Final = 2 * (RUN - 1)  # doubles of twiddle factors for each row: every layer's w, and its w/q


def _reduced(builder: Any, high: Any, quotient: Any, q: Any) -> Any:
    """high - q * (quotient - _ROUND): the quotient was rounded by adding _ROUND."""
    return vector_fma(builder, builder.fsub(double_constant(_ROUND), quotient), q, high)


@emitted(doubles, doubles, doubles, doubles, doubles)
def times(builder: Any, x: Any, w: Any, w_by_q: Any, q: Any) -> Any:
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


@emitted(doubles, doubles, doubles, doubles)
def centred(builder: Any, x: Any, q: Any, inverse_q: Any) -> Any:
    """The representative of x in about [-q/2, q/2]. Arguments: x, q, 1/q."""
    return _reduced(builder, x, vector_fma(builder, x, inverse_q, double_constant(_ROUND)), q)


@emitted(doubles, doubles, doubles)
def residue(builder: Any, x: Any, q: Any) -> Any:
    """x in (-q, q) -> the residue in [0, q), still as doubles."""
    below = builder.fcmp_ordered("<", x, double_constant(0.0))
    return builder.select(below, builder.fadd(x, q), x)


@emitted(doubles, words)
def from_words(builder: Any, x: Any) -> Any:
    """Words below 2^52 -> doubles."""
    bits = builder.or_(x, word_constant(0x4330000000000000))
    return builder.fsub(builder.bitcast(bits, double_constant(0.0).type), double_constant(2.0**52))


@emitted(words, doubles)
def to_words(builder: Any, x: Any) -> Any:
    """Doubles that are integers in [0, 2^52) -> words."""
    bits = builder.bitcast(builder.fadd(x, double_constant(2.0**52)), word_constant(0).type)
    return builder.and_(bits, word_constant(0x000FFFFFFFFFFFFF))


def _as_doubles(x: Any) -> Any:
    """Doubles stay, words below 2^52 are converted."""


@overload(_as_doubles, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _as_doubles_rule(x: Any) -> Any:
    if x is doubles:
        return lambda x: x
    return lambda x: from_words(x)


def _put(out: Any, at: int, x: Any, q: Any, inverse_q: Any) -> None:
    """Into words: the residue. Into doubles: x as it is."""


@overload(_put, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _put_rule(out: Any, at: Any, x: Any, q: Any, inverse_q: Any) -> Any:
    if out.dtype == types.float64:
        return lambda out, at, x, q, inverse_q: store(out, at, x)
    return lambda out, at, x, q, inverse_q: store(out, at, to_words(residue(centred(x, q, inverse_q), q)))


@inlined
def _put_rows(out: Any, at: int, step: int, v: Any, q: Any, inverse_q: Any) -> None:
    _put(out, at, v[0], q, inverse_q)
    _put(out, at + step, v[1], q, inverse_q)
    _put(out, at + 2 * step, v[2], q, inverse_q)
    _put(out, at + 3 * step, v[3], q, inverse_q)
    _put(out, at + 4 * step, v[4], q, inverse_q)
    _put(out, at + 5 * step, v[5], q, inverse_q)
    _put(out, at + 6 * step, v[6], q, inverse_q)
    _put(out, at + 7 * step, v[7], q, inverse_q)


@inlined
def _store_rows(out: Any, at: int, step: int, v: Any) -> None:
    store(out, at, _as_doubles(v[0]))
    store(out, at + step, _as_doubles(v[1]))
    store(out, at + 2 * step, _as_doubles(v[2]))
    store(out, at + 3 * step, _as_doubles(v[3]))
    store(out, at + 4 * step, _as_doubles(v[4]))
    store(out, at + 5 * step, _as_doubles(v[5]))
    store(out, at + 6 * step, _as_doubles(v[6]))
    store(out, at + 7 * step, _as_doubles(v[7]))


@inlined
def _forward_2(x: Any, x_at: int, a: Any, at: int, step: int, w: Any, w_by_q: Any, q: Any) -> None:
    x0, v = _as_doubles(load(x, x_at + at)), times(_as_doubles(load(x, x_at + at + step)), w, w_by_q, q)
    store(a, at, x0 + v)
    store(a, at + step, x0 - v)


@inlined
def _forward_4(
    x: Any,
    x_at: int,
    a: Any,
    at: int,
    step: int,
    w1: Any,
    w1_by_q: Any,
    w2: Any,
    w2_by_q: Any,
    w3: Any,
    w3_by_q: Any,
    q: Any,
) -> None:
    x0, x1 = _as_doubles(load(x, x_at)), _as_doubles(load(x, x_at + step))
    v2 = times(_as_doubles(load(x, x_at + 2 * step)), w1, w1_by_q, q)
    v3 = times(_as_doubles(load(x, x_at + 3 * step)), w1, w1_by_q, q)
    y1, y3 = times(x1 + v3, w2, w2_by_q, q), times(x1 - v3, w3, w3_by_q, q)
    y0, y2 = x0 + v2, x0 - v2
    store(a, at, y0 + y1)
    store(a, at + step, y0 - y1)
    store(a, at + 2 * step, y2 + y3)
    store(a, at + 3 * step, y2 - y3)


@inlined
def _inverse_2(a: Any, at: int, step: int, w: Any, w_by_q: Any, q: Any, inverse_q: Any) -> None:
    x, y = load(a, at), load(a, at + step)
    store(a, at, centred(x + y, q, inverse_q))
    store(a, at + step, times(x - y, w, w_by_q, q))


@inlined
def _inverse_4(
    a: Any,
    at: int,
    step: int,
    w1: Any,
    w1_by_q: Any,
    w2: Any,
    w2_by_q: Any,
    w3: Any,
    w3_by_q: Any,
    q: Any,
    inverse_q: Any,
) -> None:
    x0, x1, x2, x3 = load(a, at), load(a, at + step), load(a, at + 2 * step), load(a, at + 3 * step)
    y0, y1 = x0 + x1, times(x0 - x1, w2, w2_by_q, q)
    y2, y3 = x2 + x3, times(x2 - x3, w3, w3_by_q, q)
    store(a, at, centred(y0 + y2, q, inverse_q))
    store(a, at + step, y1 + y3)
    store(a, at + 2 * step, times(y0 - y2, w1, w1_by_q, q))
    store(a, at + 3 * step, times(y1 - y3, w1, w1_by_q, q))


@inlined
def _heads(
    x: Any, x_at: int, a: Any, at: int, step: int, row: int, j: int, heads: Any, heads_by_q: Any, q: Any
) -> None:  # fmt: skip
    """Two layers on four runs of `step` coefficients."""
    w1, w1_by_q = splat(heads[j, row]), splat(heads_by_q[j, row])
    w2, w2_by_q = splat(heads[j, 2 * row]), splat(heads_by_q[j, 2 * row])
    w3, w3_by_q = splat(heads[j, 2 * row + 1]), splat(heads_by_q[j, 2 * row + 1])
    for i in range(0, step, LANES):
        _forward_4(x, x_at + i, a, at + i, step, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q)


@part
def forward(
    x: Any, x_at: int, out: Any, out_at: int, a: Any, t: Any, j: int, runs: int, moduli: Any, inverses: Any,
    heads: Any, heads_by_q: Any, tails: Any,
) -> None:  # fmt: skip
    """Coefficients to NTT form modulo prime j (Cooley and Tukey). Doubles below q or residues in; residues, or doubles
    below 11q, out. `tile` holds 4096 doubles, `t` 128 rows of `runs` + PADDING.
    """
    q, inverse_q = splat(moduli[j]), splat(inverses[j])
    stride, rows, m = runs + PADDING, runs, 1
    if runs & 0x55555555 == 0:  # an odd number of layers between rows
        rows, m = rows // 2, 2
        w, w_by_q = splat(heads[j, 1]), splat(heads_by_q[j, 1])
        for i in range(0, rows * RUN, LANES):
            _forward_2(x, x_at, a, i, rows * RUN, w, w_by_q, q)
    else:
        rows, m = rows // 4, 4
        _heads(x, x_at, a, 0, rows * RUN, 1, j, heads, heads_by_q, q)
    while rows > _NEAR:
        rows = rows // 4
        for g in range(m):
            _heads(a, 4 * g * rows * RUN, a, 4 * g * rows * RUN, rows * RUN, m + g, j, heads, heads_by_q, q)
        m = 4 * m
    for block in range(m):
        at, inside, part = block * rows * RUN, 1, rows
        while part > 1:
            part = part // 4
            for g in range(inside):
                here = at + 4 * g * part * RUN
                _heads(a, here, a, here, part * RUN, (m + block) * inside + g, j, heads, heads_by_q, q)
            inside = 4 * inside
        if rows < LANES:
            continue
        for r in range(block * rows, (block + 1) * rows, LANES):
            for c in range(0, RUN, LANES):
                _store_rows(t, c * stride + r, stride, transpose(a, r * RUN + c, RUN))
    if rows < LANES:
        for r in range(0, runs, LANES):
            for c in range(0, RUN, LANES):
                _store_rows(t, c * stride + r, stride, transpose(a, r * RUN + c, RUN))
    for lane in range(0, runs, LANES):
        table = (j * runs + lane) * _TAIL
        w, w_by_q = load(tails, table), load(tails, table + LANES)
        for c in range(RUN // 2):
            _forward_2(t, 0, t, c * stride + lane, (RUN // 2) * stride, w, w_by_q, q)
        inside = 2
        while inside < RUN:
            quarter = _MIDDLE // inside
            for g in range(inside):
                a1, a2 = table + (inside - 1 + g) * 2 * LANES, table + (2 * (inside + g) - 1) * 2 * LANES
                w1, w1_by_q = load(tails, a1), load(tails, a1 + LANES)
                w2, w2_by_q = load(tails, a2), load(tails, a2 + LANES)
                w3, w3_by_q = load(tails, a2 + 2 * LANES), load(tails, a2 + 3 * LANES)
                for c in range(4 * g * quarter, (4 * g + 1) * quarter):
                    at = c * stride + lane
                    _forward_4(t, at, t, at, quarter * stride, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q)
            inside *= 4
        for c in range(0, RUN, LANES):
            _put_rows(out, out_at + lane * RUN + c, RUN, transpose(t, c * stride + lane, stride), q, inverse_q)


@inlined
def _inverse_heads(
    a: Any, at: int, step: int, row: int, j: int, heads: Any, heads_by_q: Any, q: Any, inverse_q: Any
) -> None:  # fmt: skip
    """Two layers on four runs of `step` coefficients."""
    w1, w1_by_q = splat(heads[j, row]), splat(heads_by_q[j, row])
    w2, w2_by_q = splat(heads[j, 2 * row]), splat(heads_by_q[j, 2 * row])
    w3, w3_by_q = splat(heads[j, 2 * row + 1]), splat(heads_by_q[j, 2 * row + 1])
    for i in range(at, at + step, LANES):
        _inverse_4(a, i, step, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q, inverse_q)


@part
def inverse(
    x: Any, x_at: int, out: Any, out_at: int, a: Any, t: Any, j: int, runs: int, moduli: Any, inverses: Any,
    heads: Any, heads_by_q: Any, tails: Any, factor: float, factor_by_q: float,
) -> None:  # fmt: skip
    """NTT form to `factor` * N times the coefficients modulo prime j (Gentleman and Sande). Doubles below 2q or
    residues in; residues, or doubles below q, out.
    """
    q, inverse_q = splat(moduli[j]), splat(inverses[j])
    w0, w0_by_q = splat(factor), splat(factor_by_q)
    stride = runs + PADDING
    for lane in range(0, runs, LANES):
        table = (j * runs + lane) * _TAIL
        for c in range(0, RUN, LANES):
            _store_rows(t, c * stride + lane, stride, transpose(x, x_at + lane * RUN + c, RUN))
        inside = _MIDDLE
        while inside >= 2:
            quarter = _MIDDLE // inside
            for g in range(inside):
                a1, a2 = table + (inside - 1 + g) * 2 * LANES, table + (2 * (inside + g) - 1) * 2 * LANES
                w1, w1_by_q = load(tails, a1), load(tails, a1 + LANES)
                w2, w2_by_q = load(tails, a2), load(tails, a2 + LANES)
                w3, w3_by_q = load(tails, a2 + 2 * LANES), load(tails, a2 + 3 * LANES)
                for c in range(4 * g * quarter, (4 * g + 1) * quarter):
                    at = c * stride + lane
                    _inverse_4(t, at, quarter * stride, w1, w1_by_q, w2, w2_by_q, w3, w3_by_q, q, inverse_q)
            inside //= 4
        w, w_by_q = load(tails, table), load(tails, table + LANES)
        for c in range(RUN // 2):
            _inverse_2(t, c * stride + lane, (RUN // 2) * stride, w, w_by_q, q, inverse_q)
    odd = runs & 0x55555555 == 0
    inner = runs // 2 if odd else runs // 4  # rows that stay together until the last pass
    rows = inner
    while rows > _NEAR:
        rows = rows // 4
    for block in range(runs // rows):
        if rows >= LANES:
            for r in range(block * rows, (block + 1) * rows, LANES):
                for c in range(0, RUN, LANES):
                    _store_rows(a, r * RUN + c, RUN, transpose(t, c * stride + r, stride))
        elif block % (LANES // rows) == 0:
            for c in range(0, RUN, LANES):
                _store_rows(a, block * rows * RUN + c, RUN, transpose(t, c * stride + block * rows, stride))
        part, groups = 1, rows // 4
        while groups >= 1:
            for g in range(groups):
                at = (block * rows + 4 * g * part) * RUN
                _inverse_heads(
                    a, at, part * RUN, (runs // rows + block) * groups + g, j, heads, heads_by_q, q, inverse_q
                )
            part, groups = 4 * part, groups // 4
    while rows < inner:
        for g in range(runs // (4 * rows)):
            at, row = 4 * g * rows * RUN, runs // (4 * rows) + g
            _inverse_heads(a, at, rows * RUN, row, j, heads, heads_by_q, q, inverse_q)
        rows = 4 * rows
    n, half, quarter = runs * RUN, runs * RUN // 2, runs * RUN // 4
    w1, w1_by_q = splat(heads[j, 1]), splat(heads_by_q[j, 1])
    if odd:
        for i in range(0, half, LANES):
            x0, x1 = load(a, i), load(a, i + half)
            _put_once(out, out_at + i, times(x0 + x1, w0, w0_by_q, q), q)
            _put_once(out, out_at + i + half, times(times(x0 - x1, w1, w1_by_q, q), w0, w0_by_q, q), q)
    else:
        _inverse_heads(a, 0, quarter, 1, j, heads, heads_by_q, q, inverse_q)
        for i in range(0, n, LANES):
            _put_once(out, out_at + i, times(load(a, i), w0, w0_by_q, q), q)


def _put_once(out: Any, at: int, x: Any, q: Any) -> None:
    """As `_put`, for an x already in (-q, q)."""


@overload(_put_once, strict=False)  # type: ignore[untyped-decorator, unused-ignore]
def _put_once_rule(out: Any, at: Any, x: Any, q: Any) -> Any:
    if out.dtype == types.float64:
        return lambda out, at, x, q: store(out, at, x)
    return lambda out, at, x, q: store(out, at, to_words(residue(x, q)))
