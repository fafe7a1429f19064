import numpy as np
import pytest

from chainzoom.backbones.base import Backbone
from chainzoom.backbones.interpolation import Bicubic, Lanczos, Nearest
from chainzoom.images import resize


@pytest.mark.parametrize(("backbone", "name"), [(Nearest(), "nearest"), (Bicubic(), "bicubic"), (Lanczos(), "lanczos")])
def test_enlarges_by_four_with_its_kernel_and_stays_in_range(backbone, name):
    image = np.random.default_rng(0).integers(0, 2, (5, 7, 3)).astype(np.float32)
    made = backbone.upscale(image, "words", seed=9)
    assert isinstance(backbone, Backbone)
    assert (backbone.facts.name, backbone.facts.scale, backbone.facts.uses_prompt, backbone.facts.stochastic) == (name, 4, False, False)
    assert backbone.facts.weights == ()
    assert made.shape == (20, 28, 3)
    assert made.dtype == np.float32
    assert np.array_equal(made, np.clip(resize(image, (28, 20), name), 0, 1))


def test_nearest_repeats_pixels():
    image = np.random.default_rng(1).random((3, 2, 3), dtype=np.float32)
    assert np.array_equal(Nearest().upscale(image), image.repeat(4, 0).repeat(4, 1))


def test_overshoot_is_clipped():
    step = np.zeros((8, 8, 3), np.float32)
    step[:, 4:] = 1
    assert resize(step, (32, 32), "bicubic").max() > 1
    assert Bicubic().upscale(step).max() == 1


@pytest.mark.parametrize("backbone", [Nearest(), Bicubic(), Lanczos()])
def test_one_pixel(backbone):
    assert np.allclose(backbone.upscale(np.full((1, 1, 3), 0.25, np.float32)), 0.25)
