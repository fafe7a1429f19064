"""Where weights are found, and what is said when they are not. No network anywhere: every socket is refused."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from chainzoom.errors import OptionError, WeightsError
from chainzoom.models import Model, Store, all_models, find_model, names_in
from chainzoom.models import store as store_module
from chainzoom.models.catalogue import TERMS
from chainzoom.models.lockfile import Locked, write_lock
from chainzoom.models.store import default_hub_cache, default_weights_dir
from chainzoom.models.verify import verify
from chainzoom.presets import builtin_names, load_preset
from tests.models.hub import COMMIT, sha256

MODEL = Model("tiny", "a test", "hub", "org/tiny", "open", "CC0.", "u", ("config.json", "m.safetensors.index.json"), ("chat.json",))
INDEX = json.dumps({"weight_map": {"a": "m-1.safetensors"}})
CONTENT = {"config.json": "{}", "m.safetensors.index.json": INDEX, "m-1.safetensors": "weights"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(store_module, "find_model", lambda name: MODEL if name == "tiny" else find_model(name))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "weights", tmp_path / "hub")


def put(folder: Path, content: dict[str, str] = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name).write_text(text)
    return folder


def cached(store: Store, commit: str = COMMIT, reference: bool = True, content: dict[str, str] = CONTENT) -> Path:
    """A snapshot as the hub's own library lays it out: links to blobs that are named by their hash."""
    repository = store.hub_cache / "models--org--tiny"
    snapshot = repository / "snapshots" / commit
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        blob = repository / "blobs" / (sha256(text.encode()) if name.endswith(".safetensors") else "ab" * 20)
        blob.write_text(text)
        (snapshot / name).unlink(missing_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
        if not name.endswith(".safetensors"):
            (snapshot / name).unlink()
            (snapshot / name).write_text(text)
    if reference:
        (repository / "refs" / "main").write_text(commit)
    return snapshot


def test_missing_weights_give_the_line_that_fetches_them(store: Store) -> None:
    with pytest.raises(WeightsError, match=r"'tiny' are not here: chainzoom models fetch tiny$"):
        store.resolve("models:tiny")
    put(store.folder(MODEL), {"config.json": "{}"})
    assert store.locate(MODEL).state == "1 of 2 files"
    with pytest.raises(WeightsError, match=r"1 of 2 files are\): chainzoom models fetch tiny$"):
        store.resolve("tiny")
    with pytest.raises(OptionError, match="unknown model 'giant'; known are sd3-medium"):
        store.resolve("giant")


def test_the_weights_folder_comes_first_then_the_hub_cache(store: Store) -> None:
    snapshot = cached(store)
    assert store.resolve("tiny") == snapshot
    assert (store.locate(MODEL).place, store.locate(MODEL).state) == ("hub cache", "here")
    own = put(store.folder(MODEL))
    assert store.resolve("models:tiny") == own
    assert store.resolve("models:tiny/m-1.safetensors") == own / "m-1.safetensors"
    (own / "m-1.safetensors").unlink()
    assert store.resolve("tiny") == snapshot


def test_an_incomplete_snapshot_does_not_count_and_a_complete_older_one_does(store: Store) -> None:
    old = cached(store, "f" * 40, reference=False)
    cached(store, content={"config.json": "{}"})
    assert store.resolve("tiny") == old
    (old / "m-1.safetensors").resolve().unlink()
    assert not store.locate(MODEL).complete


def test_a_dangling_reference_is_no_error(store: Store) -> None:
    snapshot = cached(store)
    (store.hub_cache / "models--org--tiny" / "refs" / "main").write_text("gone")
    assert store.resolve("tiny") == snapshot


@pytest.mark.parametrize("inside", ["nothing.bin", "../tiny/config.json", "../../secret"])
def test_paths_inside_a_model_stay_inside(store: Store, inside: str) -> None:
    put(store.folder(MODEL))
    (store.weights_dir.parent / "secret").write_text("")
    with pytest.raises(WeightsError, match="hold no"):
        store.resolve(f"tiny/{inside}")


def test_a_file_of_another_size_than_recorded_is_damaged(store: Store) -> None:
    put(store.folder(MODEL))
    write_lock(store.weights_dir, {"tiny/m-1.safetensors": Locked(sha256(b"weights"), 8)})
    with pytest.raises(WeightsError, match=r"m-1\.safetensors is damaged: 8 bytes expected, 7 there; chainzoom models fetch tiny"):
        store.resolve("tiny")


def test_options_are_resolved_everywhere_and_nothing_else_is_touched(store: Store) -> None:
    own = put(store.folder(MODEL))
    options: dict[str, Any] = {"a": "models:tiny", "b": {"c": "models:tiny/config.json"}, "d": 3, "e": "models", "f": None}
    assert names_in(options) == ["tiny"]
    assert store.resolve_options(options) == {"a": str(own), "b": {"c": str(own / "config.json")}, "d": 3, "e": "models", "f": None}
    assert options["a"] == "models:tiny"


def test_environment_names_the_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CHAINZOOM_WEIGHTS", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert default_weights_dir() == Path("/home/me/.local/share/chainzoom/weights")
    assert default_hub_cache() == Path("/home/me/.cache/huggingface/hub")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    monkeypatch.setenv("XDG_DATA_HOME", "/d")
    assert (default_hub_cache(), default_weights_dir()) == (Path("/c/huggingface/hub"), Path("/d/chainzoom/weights"))
    monkeypatch.setenv("HF_HOME", "/h")
    assert default_hub_cache() == Path("/h/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/x")
    monkeypatch.setenv("CHAINZOOM_WEIGHTS", "/w")
    assert (default_hub_cache(), default_weights_dir()) == (Path("/x"), Path("/w"))
    assert Store.at(tmp_path).weights_dir == tmp_path
    assert Store.at(None).weights_dir == Path("/w")


def states(store: Store) -> dict[str, tuple[str, str]]:
    return {verdict.path: (verdict.state, verdict.against) for verdict in verify(MODEL, store)}


def test_verify_reads_every_byte(store: Store) -> None:
    assert states(store) == {}
    own = put(store.folder(MODEL))
    write_lock(
        store.weights_dir,
        {
            "tiny/m-1.safetensors": Locked(sha256(b"weights"), 7, trust="server"),
            "tiny/config.json": Locked(sha256(b"{}"), 2),
            "other/config.json": Locked("00", 2),
        },
    )
    assert states(store) == {
        "config.json": ("ok", "first download"),
        "m.safetensors.index.json": ("no hash", ""),
        "m-1.safetensors": ("ok", "server"),
    }
    (own / "m-1.safetensors").write_text("weighty")  # as long as before
    (own / "config.json").unlink()
    assert states(store)["m-1.safetensors"] == ("damaged", "server")
    assert states(store)["config.json"] == ("missing", "")


def test_verify_knows_the_hash_by_which_the_hub_cache_names_its_blobs(store: Store) -> None:
    snapshot = cached(store)
    assert states(store)["m-1.safetensors"] == ("ok", "hub cache")
    assert states(store)["config.json"] == ("no hash", "")
    (snapshot / "m-1.safetensors").resolve().write_text("rotten!")
    assert states(store)["m-1.safetensors"] == ("damaged", "hub cache")


def test_the_catalogue_is_sound() -> None:
    for name, model in all_models().items():
        assert model.name == name
        assert model.terms in TERMS, name
        assert model.source in ("hub", "github"), name
        assert model.licence.endswith("."), name
        assert model.licence_url.startswith("https://"), name
        assert len(set(model.files)) == len(model.files) > 0, name
        for path in (*model.files, *model.optional, *model.sha256):
            assert not path.startswith("/"), name
            assert ".." not in path, name
        for path, digest in model.sha256.items():
            assert len(bytes.fromhex(digest)) == 32, name
            assert path in model.files or any(file.endswith(".index.json") for file in model.files), name


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "CHAINZOOM_GITHUB"):
        monkeypatch.delenv(name, raising=False)
    assert MODEL.url("a b.bin") == "https://huggingface.co/org/tiny/resolve/main/a%20b.bin"
    assert find_model("osediff").url("x.pkl") == "https://github.com/cswry/OSEDiff/raw/main/x.pkl"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert MODEL.url("x", "refs/pr/1") == "https://mirror.example/org/tiny/resolve/refs%2Fpr%2F1/x"


def test_every_shipped_preset_names_weights_of_the_catalogue() -> None:
    used = {name: load_preset(name).models() for name in builtin_names()}
    assert used["official"] == ("sd3-medium", "coz-sr", "qwen2.5-vl-3b", "coz-vlm-lora")
    assert "coz-vlm-lora" not in used["official-base-vlm"]
    assert used["official-null"] == ("sd3-medium", "coz-sr")
    assert set(used["official-dape"]) == {"sd3-medium", "coz-sr", "ram", "dape", "ram-tags"}
    for name in builtin_names():
        for options in (load_preset(name).backbone_options, load_preset(name).prompter_options):
            for value in options.values():
                if isinstance(value, str) and value.startswith("models:") and "/" in value:
                    model, _, inside = value.removeprefix("models:").partition("/")
                    assert any(path == inside or path.startswith(f"{inside}/") for path in find_model(model).files), value


def test_permissive_presets_hold_no_non_commercial_part() -> None:
    said = {name: load_preset(name).terms() for name in builtin_names()}
    assert said["default"] == "permissive"
    assert said["official"] == said["official-null"] == said["official-dape"] == "non-commercial"
    for name in ("open", "open-onestep"):
        assert said[name].startswith("permissive")
        assert {find_model(model).terms for model in load_preset(name).models()} <= {"open", "use restrictions"}
