"""Scattering features: a function of one image alone, the right wavelets, the same everywhere."""

import hashlib

import numpy as np
import pytest

from secure_bfl.scattering import CHANNELS, PROJECTED, SIDE, Wavelets, features, project


@pytest.fixture(scope="module")
def images() -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    noise = np.frombuffer(hashlib.shake_256(b"images").digest(6 * SIDE * SIDE), np.uint8).reshape(6, SIDE, SIDE).copy()
    noise[4] = 0
    noise[5] = 200
    return noise


@pytest.fixture(scope="module")
def wavelets() -> Wavelets:
    return Wavelets.make()


def test_wavelets_have_no_mean_and_the_average_keeps_it(wavelets: Wavelets) -> None:
    assert [len(waves) for waves in wavelets.waves] == [8, 8]
    for waves in wavelets.waves:
        for wave in waves:
            assert abs(wave[0, 0]) < 1e-5
            assert wave.max() > 0.5
    assert wavelets.average[0, 0] == pytest.approx(1, abs=1e-3)


def test_shapes_and_a_constant_image(wavelets: Wavelets) -> None:
    flat = wavelets.scatter(np.full((2, SIDE, SIDE), 0.5, np.float32))
    assert flat.shape == (2, CHANNELS, 7, 7)
    assert CHANNELS == 81
    assert np.allclose(flat[:, 0], 0.5, atol=1e-3), "its average"
    assert np.abs(flat[:, 1:]).max() < 1e-3, "and nothing that oscillates"


def test_a_wave_answers_to_its_own_angle_and_scale(wavelets: Wavelets) -> None:
    across = np.cos(0.75 * np.pi * np.arange(SIDE))[np.newaxis, :] * np.ones((SIDE, 1))
    energy = wavelets.scatter((across[np.newaxis] + 1).astype(np.float32) / 2)[0, 1:17].mean(axis=(1, 2))
    turned = wavelets.scatter((across.T[np.newaxis] + 1).astype(np.float32) / 2)[0, 1:17].mean(axis=(1, 2))
    assert energy.argmax() < 8, "the fine scale"
    assert turned.argmax() < 8
    assert abs(int(energy.argmax()) - int(turned.argmax())) == 4, "a quarter turn is four of eight angles"


def test_what_is_measured_is_almost_blind_to_a_shift_of_one_pixel(wavelets: Wavelets) -> None:
    image = np.zeros((1, SIDE, SIDE), np.float32)
    image[0, 10:18, 10:18] = 1
    before, after = wavelets.scatter(image), wavelets.scatter(np.roll(image, 1, axis=2))
    assert np.linalg.norm(before - after) < 0.35 * np.linalg.norm(before)
    assert np.linalg.norm(image - np.roll(image, 1, axis=2)) > 0.45 * np.linalg.norm(image)


def test_rows_do_not_depend_on_each_other(images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    together = features(images)
    assert together.shape == (6, PROJECTED)
    assert together.dtype == np.float32
    for i in range(6):
        assert np.allclose(features(images[i : i + 1])[0], together[i], atol=1e-5)
    lengths = np.linalg.norm(together, axis=1)
    assert lengths[4] == 0, "nothing is made of an empty image"
    assert np.allclose(np.delete(lengths, 4), 1, atol=1e-5)
    assert features(images[:0]).shape == (0, PROJECTED)


def test_the_projection_keeps_angles() -> None:
    rows = np.frombuffer(hashlib.shake_256(b"rows").digest(4 * 3969), np.int8).reshape(4, 3969).astype(np.float32)
    rows[1] = rows[0] + 0.5 * rows[2]
    mixed = project(rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.abs(mixed @ mixed.T - unit @ unit.T).max() < 0.15
    assert np.array_equal(project(np.zeros((1, 9), np.float32)), np.zeros((1, PROJECTED)))


@pytest.mark.parametrize("shape", [(2, 28, 27), (28, 28), (1, 32, 32)])
def test_other_images_are_refused(wavelets: Wavelets, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images must have shape"):
        wavelets.scatter(np.zeros(shape, np.float32))
