"""Where pictures come from, and that a sample depends on its number alone."""

# ruff: noqa: E402 - what needs torch is imported once torch is known to be there

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from chainzoom.errors import ImageError, OptionError
from chainzoom.training.sr.config import Config, Data, Network, Prompts, Source, Stage
from chainzoom.training.sr.data import Batches, Draw, Samples, loader, order
from chainzoom.training.sr.sources import list_pictures
from tests.training.sr.tiny_training import pictures


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos", side=48, count=5)


def config(photos: Path, **changes) -> Config:
    data = Data((Source(str(photos)),), crop=32, workers=0)
    made = Config("run", "osediff_sd3", Network("sd3"), data, (Stage(2), Stage(1, "bicubic")), accumulation=2)
    return replace(made, **changes)


def test_folder_list_and_shard_hold_the_same(photos: Path, tmp_path: Path) -> None:
    (photos / "2.txt").write_text("a caption")
    (tmp_path / "list.txt").write_text("# comment\n" + "\n".join(f"{n}.png" for n in range(5)))
    with tarfile.open(tmp_path / "shard-00.tar", "w") as archive:
        for file in sorted(photos.iterdir()):
            archive.add(file, arcname=file.name)
    folder = list_pictures([Source(str(photos))])
    listed = list_pictures([Source(str(tmp_path / "list.txt"), root=str(photos))])
    sharded = list_pictures([Source(str(tmp_path / "shard-*.tar"))])
    for one, two, three in zip(folder, listed, sharded, strict=True):
        assert np.array_equal(one.read(), two.read())
        assert np.array_equal(one.read(), three.read())
    assert [entry.caption() for entry in sharded] == ["", "", "a caption", "", ""]
    assert folder[2].caption() == listed[2].caption() == "a caption"


def test_limit_and_resize(photos: Path) -> None:
    entries = list_pictures([Source(str(photos), limit=2, resize=40), Source(str(photos))])
    assert len(entries) == 7
    assert entries[0].read().shape == (40, 40, 3)
    assert entries[2].read().shape == (48, 48, 3)


def test_sources_that_are_not_there(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("gone.png")
    (tmp_path / "bad.tar").write_bytes(b"no tar")
    for path, words in (("nowhere", "not there"), ("empty", "holds no pictures"), ("list.txt", "gone.png"), ("bad.tar", "tar")):
        with pytest.raises(OptionError, match=words):
            list_pictures([Source(str(tmp_path / path))])


def test_a_sample_depends_on_its_number_alone(photos: Path) -> None:
    entries = list_pictures([Source(str(photos))])
    samples = Samples(entries, config(photos))
    wanted = samples[Draw(8, "realesrgan")]
    for other in (3, 9, 0):
        samples[Draw(other, "bicubic")]
    again = Samples(entries, config(photos))[Draw(8, "realesrgan")]
    assert torch.equal(wanted.gt, again.gt)
    assert torch.equal(wanted.lq, again.lq)
    assert wanted.gt.shape == (3, 32, 32)
    other = Samples(entries, config(photos, seed=1))[Draw(8, "realesrgan")]
    assert not torch.equal(wanted.gt, other.gt)


def test_a_worker_process_changes_nothing(photos: Path) -> None:
    entries = list_pictures([Source(str(photos))])
    plain = list(loader(entries, config(photos), 0, 0, 1))
    other = config(photos, data=replace(config(photos).data, workers=1))
    for one, two in zip(plain, loader(entries, other, 0, 0, 1), strict=True):
        assert all(torch.equal(a.lq, b.lq) and torch.equal(a.gt, b.gt) for a, b in zip(one, two, strict=True))


def test_a_position_goes_on_where_it_was(photos: Path) -> None:
    entries = list_pictures([Source(str(photos))])
    whole, rest = list(loader(entries, config(photos), 0, 0, 1)), list(loader(entries, config(photos), 2, 0, 1))
    assert len(whole) == 6
    assert len(rest) == 4
    assert torch.equal(whole[2][1].lq, rest[0][1].lq)


def test_each_picture_once_an_epoch() -> None:
    assert sorted(order(0, 3, 50)) == list(range(50))
    assert not np.array_equal(order(0, 3, 50), order(0, 4, 50))


def test_processes_share_the_samples_and_stages_change(photos: Path) -> None:
    made = config(photos)
    draws = [list(Batches(made, 0, rank, 2)) for rank in range(2)]
    numbers = [[draw.number for batch in one for draw in batch] for one in draws]
    assert sorted(numbers[0] + numbers[1]) == list(range(24))
    kinds = [batch[0].degradation for batch in draws[0]]
    assert kinds == ["realesrgan"] * 4 + ["bicubic"] * 2


def test_flips_and_crops_vary(photos: Path) -> None:
    samples = Samples(list_pictures([Source(str(photos), limit=1)]), config(photos))
    assert len({samples[Draw(n, "bicubic")].gt.numpy().tobytes() for n in range(12)}) > 8


def test_a_broken_picture_is_replaced_and_named(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "1.png").write_bytes(b"broken")
    samples = Samples(list_pictures([Source(str(photos))]), config(photos))
    first = [samples[Draw(n, "bicubic")].gt for n in range(5)]
    assert "1.png" in caplog.text
    again = Samples(list_pictures([Source(str(photos))]), config(photos))
    assert all(torch.equal(a, again[Draw(n, "bicubic")].gt) for n, a in enumerate(first))
    for file in photos.iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(ImageError, match="in a row"):
        samples[Draw(0, "bicubic")]


def test_what_prompters_see(photos: Path) -> None:
    entries = list_pictures([Source(str(photos))])
    seen = Samples(entries, config(photos, prompts=Prompts("tags")))[Draw(0, "bicubic")]
    assert seen.view is not None
    assert seen.view.shape == (48, 48, 3)
    crop = Samples(entries, config(photos, prompts=Prompts("tags", sees="crop")))[Draw(0, "bicubic")]
    assert crop.view is not None
    assert torch.equal(torch.from_numpy(crop.view.transpose(2, 0, 1).copy()), crop.gt)
    assert Samples(entries, config(photos))[Draw(0, "bicubic")].view is None


def test_degrading_on_the_device_gives_the_same(photos: Path) -> None:
    from chainzoom.training.sr.degradation import degrade

    entries = list_pictures([Source(str(photos))])
    made = config(photos)
    late = Samples(entries, replace(made, data=replace(made.data, degrade_on="device")))[Draw(4, "realesrgan")]
    assert late.lq is None
    assert torch.equal(degrade(late.gt, late.degradation, late.seed), Samples(entries, made)[Draw(4, "realesrgan")].lq)
