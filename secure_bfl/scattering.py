"""Scattering features of small images: fixed wavelets, no training, so no record of anybody is in them.

Images are averaged moduli of Morlet wavelet transforms of orders 0, 1 and 2 (Bruna, Mallat 2013, "Invariant scattering
convolution networks"), with the filters of Kymatio (Andreux et al. 2020, JMLR 21/60); then each row is normalised in
groups of its own channels, as in Tramer, Boneh 2021 ("Differentially private learning needs better features"), and
projected by signs that a hash of a public text gives. Everything is a function of one image alone: it costs no privacy.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["CHANNELS", "PROJECTED", "SIDE", "Wavelets", "features", "project"]

SIDE: Final = 28
"""Height and width of an image."""

PROJECTED: Final = 768
"""Features after the projection."""

_SCALES: Final = 2  # octaves J: the averages are over 2^J pixels
_ANGLES: Final = 8
_PADDED: Final = ((SIDE + 2**_SCALES) // 2**_SCALES + 1) * 2**_SCALES
_MARGIN: Final = (_PADDED - SIDE) // 2
_MAPS: Final = SIDE // 2**_SCALES
CHANNELS: Final = 1 + _SCALES * _ANGLES + _ANGLES**2 * _SCALES * (_SCALES - 1) // 2
"""Maps of 7 x 7 averages that one image has: 1, 16 and 64 of the three orders."""

_GROUP: Final = 3  # channels normalised together
_CHUNK: Final = 500  # images at a time

Float32Array = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complexfloating[Any, Any]]


def _gabor(sigma: float, angle: float, frequency: float, slant: float) -> npt.NDArray[np.complex128]:
    """A complex plane wave under a Gaussian, made periodic on the padded square."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    curvature = turn @ np.diag([1.0, slant * slant]) @ turn.T / (2 * sigma * sigma)
    result = np.zeros((_PADDED, _PADDED), np.complex128)
    for down in range(-2, 3):
        for across in range(-2, 3):
            x, y = np.mgrid[down * _PADDED : (down + 1) * _PADDED, across * _PADDED : (across + 1) * _PADDED]
            bell = curvature[0, 0] * x * x + (curvature[0, 1] + curvature[1, 0]) * x * y + curvature[1, 1] * y * y
            result += np.exp(-bell + 1j * frequency * (x * cosine + y * sine))
    normalised: npt.NDArray[np.complex128] = result / (2 * np.pi * sigma * sigma / slant)
    return normalised


def _morlet(scale: int, angle: float) -> Float32Array:
    """A wavelet of zero mean, in the frequency domain, where it is real."""
    sigma, frequency, slant = 0.8 * 2**scale, 0.75 * np.pi / 2**scale, 4.0 / _ANGLES
    wave, bell = _gabor(sigma, angle, frequency, slant), _gabor(sigma, angle, 0.0, slant)
    return np.real(np.fft.fft2(wave - bell * (wave.sum() / bell.sum()))).astype(np.float32)


def _fold(spectrum: Spectrum, times: int) -> Spectrum:
    """The spectrum of every `times`-th sample in both directions."""
    *batch, height, width = spectrum.shape
    parts = spectrum.reshape(*batch, times, height // times, times, width // times)
    folded: Spectrum = parts.mean(axis=(-4, -2))
    return folded


def _periodised(filter_: Float32Array, times: int) -> Float32Array:
    """A filter on the square whose side is `times` smaller."""
    height, width = filter_.shape
    result: Float32Array = filter_.reshape(times, height // times, times, width // times).sum(axis=(0, 2))
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Wavelets:
    """The filters: `waves[scale][angle]` and the averaging one, on the padded square, in the frequency domain."""

    waves: tuple[tuple[Float32Array, ...], ...]
    average: Float32Array

    @classmethod
    def make(cls) -> "Wavelets":
        """Compute them; they are the same everywhere, up to the last bits of sine and exponential."""
        angles = [(_ANGLES - _ANGLES // 2 - 1 - turn) * np.pi / _ANGLES for turn in range(_ANGLES)]
        average = np.real(np.fft.fft2(_gabor(0.8 * 2 ** (_SCALES - 1), 0.0, 0.0, 1.0))).astype(np.float32)
        return cls(tuple(tuple(_morlet(scale, angle) for angle in angles) for scale in range(_SCALES)), average)

    def scatter(self, images: Float32Array) -> Float32Array:
        """Shapes: images float32[n, 28, 28]; result float32[n, 81, 7, 7]. Units: brightness from 0 to 1."""
        if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
            raise ValueError(f"images must have shape (n, {SIDE}, {SIDE}), not {images.shape}")
        padded = np.pad(images, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)), mode="reflect")
        spectrum = np.fft.fft2(padded.astype(np.float32))
        maps, second = [self._averaged(spectrum, 0)], []
        for scale, waves in enumerate(self.waves):
            for wave in waves:
                modulus = np.fft.fft2(np.abs(np.fft.ifft2(_fold(spectrum * wave, 2**scale))))
                maps.append(self._averaged(modulus, scale))
                for finer in range(scale + 1, _SCALES):
                    for other in self.waves[finer]:
                        product = modulus * _periodised(other, 2**scale)
                        moduli = np.abs(np.fft.ifft2(_fold(product, 2 ** (finer - scale))))
                        second.append(self._averaged(np.fft.fft2(moduli), finer))
        return np.stack(maps + second, axis=1)

    def _averaged(self, spectrum: Spectrum, scale: int) -> Float32Array:
        """The local means of a map given at a resolution of 2^scale, without the padding."""
        low = _fold(spectrum * _periodised(self.average, 2**scale), 2 ** (_SCALES - scale))
        edge = _MARGIN // 2**_SCALES
        return np.real(np.fft.ifft2(low))[:, edge : edge + _MAPS, edge : edge + _MAPS].astype(np.float32)


def _normalised(maps: Float32Array) -> Float32Array:
    """Each row's channels, three at a time, to mean 0 and variance 1: a function of that row alone."""
    groups = maps.reshape(len(maps), CHANNELS // _GROUP, -1)
    centred = groups - groups.mean(axis=2, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=2, keepdims=True) + np.float32(1e-5))
    scaled: Float32Array = (centred / spread).reshape(len(maps), -1).astype(np.float32)
    return scaled


def _signs(rows: int) -> Float32Array:
    """A public matrix of signs, [rows, 768]: the bits of a hash."""
    stream = hashlib.shake_256(b"secure-bfl/scattering/v1").digest(rows * PROJECTED // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8)).reshape(rows, PROJECTED)
    return np.where(bits == 1, np.float32(1), np.float32(-1)).astype(np.float32)


def project(rows: Float32Array) -> Float32Array:
    """Rows times the public signs, each then scaled to length 1. Shapes: float32[n, any] to float32[n, 768]."""
    mixed = rows @ _signs(rows.shape[1])
    length = np.linalg.norm(mixed, axis=1, keepdims=True)
    result: Float32Array = (mixed / np.where(length == 0, 1, length)).astype(np.float32)
    return result


def features(images: npt.NDArray[np.uint8]) -> Float32Array:
    """The features of images, about two minutes for 70,000 on one core.

    Shapes: images uint8[n, 28, 28]; result float32[n, 768], rows of length 1.
    """
    wavelets, parts = Wavelets.make(), []
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK].astype(np.float32) / np.float32(255)
        parts.append(project(_normalised(wavelets.scatter(part))))
    return np.concatenate(parts) if parts else np.empty((0, PROJECTED), np.float32)
