from __future__ import annotations

import numpy as np

from chainzoom.windows import NoiseField


def test_the_same_place_has_the_same_noise_however_it_is_read() -> None:
    field = NoiseField(7)
    whole = field.read(-40, 10, 100, 90, 4)
    part = field.read(13, 31, 70, 65, 4)
    np.testing.assert_array_equal(part, whole[21:55, 53:110])
    np.testing.assert_array_equal(part, NoiseField(7).read(13, 31, 70, 65, 4))
    assert not np.array_equal(part, NoiseField(8).read(13, 31, 70, 65, 4))


def test_it_is_standard_normal_and_does_not_repeat() -> None:
    noise = NoiseField(1).read(0, 0, 256, 256, 1)[..., 0]
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    assert abs(float((noise[:, :-32] * noise[:, 32:]).mean())) < 0.02
    assert abs(float((noise[:, :-1] * noise[:, 1:]).mean())) < 0.02
