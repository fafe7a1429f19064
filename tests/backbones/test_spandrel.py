"""The spandrel backbone on random-weight files of two architectures."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("spandrel")

from chainzoom.backbones.spandrel import Spandrel
from chainzoom.errors import OptionError, WeightsError
from chainzoom.images import psnr, resize
from tests.conftest import natural


def compact(scale: int = 4):
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(1)
    return Compact(num_feat=8, num_conv=2, upscale=scale).eval()


def esrgan():
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(2)
    network = ESRGAN(num_filters=8, num_blocks=1, scale=4).eval()
    with torch.no_grad():  # away from zero, so that the picture is neither black nor flat
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.dim() == 1 else 0.15))
    return network


def save(folder: Path, network, kind: str) -> Path:
    path = folder / f"model.{kind}"
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(network.state_dict(), path)
    else:
        torch.save({"params_ema": network.state_dict()}, path)
    return path


@pytest.mark.parametrize(("make", "name"), [(compact, "RealESRGAN Compact"), (esrgan, "ESRGAN")])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_the_network_runs_as_it_does_alone(tmp_path: Path, make, name: str, kind: str) -> None:
    network = make()
    backbone = Spandrel.from_files(save(tmp_path, network, kind), licence="CC0")
    image = natural(17, 22)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image.transpose(2, 0, 1)[None]))[0].numpy().transpose(1, 2, 0).clip(0, 1)
    got = backbone.upscale(image, "words", seed=5)
    assert got.shape == (68, 88, 3)
    assert got.dtype == np.float32
    assert psnr(got, expected) > 100
    assert expected.std() > 0.01
    assert backbone.architecture == name
    assert backbone.facts.scale == 4
    assert not backbone.facts.uses_prompt
    assert (backbone.facts.weights[0].licence, len(backbone.facts.weights[0].sha256)) == ("CC0", 64)


def test_another_scale_is_stated(tmp_path: Path) -> None:
    backbone = Spandrel.from_files(save(tmp_path, compact(2), "pth"))
    assert backbone.facts.scale == 2
    image = natural(16, 16)
    assert backbone.upscale(image).shape == (32, 32, 3)
    with torch.inference_mode():  # this network adds its input, enlarged: far from a plain constant
        assert psnr(backbone.upscale(image), np.clip(resize(image, (32, 32), "nearest"), 0, 1)) > 5


def test_a_restoration_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="give a super-resolution checkpoint"):
        Spandrel.from_files(save(tmp_path, compact(1), "pth"))


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        Spandrel.from_files(tmp_path / "nothing.pth")
    torch.save({"a": torch.zeros(3), "b": torch.zeros(2)}, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth is of no architecture"):
        Spandrel.from_files(tmp_path / "odd.pth")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds list"):
        Spandrel.from_files(tmp_path / "list.pth")
    whole = save(tmp_path, esrgan(), "safetensors")
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"cut\.safetensors is truncated"):
        Spandrel.from_files(tmp_path / "cut.safetensors")


class Payload:
    def __reduce__(self):
        return (print, ("code ran",))


def test_code_in_a_pickle_is_not_run(tmp_path: Path, capsys) -> None:
    torch.save({"params": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth holds code"):
        Spandrel.from_files(tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


def test_unknown_precision_and_device(tmp_path: Path) -> None:
    path = save(tmp_path, compact(), "pth")
    with pytest.raises(OptionError, match="dtype must be one of"):
        Spandrel.from_files(path, dtype="int4")
    with pytest.raises(OptionError, match="not known to torch"):
        Spandrel.from_files(path, device="warp")
