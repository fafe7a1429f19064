"""Downloads against a server on this machine that behaves, breaks off, lies and refuses."""

from __future__ import annotations

import errno
import io
import json
import shutil
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request

import pytest
from filelock import FileLock

from chainzoom.errors import OptionError, OutputError, WeightsError
from chainzoom.models import Model, Store, transfer
from chainzoom.models.fetch import Fetched, fetch
from chainzoom.models.lockfile import NAME, read_lock
from chainzoom.models.transfer import _Redirects
from tests.models.hub import COMMIT, Hub, point_at, sha256

BIG = bytes(range(256)) * 5000
SECRET = "hf_verysecrettoken"


def tiny(**more: Any) -> Model:
    facts = {
        "name": "tiny",
        "title": "a test",
        "source": "hub",
        "repository": "org/tiny",
        "terms": "open",
        "licence": "CC0.",
        "licence_url": "u",
    }
    return Model(**{**facts, "files": ("big.bin",), **more})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        point_at(hub, monkeypatch)
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "weights", tmp_path / "hub")


def run(model: Model, store: Store, tell: Any = None) -> list[Fetched]:
    return list(fetch(model, store, tell=tell or (lambda path, done, size: None), sleep=lambda seconds: None))


def test_index_brings_its_shards_and_optional_files_may_lack(hub: Hub, store: Store) -> None:
    index = json.dumps({"weight_map": {"a": "part-2.safetensors", "b": "part-1.safetensors", "c": "part-1.safetensors"}}).encode()
    hub.add("config.json", b"{}", announce="")
    hub.add("text/model.safetensors.index.json", index)
    hub.add("text/part-1.safetensors", b"one")
    hub.add("text/part-2.safetensors", b"two")
    model = tiny(files=("config.json", "text/model.safetensors.index.json"), optional=("chat.json",))
    assert [file.path.rsplit("/")[-1] for file in run(model, store)] == [
        "config.json",
        "model.safetensors.index.json",
        "part-1.safetensors",
        "part-2.safetensors",
    ]
    assert store.locate(model).complete
    assert (store.folder(model) / "text" / "part-2.safetensors").read_bytes() == b"two"
    locked = read_lock(store.weights_dir)
    assert locked["tiny/config.json"].trust == "first download"
    assert locked["tiny/text/part-1.safetensors"].trust == "server"
    assert locked["tiny/text/part-1.safetensors"].sha256 == sha256(b"one")
    # After the first file tells its commit, the others are asked for at that commit.
    assert [COMMIT in path for path, _ in hub.asked] == [False, True, True, True, True]
    before = len(hub.asked)
    run(tiny(files=model.files), store)
    assert len(hub.asked) == before
    (store.folder(model) / "text" / "part-2.safetensors").unlink()
    assert store.locate(model).missing == ("text/part-2.safetensors",)


def test_a_broken_connection_is_resumed_by_range(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG, cuts=[300_000, 400_000])
    told: list[tuple[int, int]] = []
    run(tiny(), store, lambda path, done, size: told.append((done, size)))
    assert (store.folder(tiny()) / "big.bin").read_bytes() == BIG
    assert [headers.get("range") for _, headers in hub.asked] == [None, "bytes=300000-", "bytes=700000-"]
    assert told[-1] == (len(BIG), len(BIG))
    assert not list(store.weights_dir.rglob("*.part*"))


def test_a_second_command_goes_on_from_the_part(hub: Hub, store: Store) -> None:
    page = hub.add("big.bin", BIG, cuts=[500_000, 0, 0, 0, 0])
    with pytest.raises(WeightsError, match=r"stopped after 500000 bytes.*run the same command again"):
        run(tiny(), store)
    part = store.folder(tiny()) / "big.bin.part"
    assert part.read_bytes() == BIG[:500_000]
    page.cuts.clear()
    run(tiny(), store)
    assert hub.asked[-1][1]["range"] == "bytes=500000-"
    assert (store.folder(tiny()) / "big.bin").read_bytes() == BIG


def test_two_versions_are_never_mixed(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG, cuts=[500_000, 0, 0, 0, 0], announce="")
    with pytest.raises(WeightsError):
        run(tiny(), store)
    newer = BIG[::-1]
    hub.add("big.bin", newer, announce="")
    run(tiny(), store)
    assert (store.folder(tiny()) / "big.bin").read_bytes() == newer


def test_without_a_version_mark_the_download_begins_anew(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG, cuts=[500_000], announce="", etag=False)
    run(tiny(), store)
    assert [headers.get("range") for _, headers in hub.asked] == [None, None]
    assert (store.folder(tiny()) / "big.bin").read_bytes() == BIG


def test_a_part_longer_than_the_file_is_thrown_away(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG)
    part = store.folder(tiny()) / "big.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG + b"more")
    part.with_name("big.bin.part.etag").write_text(f'"{sha256(BIG)[:16]}"')
    run(tiny(), store)
    assert (store.folder(tiny()) / "big.bin").read_bytes() == BIG


def test_damaged_bytes_are_removed(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG, announce=sha256(b"something else"))
    with pytest.raises(WeightsError, match=f"arrived damaged.*{sha256(BIG)}"):
        run(tiny(), store)
    assert not (store.folder(tiny()) / "big.bin").exists()
    assert not (store.folder(tiny()) / "big.bin.part").exists()
    assert read_lock(store.weights_dir) == {}


def test_another_file_than_published_is_refused_before_a_byte_comes(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG)
    with pytest.raises(WeightsError, match=r"has changed.*nothing was downloaded"):
        run(tiny(sha256={"big.bin": sha256(b"published")}), store)
    assert not list(store.folder(tiny()).iterdir())


def test_published_hash_is_demanded_of_a_server_that_announces_none(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG, announce="")
    with pytest.raises(WeightsError, match="arrived damaged"):
        run(tiny(sha256={"big.bin": sha256(b"published")}), store)
    assert run(tiny(sha256={"big.bin": sha256(BIG)}), store)[0].locked.trust == "catalogue"


def test_what_was_trusted_first_is_demanded_later(hub: Hub, store: Store) -> None:
    model = tiny(source="github")
    hub.add("big.bin", b"first", announce="")
    assert run(model, store)[0].locked.trust == "first download"
    (store.folder(model) / "big.bin").unlink()
    hub.add("big.bin", b"other", announce="")
    with pytest.raises(WeightsError, match="arrived damaged"):
        run(model, store)
    hub.add("big.bin", b"first", announce="")
    assert run(model, store)[0].fresh


def test_a_file_of_another_size_than_recorded_comes_again(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG)
    run(tiny(), store)
    file = store.folder(tiny()) / "big.bin"
    file.write_bytes(BIG[:-1])
    assert run(tiny(), store)[0].fresh
    assert file.read_bytes() == BIG


def test_own_copies_are_adopted_without_the_network(hub: Hub, store: Store) -> None:
    file = store.folder(tiny()) / "big.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(BIG)
    assert run(tiny(), store)[0].locked.trust == "found here"
    assert hub.asked == []
    (store.weights_dir / NAME).unlink()
    with pytest.raises(WeightsError, match=r"not the published file.*move it away"):
        run(tiny(sha256={"big.bin": sha256(b"published")}), store)
    assert file.read_bytes() == BIG


@pytest.mark.parametrize(("token", "status", "words"), [(None, 401, "accept the terms at .*HF_TOKEN"), (SECRET, 403, "is not let in")])
def test_gated_weights_say_what_to_do(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch, token: str | None, status: int, words: str
) -> None:
    hub.add("big.bin", BIG, needs_token="another")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WeightsError, match=f"org/tiny answered {status} for big.bin; .*{words}") as caught:
        run(tiny(gated=True), store)
    assert SECRET not in str(caught.value)


def test_the_token_opens_gated_weights_and_stays_with_the_hub(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with Hub() as elsewhere:
        elsewhere.add("big.bin", BIG, announce="")
        hub.add("big.bin", BIG, needs_token=SECRET, redirect=f"{elsewhere.address}/org/tiny/resolve/main/big.bin")
        hub.pages["/moved/big.bin"] = hub.pages["/org/tiny/resolve/main/big.bin"]
        hub.add("big.bin", BIG, needs_token=SECRET, redirect="/moved/big.bin")
        record = run(tiny(), store)[0].locked
    assert [headers.get("authorization") for _, headers in hub.asked] == [f"Bearer {SECRET}"] * 2
    assert [headers.get("authorization") for _, headers in elsewhere.asked] == [None]
    # The hub tells the hash in its redirection, not where the bytes come from.
    assert (record.sha256, record.trust, record.revision) == (sha256(BIG), "server", COMMIT)
    assert SECRET not in (store.weights_dir / NAME).read_text()


def test_the_token_never_goes_to_github(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    hub.add("big.bin", BIG)
    run(tiny(source="github"), store)
    assert "authorization" not in hub.asked[0][1]


def test_redirection_out_of_encryption_is_refused() -> None:
    with pytest.raises(WeightsError, match="without encryption"):
        _Redirects().redirect_request(Request("https://hub/a"), io.BytesIO(), 302, "", Message(), "http://hub/a")


def test_a_missing_file_names_the_way_out(hub: Hub, store: Store) -> None:
    with pytest.raises(WeightsError, match=r"404.*moved.*big\.bin elsewhere.*'tiny'"):
        run(tiny(), store)


def test_passing_faults_are_tried_again_and_lasting_ones_are_not(hub: Hub, store: Store) -> None:
    hub.add("big.bin", BIG, failures=[503, 429])
    run(tiny(), store)
    assert len(hub.asked) == 3
    hub.add("other.bin", BIG, status=500)
    with pytest.raises(WeightsError, match=r"stopped after 0 bytes.*500"):
        run(tiny(files=("other.bin",)), store)


def test_a_server_that_is_down_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        point_at(hub, monkeypatch)
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1.*run the same command again"):
        run(tiny(), store)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "text/plain", "pointer"),
        (b"<html>please log in</html>", "text/html; charset=utf-8", "web page"),
    ],
)
def test_things_that_are_not_the_file(hub: Hub, store: Store, body: bytes, kind: str, words: str) -> None:
    hub.add("big.bin", body, kind=kind, announce="")
    with pytest.raises(WeightsError, match=words):
        run(tiny(), store)
    assert not (store.folder(tiny()) / "big.bin").exists()


def test_no_room_is_told_before_the_download(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    hub.add("big.bin", BIG)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2000, 1000, 1000))
    with pytest.raises(OutputError, match=r"disk is too full for big\.bin"):
        run(tiny(), store)
    assert not (store.folder(tiny()) / "big.bin.part").exists()


def test_a_disk_that_fills_up_keeps_the_part(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Filling(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 1 << 20:
                super().write(data[: (1 << 20) - self.tell()])
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    hub.add("big.bin", BIG)
    with monkeypatch.context() as full:
        full.setattr(transfer, "_opened", lambda part, mode: Filling(part, mode))
        with pytest.raises(OutputError, match="disk is full"):
            run(tiny(), store)
    assert (store.folder(tiny()) / "big.bin.part").stat().st_size == 1 << 20
    run(tiny(), store)
    assert hub.asked[-1][1]["range"] == f"bytes={1 << 20}-"
    assert (store.folder(tiny()) / "big.bin").read_bytes() == BIG


def test_an_interrupt_keeps_the_part(hub: Hub, store: Store) -> None:
    def press(path: str, done: int, size: int) -> None:
        if done:
            raise KeyboardInterrupt

    hub.add("big.bin", BIG)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), store, press)
    assert 0 < (store.folder(tiny()) / "big.bin.part").stat().st_size < len(BIG)
    run(tiny(), store)
    assert "range" in hub.asked[-1][1]
    assert (store.folder(tiny()) / "big.bin").read_bytes() == BIG


def test_offline_asks_nobody(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OptionError, match="HF_HUB_OFFLINE"):
        run(tiny(), store)
    assert hub.asked == []


def test_one_fetch_at_a_time(hub: Hub, store: Store) -> None:
    store.weights_dir.mkdir()
    with FileLock(store.weights_dir / ".fetch.lock"), pytest.raises(OutputError, match="another fetch"):
        run(tiny(), store)


def test_a_folder_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run(tiny(), Store(tmp_path / "file" / "weights", tmp_path))


@pytest.mark.parametrize("shard", ["../../evil.safetensors", "/etc/evil", ".hidden", "a/b"])
def test_an_index_cannot_name_files_elsewhere(hub: Hub, store: Store, shard: str) -> None:
    hub.add("m.index.json", json.dumps({"weight_map": {"a": shard}}).encode())
    with pytest.raises(WeightsError, match="plain file names"):
        run(tiny(files=("m.index.json",)), store)


def test_a_broken_lock_file_stops_before_the_download(hub: Hub, store: Store) -> None:
    store.weights_dir.mkdir()
    (store.weights_dir / NAME).write_text("{")
    with pytest.raises(WeightsError, match=NAME):
        run(tiny(), store)
    assert hub.asked == []
