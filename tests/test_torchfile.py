"""Weight files without PyTorch. The files are written here with the standard pickler and names that point nowhere."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainzoom.errors import WeightsError
from chainzoom.torchfile import read_state_dict

MAGIC = 0x1950A86A20F9469CFC6C


class Global:
    """Pickles as the name of a thing in a module that need not be installed."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    def __init__(self, function: Global, *args: Any) -> None:
        self.function, self.args = function, args


class Storage:
    def __init__(self, kind: str, key: str, data: np.ndarray, count: int | None = None) -> None:
        self.kind, self.key, self.data, self.count = kind, key, data, data.size if count is None else count


class Pickler(pickle._Pickler):  # the Python one: its save can be extended
    def __init__(self, file: io.BytesIO, legacy: bool) -> None:
        super().__init__(file, protocol=2)
        self.legacy = legacy

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            view = (None,) if self.legacy else ()
            return ("storage", Global("torch", obj.kind), obj.key, "cpu", obj.count, *view)
        return None


def dumps(obj: Any, legacy: bool) -> bytes:
    file = io.BytesIO()
    Pickler(file, legacy).dump(obj)
    return file.getvalue()


def tensor(storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Call:
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), storage, offset, shape, strides, False, OrderedDict())


def write_legacy(path: Path, state: Any, storages: list[Storage]) -> Path:
    parts = [dumps(thing, True) for thing in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True}, state)]
    parts.append(dumps([s.key for s in storages], True))
    parts += [struct.pack("<q", s.count) + s.data.tobytes() for s in storages]
    path.write_bytes(b"".join(parts))
    return path


def write_zip(path: Path, state: Any, storages: list[Storage], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", dumps(state, False))
        archive.writestr("archive/byteorder", "little")
        for s in storages:
            archive.writestr(f"archive/data/{s.key}", s.data.tobytes())
    return path


WRITERS = pytest.mark.parametrize("write", [write_legacy, write_zip])
Writer = Callable[[Path, Any, list[Storage]], Path]


@WRITERS
def test_reads_tensors_views_and_scalars(tmp_path: Path, write: Writer) -> None:
    a, b = Storage("FloatStorage", "0", np.arange(24, dtype="<f4")), Storage("LongStorage", "1", np.array([7], "<i8"))
    state = {
        "w": tensor(a, (4, 2, 3), (1, 12, 4)),
        "row": tensor(a, (3,), (1,), 5),
        "n": tensor(b, (), ()),
        "none": tensor(a, (0, 3), (3, 1)),
    }
    read = read_state_dict(write(tmp_path / "w.pth", OrderedDict(state), [a, b]))
    assert list(read) == ["w", "row", "n", "none"]
    np.testing.assert_array_equal(read["w"], np.arange(24, dtype="f4").reshape(2, 3, 4).transpose(2, 0, 1))
    assert read["w"].flags.c_contiguous
    np.testing.assert_array_equal(read["row"], [5, 6, 7])
    assert (read["n"].shape, read["n"].dtype, int(read["n"])) == ((), np.int64, 7)
    assert read["none"].shape == (0, 3)


@WRITERS
def test_bfloat16_becomes_float32(tmp_path: Path, write: Writer) -> None:
    values = np.array([1.5, -2.0, 0.0], np.float32)
    s = Storage("BFloat16Storage", "0", (values.view("<u4") >> 16).astype("<u2"))
    read = read_state_dict(write(tmp_path / "w.pt", {"x": tensor(s, (3,), (1,))}, [s]))["x"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)


@WRITERS
@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("numpy", "ndarray")])
def test_refuses_every_other_name(tmp_path: Path, write: Writer, module: str, name: str) -> None:
    proof = tmp_path / "executed"
    path = write(tmp_path / "evil.pth", {"x": Call(Global(module, name), f"touch {proof}")}, [])
    with pytest.raises(WeightsError, match=rf"evil\.pth.*{module}\.{name}"):
        read_state_dict(path)
    assert not proof.exists()


@WRITERS
@pytest.mark.parametrize(
    ("shape", "strides", "offset"), [((5,), (1,), 0), ((2, 2), (3, 1), 0), ((1,), (1,), 4), ((2,), (-1,), 1), ((2,), (1, 1), 0)]
)
def test_refuses_tensors_outside_their_storage(
    tmp_path: Path, write: Writer, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    s = Storage("FloatStorage", "0", np.zeros(4, "<f4"))
    with pytest.raises(WeightsError, match="tensor"):
        read_state_dict(write(tmp_path / "w.pth", {"x": tensor(s, shape, strides, offset)}, [s]))


@WRITERS
def test_truncated_at_any_byte_is_a_weights_error(tmp_path: Path, write: Writer) -> None:
    s = Storage("FloatStorage", "0", np.arange(8, dtype="<f4"))
    path = write(tmp_path / "cut.pth", {"x": tensor(s, (8,), (1,))}, [s])
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth"):
            read_state_dict(path)


def test_storage_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    s = Storage("FloatStorage", "0", np.zeros(4, "<f4"), count=8)
    for write in (write_legacy, write_zip):
        with pytest.raises(WeightsError, match="cut short"):
            read_state_dict(write(tmp_path / "w.pth", {"x": tensor(s, (8,), (1,))}, [s]))


def test_refuses_what_is_no_state_dict(tmp_path: Path) -> None:
    s = Storage("FloatStorage", "0", np.zeros(4, "<f4"))
    with pytest.raises(WeightsError, match="named tensors"):
        read_state_dict(write_zip(tmp_path / "w.pth", {"epoch": 3}, []))
    with pytest.raises(WeightsError, match="compressed"):
        read_state_dict(write_zip(tmp_path / "z.pth", {"x": tensor(s, (4,), (1,))}, [s], zipfile.ZIP_DEFLATED))
    (tmp_path / "t.pth").write_text("no weights")
    with pytest.raises(WeightsError, match=r"t\.pth"):
        read_state_dict(tmp_path / "t.pth")
    with pytest.raises(WeightsError, match=r"absent\.pth.*No such file"):
        read_state_dict(tmp_path / "absent.pth")


def test_agrees_with_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    wanted = {
        "a": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        "h": torch.randn(5).half()[1:3],
        "p": torch.nn.Parameter(torch.ones(2)),
    }
    for modern in (True, False):
        torch.save(wanted, tmp_path / "w.pt", _use_new_zipfile_serialization=modern)
        read = read_state_dict(tmp_path / "w.pt")
        for name, value in wanted.items():
            np.testing.assert_array_equal(read[name], value.detach().numpy())
