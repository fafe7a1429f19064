"""LPIPS on VGG16 against an independent reading of its definition, on random weights in the published layouts."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from chainzoom.errors import WeightsError
from chainzoom.training.sr.lpips import Lpips, random_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights():
    return random_weights(3)


@pytest.fixture(scope="module")
def distance(weights) -> Lpips:
    return Lpips(*weights, CPU)


def reference(weights, a, b) -> float:
    """With torchvision's own VGG16."""
    torchvision = pytest.importorskip("torchvision")
    convolutions, linear = weights
    vgg = torchvision.models.vgg16(weights=None).features.eval()
    vgg.load_state_dict({name.removeprefix("features."): tensor for name, tensor in convolutions.items()})
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1), torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    xs, total = [(a - shift) / scale, (b - shift) / scale], 0.0
    with torch.no_grad():
        for number, layer in enumerate(vgg):
            xs = [layer(x) for x in xs]
            if number in (3, 8, 15, 22, 29):
                level = (3, 8, 15, 22, 29).index(number)
                unit = [x / x.pow(2).sum(1, keepdim=True).sqrt().add(1e-10) for x in xs]
                total += float(((unit[0] - unit[1]) ** 2 * linear[f"lin{level}.model.1.weight"]).sum(1).mean())
    return total


def test_equals_the_definition(weights, distance) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand((2, 3, 32, 48), generator=generator) * 2 - 1 for _ in range(2))
    expected = reference(weights, a, b)
    assert expected > 0.001
    assert float(distance(a, b)) == pytest.approx(expected, rel=1e-4)


def test_equal_pictures_are_at_no_distance(distance) -> None:
    a = torch.rand(1, 3, 32, 32)
    assert float(distance(a, a)) == 0


def test_the_gradient_is_finite_even_where_nothing_fires(weights) -> None:
    convolutions, linear = weights
    dead = {name: torch.zeros_like(tensor) for name, tensor in convolutions.items()}
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    Lpips(dead, linear, CPU)(picture, torch.rand(1, 3, 32, 32)).backward()
    assert bool(torch.isfinite(picture.grad).all())
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    Lpips(convolutions, linear, CPU)(picture, torch.rand(1, 3, 32, 32)).backward()
    assert float(picture.grad.abs().sum()) > 0


def test_files_that_are_missing_or_wrong(tmp_path: Path, weights) -> None:
    convolutions, linear = weights
    with pytest.raises(WeightsError, match=r"set loss\.vgg"):
        Lpips.from_files("", "", CPU)
    with pytest.raises(WeightsError, match="is not there"):
        Lpips.from_files(str(tmp_path / "none.pt"), "", CPU)
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "small.pt")
    torch.save(linear, tmp_path / "linear.pt")
    with pytest.raises(WeightsError, match="no VGG16"):
        Lpips.from_files(str(tmp_path / "small.pt"), str(tmp_path / "linear.pt"), CPU)
    torch.save(convolutions, tmp_path / "vgg.pt")
    torch.save({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, tmp_path / "short.pt")
    with pytest.raises(WeightsError, match=r"lin1\.model"):
        Lpips.from_files(str(tmp_path / "vgg.pt"), str(tmp_path / "short.pt"), CPU)
    (tmp_path / "other.tar.gz").write_bytes(b"")
    with pytest.raises(WeightsError, match="keep the archive's name"):
        Lpips.from_files(str(tmp_path / "other.tar.gz"), "", CPU)
