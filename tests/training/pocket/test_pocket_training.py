from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")
pytest.importorskip("safetensors")

from chainzoom.backbones.exemplars import SIDE, Exemplars  # noqa: E402
from chainzoom.backbones.pocket import Pocket  # noqa: E402
from chainzoom.backbones.roughness import lightness, roughness, vividness  # noqa: E402
from chainzoom.correctors.consistency import project  # noqa: E402
from chainzoom.errors import OptionError, OutputError  # noqa: E402
from chainzoom.evaluation.metrics.texture import NATURAL_RATIO, spectral_ratio  # noqa: E402
from chainzoom.images import resize  # noqa: E402
from chainzoom.training.pocket import colours, fur, quiet  # noqa: E402
from chainzoom.training.pocket.alike import Spreads, _chances, _members, choose  # noqa: E402
from chainzoom.training.pocket.batches import Made, Sighting, draw_fields, make_batch  # noqa: E402
from chainzoom.training.pocket.config import Config, Data, Loss, Network, load_config  # noqa: E402
from chainzoom.training.pocket.cuts import cuts  # noqa: E402
from chainzoom.training.pocket.features import Features  # noqa: E402
from chainzoom.training.pocket.generator import BORROWED, Generator, draw_noise  # noqa: E402
from chainzoom.training.pocket.pictures import Library, sentences  # noqa: E402
from chainzoom.training.pocket.preview import zoom  # noqa: E402
from chainzoom.training.pocket.projection import band, consistent, shrink, spread  # noqa: E402
from chainzoom.training.pocket.shelf import Candidate, best, build  # noqa: E402
from chainzoom.training.pocket.trainer import Trainer  # noqa: E402
from chainzoom.training.runs import read_log  # noqa: E402


def embed(texts: Sequence[str]) -> np.ndarray:
    """A fixed random direction a text."""
    rows = [np.random.default_rng(abs(hash_of(text))).normal(size=384) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[:6].ljust(6, b"."), "big")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six surfaces of 300 px with natural spectra, four of them for training."""
    root = tmp_path_factory.mktemp("data")
    (root / "pictures").mkdir()
    rows = []
    for number in range(6):
        rng = np.random.default_rng(number)
        radius = np.hypot(np.fft.fftfreq(300)[:, None], np.fft.rfftfreq(300)[None]) + 1 / 300
        plane = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(300, 300))) / radius**1.5, s=(300, 300))
        pixels = np.clip(128 + 40 * (plane / plane.std())[..., None] * np.array([1, 0.9, 0.7]), 0, 255).astype(np.uint8)
        PILImage.fromarray(pixels).save(root / "pictures" / f"{number}.png")
        rows.append(
            {
                "file": f"pictures/{number}.png", "caption": f"coarse {'sand' if number % 2 else 'grass'}", "group": str(number),
                "materials": ["sand" if number % 2 else "grass"], "kind": "texture", "split": "test" if number > 3 else "train",
                "source": "made here", "width": 300, "height": 300, "origin": str(number), "licence": "CC0-1.0",
            }
        )  # fmt: skip
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def shelf(folder: Path) -> Path:
    out = folder / "exemplars.zip"
    assert build(folder, out, embed, drawn=False) == 4
    return out


def config(out: Path, folder: Path, shelf: Path | str = "", **changes: object) -> Config:
    network = Network((8, 8, 6), (1, 1, 1), (2, 1, 1), code=8, critic=4)
    data = Data(str(folder), str(shelf), "none", side=16, coats=False)
    whole = Config(
        str(out), steps=4, batch=4, mixed=False, save_every=2, picture_every=4, log_every=1, threads=1, network=network, data=data
    )
    return dataclasses.replace(whole, **changes)


def trainer(made: Config, **options: object) -> Trainer:
    return Trainer(made, embed=embed, features=Features.random(0), **options)  # type: ignore[arg-type]


def test_the_projection_is_the_chains() -> None:
    rng = np.random.default_rng(0)
    raw, low = (0.4 + 0.2 * rng.random((side, side, 3), dtype=np.float32) for side in (64, 16))
    mine = consistent(torch.from_numpy(raw).permute(2, 0, 1)[None], torch.from_numpy(low).permute(2, 0, 1)[None])
    np.testing.assert_allclose(mine[0].permute(1, 2, 0).numpy(), project(raw, low), atol=2e-3)
    np.testing.assert_allclose(shrink(mine)[0].permute(1, 2, 0).numpy(), low, atol=1e-5)
    assert float(shrink(band(torch.from_numpy(raw).permute(2, 0, 1)[None])).abs().max()) < 1e-5


def test_light_keeps_greys_and_turns_hues() -> None:
    torch.manual_seed(0)
    light = colours.draw(8)
    grey = torch.full((8, 3, 2, 2), 0.5)
    shifted = colours.apply(grey, light)
    np.testing.assert_allclose((shifted - light[1]).numpy(), 0.5, atol=1e-6)
    red = torch.tensor([0.8, 0.2, 0.2])[None, :, None, None].expand(8, -1, 2, 2)
    hues = colours.apply(red, light)[:, :, 0, 0]
    assert hues.std(0).max() > 0.1
    np.testing.assert_allclose((hues - light[1][:, :, 0, 0]).mean(1).numpy(), 0.4, atol=1e-5)


def test_sentences_hold_caption_and_materials() -> None:
    said = sentences("alpine grass, rocky 2", ["grass", "rock"])
    assert {"alpine grass, rocky 2", "grass", "rock", "grass, rock"} <= set(said)
    assert len(said) == len(set(said))
    assert said == sentences("alpine grass, rocky 2", ["grass", "rock"])


def test_comparisons_differ_from_inputs_only_in_what_can_be_made(folder: Path) -> None:
    library = Library(folder, embed)
    assert {entry.name for entry in library.entries} == {"0", "1", "2", "3"}
    batch = make_batch(library, Made(), np.random.default_rng(1), 12, 16, (0.5, 0.5, 0.0), 0.5)
    again = make_batch(library, Made(), np.random.default_rng(1), 12, 16, (0.5, 0.5, 0.0), 0.5)
    assert torch.equal(batch.real, again.real)
    inside = batch.real.amax((1, 2, 3)) < 1
    inside &= batch.real.amin((1, 2, 3)) > 0
    assert inside.sum() >= 4
    np.testing.assert_allclose(shrink(batch.real)[inside].numpy(), batch.image[inside].numpy(), atol=1e-4)
    assert batch.pure.sum() == 6
    assert (batch.creativity[~batch.pure] == 1).all()


def test_chained_inputs_are_parts_of_what_was_made(folder: Path) -> None:
    library, made = Library(folder, embed), Made(deepest=2)
    rng = np.random.default_rng(0)
    first = make_batch(library, made, rng, 8, 16, (0.5, 0.0, 0.5), 0.0)
    assert (first.depth == 0).all()
    for _ in range(4):
        made.add(spread(first.image).clamp(0, 1), first, [dataclasses.replace(sight, exemplar=3) for sight in first.sights])
    second = make_batch(library, made, rng, 8, 16, (0.5, 0.0, 0.5), 0.0)
    assert list(second.depth) == [0] * 4 + [1] * 4
    assert [sight.exemplar for sight in second.sights] == [-1] * 4 + [3] * 4
    for sight in second.sights[4:]:
        before = next(one for one in first.sights if one.seed == sight.seed)
        assert sight.scale == 4 * before.scale
        assert 0 <= sight.x - 4 * before.x <= 4 * 48
        assert 0 <= sight.y - 4 * before.y <= 4 * 48
    part, whole = second.image[-1], torch.stack(made.pictures).float() / 255
    windows = whole.unfold(2, 16, 1).unfold(3, 16, 1)
    assert float((windows - part[None, :, None, None]).abs().amax((1, 4, 5)).min()) < 1e-6
    again = Made()
    again.load_state_dict(made.state_dict())
    assert again.notes == made.notes
    deep = dataclasses.replace(second, depth=np.full(8, 2))
    count = len(made.pictures)
    made.add(spread(second.image), deep, deep.sights)
    assert len(made.pictures) == count


@pytest.mark.parametrize("borrowed", [False, True])
def test_a_killed_run_goes_on_as_if_undisturbed(tmp_path: Path, folder: Path, shelf: Path, borrowed: bool) -> None:
    source = shelf if borrowed else ""
    trainer(config(tmp_path / "a", folder, source)).run()
    trainer(config(tmp_path / "b", folder, source, steps=2)).run()
    trainer(config(tmp_path / "b", folder, source), resume=True).run()
    whole, parts = (read_log(tmp_path / name) for name in "ab")
    assert [entry["step"] for entry in parts] == [1, 2, 3, 4]
    assert whole == parts
    assert (tmp_path / "a" / "pictures" / "step-000004.png").exists()


def test_the_export_is_what_the_backbone_computes(tmp_path: Path, folder: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(config(tmp_path / "run", folder, shelf, steps=2))
    one.run()
    file = tmp_path / "run" / "export" / "step-000002" / "pocket.safetensors"
    pocket = Pocket(weights=str(file), exemplars=str(shelf), threads=1, precision="f32")
    from chainzoom.backbones.noise import NoiseField

    image = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
    embedding = embed(["sand"])[0]
    monkeypatch.setattr("chainzoom.backbones.pocket.MARGIN", 0)
    raw = pocket._raw(image, pocket._code(embedding), 1, NoiseField(3, 256.0), (5, 6))
    gain = resize(pocket._shelf.stronger(1, 256.0, roughness(image), lightness(image), vividness(image)), (96, 80))
    planes = [torch.from_numpy(plane) for plane in pocket._planes(NoiseField(3, 256.0), 1, pocket._code(embedding), (5, 6, 29, 26), gain)]
    halved = Generator(one.average.shape)
    halved.load_state_dict({name: value.half().float() for name, value in one.average.state_dict().items()})
    with torch.no_grad():
        wanted = halved(torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(embedding)[None], planes, torch.ones(1))
    np.testing.assert_allclose(raw, wanted[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_training_folds_fields_as_the_backbone_does() -> None:
    fields = torch.arange(64.0).reshape(1, 8, 8) / 8
    planes = draw_noise(Network((8, 8, 6), (1, 1, 1), (2, 1, 1)).shape(), fields, torch.ones(1))
    assert [tuple(plane.shape) for plane in planes] == [(1, 18, 2, 2), (1, 5, 4, 4), (1, 2, 8, 8)]
    assert planes[0][0, 5, 1, 0] == fields[0, 5, 1] * 8
    silent = draw_noise(Network((8, 8, 6), (1, 1, 1), (2, 1, 1)).shape(), fields, torch.zeros(1))
    assert all(float(plane.abs().max()) == 0 for plane in silent)


def test_a_surface_that_is_lent_shades_the_colours_below(folder: Path) -> None:
    image = torch.tensor([[0.6, 0.2, 0.0], [0.98, 0.98, 0.98]])[:, :, None, None].expand(2, 3, 4, 4)
    field = torch.zeros(2, 1, 16, 16)
    field[..., ::2] = 0.1
    lent = Generator.lent(image, torch.ones(2, 3), field)[..., 0, 0] - Generator.lent(image, torch.ones(2, 3), field)[..., 0, 1]
    assert lent[0, 0] > 2 * lent[0, 1] > 3 * lent[0, 2] > 0
    assert lent[1, 0] < lent[0, 0]


def test_what_strays_from_the_surface_lent_costs(tmp_path: Path, folder: Path, shelf: Path) -> None:
    one = trainer(config(tmp_path / "run", folder, shelf, steps=1, picture_every=0))
    batch = make_batch(one.library, Made(), np.random.default_rng(0), 4, 16, (0.5, 0.5, 0.0), 0.0)
    noise = draw_noise(one.generator.shape, torch.randn(4, 64, 64) * 0.1, torch.ones(4))
    share = torch.full((4, 3), BORROWED)
    plain = consistent(one.generator.lent(batch.image, share, noise[2][:, :1]), batch.image)
    assert float(one._strayed(plain, batch, noise)) == 0
    changed = plain + 0.3 * torch.randn(plain.shape)
    assert float(one._strayed(changed, batch, noise)) > 0.05
    assert float(one._strayed(torch.where(batch.pure[:, None, None, None], changed, plain), batch, noise)) == 0


def test_a_picture_is_cut_from_far_and_from_near() -> None:
    spectrum = np.hypot(np.fft.fftfreq(1024)[:, None], np.fft.rfftfreq(1024)[None])
    spectrum[0, 0] = np.inf
    grain = np.fft.irfft2(np.fft.rfft2(np.random.default_rng(3).normal(size=(1024, 1024))) / spectrum)
    picture = PILImage.fromarray(np.clip(128 + 20 * grain / grain.std(), 0, 255).astype(np.uint8))  # continues on its other side
    found = [cut for cut, _ in cuts(picture, ordered=False)]
    assert [cut.shape for cut in found] == [(SIDE, SIDE)] * 5
    whole, twice, _, near, enlarged = found

    def like(a: np.ndarray, b: np.ndarray) -> float:
        fine = [plane[1:-1, 1:-1] - (plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]) / 4 for plane in (a, b)]
        return float(np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1])

    half = SIDE // 2
    assert like(whole, np.asarray(picture.resize((SIDE, SIDE), PILImage.Resampling.LANCZOS), np.float32)) > 0.95
    np.testing.assert_allclose(twice[:, :half], twice[:, half:], atol=1e-5)
    assert like(twice[:half, :half], np.asarray(picture.resize((half, half), PILImage.Resampling.LANCZOS), np.float32)) > 0.95
    assert like(near, whole) < 0.2 > like(near, twice)
    assert spectral_ratio(enlarged.astype(np.float64)) < spectral_ratio(near.astype(np.float64))
    assert not cuts(PILImage.fromarray(np.tile(np.asarray(picture), (1, 2))), ordered=False)  # too long to be made square
    assert [cut.shape for cut, _ in cuts(picture.crop((0, 0, 480, 480)), ordered=False)] == [(SIDE, SIDE)] * 3  # 679, 480, 339 pixels


def test_plain_surfaces_are_soft_endless_and_the_same_every_time() -> None:
    for plain in quiet.PLAINS:
        drawn = quiet.draw(plain)
        np.testing.assert_array_equal(drawn, quiet.draw(plain))
        assert drawn.shape == (SIDE, SIDE)
        np.testing.assert_allclose((drawn.mean(), drawn.std()), (0, quiet.CONTRAST), atol=1e-5)
        across, *beside = (np.abs(drawn[:, k] - drawn[:, k - 1]).mean() for k in (0, 1, -1))
        assert across < 1.3 * np.mean(beside)
        # No line runs through it: rows and columns differ from one another no more than grain that is mixed does.
        assert max(np.abs(drawn.mean(0)).max(), np.abs(drawn.mean(1)).max()) < quiet.CONTRAST


def test_the_shelf_holds_what_is_drawn(folder: Path, tmp_path: Path) -> None:
    assert build(folder, tmp_path / "all.zip", embed) == 4 + len(fur.COATS) + len(quiet.PLAINS)
    found = Exemplars.read(tmp_path / "all.zip")
    number = found.nearest(embed(["light blue"])[0], "light blue, smooth")
    assert found.names[number].startswith("drawn-quiet")
    assert np.abs(found.texture(number).std() / quiet.CONTRAST - 1) < 0.12  # what is strongest is cut off


def test_previews_lend_what_each_row_says(folder: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, lent = trainer(config(tmp_path / "run", folder, shelf, steps=1, picture_every=0)), []

    def noted(shelf: Exemplars | None, words: np.ndarray, side: int, sights: Sequence[Sighting]) -> object:
        lent.append([sight.exemplar for sight in sights])
        return draw_fields(shelf, words, side, sights)

    monkeypatch.setattr("chainzoom.training.pocket.preview.draw_fields", noted)
    states = zoom(one.generator, torch.full((2, 3, 16, 16), 0.5), ("grass", "sand"), torch.from_numpy(embed(["a", "b"])), 2, one.shelf)
    assert [state.shape for state in states] == [(2, 3, 64, 64)] * 2
    assert one.shelf is not None
    assert [[one.shelf.materials[number][0] for number in numbers] for numbers in lent] == [["grass", "sand"]] * 2


class Stripes:
    """Eyes that see how strongly a picture changes along each axis."""

    def __init__(self, *_: object) -> None:
        pass

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[np.abs(np.diff(image, axis=axis)).mean() for axis in (0, 1)] for image in images], np.float32)


def striped(number: int, down: bool) -> np.ndarray:
    """(512, 512) of stripes that continue on their other side, down the picture or across it."""
    rng = np.random.default_rng(number)
    plane = np.repeat(np.repeat(rng.uniform(-0.3, 0.3, (1, 128)), 4, axis=1), SIDE, axis=0) + rng.normal(0, 0.02, (SIDE, SIDE))
    return (plane if down else plane.T).astype(np.float32)


def candidate(name: str, material: str, group: str, texture: np.ndarray, merit: float = 0.0) -> Candidate:
    row = {"file": f"{name}.png", "caption": material, "materials": [material], "group": group, "source": "", "origin": "", "licence": ""}
    return Candidate(row, texture.astype(np.float16), merit)


def test_exemplars_are_chosen_that_look_like_their_material(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainzoom.training.pocket.alike.Moments", Stripes)
    monkeypatch.setattr("chainzoom.training.pocket.alike.Spreads", Stripes)
    (tmp_path / "pictures").mkdir()
    rows = []
    for number in range(12):
        material = "wood" if number % 2 else "sand"
        pixels = (255 * (0.5 + striped(number, material == "wood")).clip(0, 1)).astype(np.uint8)
        PILImage.fromarray(pixels).convert("RGB").save(tmp_path / "pictures" / f"{number}.png")
        row = {"file": f"pictures/{number}.png", "caption": material, "materials": [material], "kind": "texture", "split": "train"}
        rows.append(row | {"group": str(number), "width": SIDE, "height": SIDE, "sha256": f"{number:064d}"})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [candidate(f"w{k}", "wood", f"g{k}", striped(20 + k, down=k != 1), merit=-float(k == 1)) for k in range(5)]
    found += [candidate("w2", "wood", "g2", striped(30, True)), candidate("w6", "wood", "g2", striped(31, True))]
    found += [candidate("m0", "metal", "g0", striped(40, True)), candidate("m1", "metal", "g1", striped(41, True), merit=-1.0)]
    chosen = choose(tmp_path, tmp_path, found, 4)
    files = [one.row["file"] for one in chosen]
    assert len(set(files)) == len(files)
    assert "w1.png" not in files  # across, where wood runs down, whatever its merit
    assert sum(one.material == "wood" for one in chosen) >= 3
    assert files[-2:] == ["m1.png", "m0.png"] or files[:2] == ["m1.png", "m0.png"]  # no real metal is known: by merit
    chances = [one.chance for one in chosen if one.material == "wood"]
    assert 0.499 < min(chances) < 1 < max(chances)
    assert np.mean(chances) == pytest.approx(1)
    assert [one.shelved()[0]["chance"] for one in chosen] == [round(one.chance, 3) for one in chosen]
    assert [one.row["file"] for one in best(found[:5], 2)] == ["w1.png", "w0.png"]


def test_by_merit_a_picture_gives_its_best_cut_and_groups_come_first() -> None:
    plane = np.zeros((2, 2))
    cuts_of = [("a", "x", 0.1), ("b", "y", 0.2), ("a", "x", 0.3), ("c", "x", 0.05)]
    found = [candidate(name, "wood", group, plane, merit) for name, group, merit in cuts_of]
    assert [(one.row["file"], one.merit) for one in best(found, 3)] == [("c.png", 0.05), ("b.png", 0.2), ("a.png", 0.1)]
    assert [one.merit for one in best(found[:3], 2)] == [0.1, 0.2]


def test_no_exchange_would_bring_a_chosen_set_nearer() -> None:
    rng = np.random.default_rng(0)
    points, real = rng.normal(size=(30, 6)), rng.normal(0.5, 1, size=(40, 6))
    pairs, gains = (
        np.exp(-np.square(points[:, None] - points[None]).sum(2) / 8),
        2 * np.exp(-np.square(points[:, None] - real[None]).sum(2) / 8).mean(1),
    )
    found = [candidate(f"{k // 2}", "wood", f"{k // 6}", np.zeros((2, 2))) for k in range(30)]

    def cost(members: list[int]) -> float:
        return float(pairs[np.ix_(members, members)].mean() - gains[members].mean())

    chosen = _members(pairs, gains, found, 6)
    files, groups = [[found[k].row[key] for k in chosen] for key in ("file", "group")]
    assert len(set(files)) == len(files) >= 3
    assert max(groups.count(name) for name in groups) <= 2
    drawn = [rng.choice(30, len(chosen), replace=False).tolist() for _ in range(300)]
    assert cost(chosen) < min(cost(members) for members in drawn if len({found[k].row["file"] for k in members}) == len(members)) + 0.02
    assert len(_members(pairs[:1, :1], gains[:1], found[:1], 6)) == 1


def test_chances_bring_a_set_as_near_as_they_can() -> None:
    rng = np.random.default_rng(1)
    points, real = rng.normal(size=(5, 4)), rng.normal(0.7, 1, size=(40, 4))
    pairs = np.exp(-np.square(points[:, None] - points[None]).sum(2) / 8)
    gains = 2 * np.exp(-np.square(points[:, None] - real[None]).sum(2) / 8).mean(1)

    def cost(shares: np.ndarray) -> float:
        return float(shares @ pairs @ shares - gains @ shares)

    chances = _chances(pairs, gains)
    assert chances.sum() == pytest.approx(5)
    assert 0.5 - 1e-9 <= chances.min() < chances.max() <= 1.5 + 1e-9
    others = [shares for shares in 0.1 + 0.5 * rng.dirichlet(np.full(5, 0.5), 20000) if shares.max() <= 0.3]
    assert len(others) > 500
    assert cost(chances / 5) < min(cost(shares) for shares in others) + 1e-9 < cost(np.full(5, 0.2))
    assert _chances(pairs[:1, :1], gains[:1]).tolist() == [1.0]


def test_the_tagger_sees_how_much_a_patch_changes() -> None:
    plain, grain = np.full((128, 128, 3), 0.5, np.float32), np.random.default_rng(0).random((128, 128, 3), np.float32)
    seen = Spreads().features([plain, grain])
    assert seen.shape == (2, 464)
    assert seen.min() >= 0
    assert seen[1].mean() > 1.5 * seen[0].mean()


def test_furs_are_drawn_the_same_every_time_and_are_hairy() -> None:
    coat = fur.COATS[2]
    picture = fur.draw(coat)
    assert picture.shape == (512, 512, 3)
    assert picture.tobytes() == fur.draw(coat).tobytes()
    assert 0.5 < spectral_ratio(picture.mean(2) / 255) / NATURAL_RATIO < 5
    assert len({one.name for one in fur.COATS}) == len(fur.COATS)


def test_the_generator_learns_what_it_is_shown_again_and_again(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data(str(folder), "", "none", side=16, coats=False, shares=(1.0, 0.0, 0.0), faithful=1.0)
    loss = Loss(pixel_critic=0.0, feature_critic=0.0, style=0.0, contrast=0.0)
    one = trainer(config(tmp_path / "run", folder, steps=80, batch=1, data=data, loss=loss, lr=1e-2, picture_every=0, save_every=100))
    batch = make_batch(one.library, Made(), np.random.default_rng(0), 1, 16, (1.0, 0.0, 0.0), 0.0)
    batch = dataclasses.replace(batch, creativity=torch.zeros(1))
    monkeypatch.setattr("chainzoom.training.pocket.trainer.make_batch", lambda *_: batch)
    one.run()
    gaps = [entry["gap"] for entry in read_log(tmp_path / "run")]
    assert gaps[-1] < 0.95 * gaps[0]


def test_the_shipped_recipe_is_valid() -> None:
    made, _ = load_config(Path(__file__).parents[3] / "configs" / "train" / "pocket.toml")
    assert made.network.shape().as_dict()["widths"] == (64, 48, 32)
    assert made.data.emphasis == {"fur": 3.0}


def test_refusals(tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('out = "x"\n[data]\nfolder = "d"\nfeatures = "f"\n[network]\nwidths = [1, 2]\n')
    with pytest.raises(OptionError, match=r"network\.widths takes three"):
        load_config(file)
    file.write_text('out = "x"\n')
    with pytest.raises(OptionError, match=r"data\.folder is missing"):
        load_config(file)
    with pytest.raises(OptionError, match="pocket-data"):
        Library(tmp_path, embed)
    with pytest.raises(OutputError, match="no run to resume"):
        trainer(config(tmp_path / "none", folder), resume=True)
    trainer(config(tmp_path / "one", folder, steps=2, picture_every=0)).run()
    with pytest.raises(OptionError, match="network"):
        trainer(config(tmp_path / "one", folder, network=Network((8, 8, 8), (1, 1, 1), (2, 1, 1), code=8, critic=4)), resume=True)
