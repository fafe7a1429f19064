import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainzoom.backbones import realesrgan, runtimes
from chainzoom.backbones.base import Backbone
from chainzoom.backbones.ncnn_files import flops, read
from chainzoom.backbones.realesrgan import MODULE, PACKAGE, STEM, RealESRGAN
from chainzoom.errors import BackendError, OptionError, WeightsError
from chainzoom.images import psnr, resize
from chainzoom.weights import package_file, sha256_of


def photo(height, width, seed=0):
    """Smooth colour with a few edges: nothing that the network has never seen."""
    rng = np.random.default_rng(seed)
    base = resize(rng.random((4, 5, 3), dtype=np.float32), (width, height), "bicubic")
    base[height // 3 :, width // 3 :] *= np.float32(0.5)
    return np.clip(base, 0, 1)


@pytest.fixture(scope="module")
def files():
    return package_file(PACKAGE, MODULE, f"{STEM}.param")[0], package_file(PACKAGE, MODULE, f"{STEM}.bin")[0]


@pytest.fixture(scope="module")
def backbone():
    return RealESRGAN()


def test_facts(backbone, files):
    facts = backbone.facts
    assert isinstance(backbone, Backbone)
    assert (facts.name, facts.scale, facts.multiple, facts.min_size, facts.input) == ("realesrgan", 4, 1, 1, "lowres")
    assert not facts.uses_prompt
    assert not facts.stochastic
    assert {weights.sha256 for weights in facts.weights} == {sha256_of(file) for file in files}
    assert all(weights.revision.startswith(PACKAGE) and "BSD-3" in weights.licence for weights in facts.weights)


def test_network_as_published(files):
    layers = read(*files)
    parameters = sum(layer.kernel.size + layer.bias.size for layer in layers if layer.kernel is not None)
    assert parameters == 16_697_987
    assert flops(layers, 128, 128) == pytest.approx(0.59e12, rel=0.01)
    assert flops(layers, 64, 128) * 2 == flops(layers, 128, 128)


def test_same_bytes_again_and_after_other_sizes(backbone):
    image = photo(24, 20)
    first = backbone.upscale(image)
    assert first.shape == (96, 80, 3)
    assert first.dtype == np.float32
    assert 0 <= first.min() <= first.max() <= 1
    assert backbone.upscale(image, "words", seed=3).tobytes() == first.tobytes()
    backbone.upscale(photo(9, 33, 1))
    assert backbone.upscale(image).tobytes() == first.tobytes()
    assert RealESRGAN().upscale(image).tobytes() == first.tobytes()


def test_read_only_and_strided_input(backbone):
    image = photo(16, 32)
    image.flags.writeable = False
    half = image[:, ::2]
    assert np.array_equal(backbone.upscale(half), backbone.upscale(half.copy()))


def test_agrees_with_the_picture_shrunk_back(backbone):
    image = photo(32, 32)
    assert psnr(resize(backbone.upscale(image), (32, 32), "box"), image) > 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2)])
def test_tiny_input(backbone, shape):
    made = backbone.upscale(np.full((*shape, 3), 0.5, np.float32))
    assert made.shape == (4 * shape[0], 4 * shape[1], 3)
    assert np.isfinite(made).all()


def test_tiles_join_without_a_seam(backbone, monkeypatch):
    image = photo(20, 104)
    whole = backbone.upscale(image)
    monkeypatch.setattr(realesrgan, "TILE", 68)
    tiled = backbone.upscale(image)
    assert not np.array_equal(tiled, whole)
    # Tiles 0..68 and 36..104, their join at 52. The network sees far, so a tile differs a little from the whole everywhere.
    difference = np.abs(tiled - whole)
    assert difference[:, : 4 * 36].max() < 0.08
    assert difference[:, 4 * 68 :].max() < 0.08
    assert psnr(tiled, whole) > 35
    step = np.abs(np.diff(tiled, axis=1)).max(axis=(0, 2))[4 * 46 : 4 * 58]
    smooth = np.abs(np.diff(whole, axis=1)).max(axis=(0, 2))[4 * 46 : 4 * 58]
    assert (step - smooth).max() < 0.02


def test_values_are_not_rounded_to_eight_bits(backbone):
    assert np.unique(backbone.upscale(photo(24, 24))).size > 2000


@pytest.mark.parametrize("runtime", ["openvino-bf16", "openvino-f32"])
def test_runtimes_agree_with_ncnn(runtime):
    pytest.importorskip("ncnn")
    image = photo(24, 24)
    expected = RealESRGAN(runtime="ncnn").upscale(image)
    assert psnr(RealESRGAN(runtime=runtime).upscale(image), expected) > (80 if runtime.endswith("f32") else 45)


def test_choice_of_runtime(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    assert not runtimes.has_bf16(cpuinfo)
    cpuinfo.write_text("processor : 0\nflags : fpu avx512f avx512bw\n")
    assert not runtimes.has_bf16(cpuinfo)
    cpuinfo.write_text("processor : 0\nflags : fpu avx512f avx512_bf16\n")
    assert runtimes.has_bf16(cpuinfo)
    monkeypatch.setattr(runtimes, "has_bf16", lambda: False)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: object())
    assert RealESRGAN().runtime == "ncnn"
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert RealESRGAN().runtime == "openvino-f32"
    monkeypatch.setattr(runtimes, "has_bf16", lambda: True)
    assert RealESRGAN().runtime == "openvino-bf16"


@pytest.mark.parametrize(("module", "runtime"), [("openvino", "openvino-bf16"), ("ncnn", "ncnn")])
def test_runtime_not_installed(module, runtime, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=f"pip install {module}"):
        RealESRGAN(runtime=runtime).upscale(photo(4, 4))


def test_refuses_unknown_runtime_and_no_threads():
    with pytest.raises(OptionError, match="openvino-bf16"):
        RealESRGAN(runtime="cuda")
    with pytest.raises(OptionError, match="at least 1 thread"):
        RealESRGAN(threads=0)


def _broken(kind, files, folder):
    param, weights = folder / "x.param", folder / "x.bin"
    text, blob = files[0].read_text(), files[1].read_bytes()
    match kind:
        case "cut":
            blob = blob[: len(blob) // 2]
        case "long":
            blob += b"\0" * 8
        case "noise":
            blob = bytes(255 - byte for byte in blob[:4096]) + blob[4096:]
        case "infinite":
            blob = blob[:4] + b"\x00\x7c" + blob[6:]
        case "empty":
            blob = b""
        case "text":
            text = text[: len(text) // 2]
        case "magic":
            text = "hello\n"
        case "kind":
            text = text.replace("Interp ", "Warp   ")
        case "setting":
            text = text.replace("1=3 4=1", "1=5 4=1", 1)
    param.write_text(text)
    weights.write_bytes(blob)
    return param, weights


@pytest.mark.parametrize("runtime", ["openvino-bf16", "ncnn"])
@pytest.mark.parametrize("kind", ["cut", "long", "noise", "infinite", "empty", "text", "magic", "kind", "setting"])
def test_broken_weights(kind, runtime, files, tmp_path):
    broken = _broken(kind, files, tmp_path)
    with pytest.raises(WeightsError, match="reinstall") as caught:
        RealESRGAN(runtime=runtime, files=broken).upscale(photo(4, 4))
    assert "\n" not in str(caught.value)


def test_missing_weights(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.param"):
        RealESRGAN(files=(tmp_path / "absent.param", tmp_path / "absent.bin")).upscale(photo(4, 4))


def test_quiet_light_and_without_network():
    code = """
import json, sys
heard = []
sys.addaudithook(lambda event, _: heard.append(event) if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen") else None)
import numpy as np
from chainzoom.backbones.realesrgan import RealESRGAN
RealESRGAN(runtime="openvino-f32").upscale(np.full((4, 4, 3), 0.5, np.float32))
sys.stderr.write(json.dumps([heard, "torch" in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout == ""
    assert json.loads(done.stderr) == [[], False]
