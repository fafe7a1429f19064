"""Tensors from a PyTorch weight file (``.pth``, ``.pt``) without PyTorch and without trusting the pickle inside.

A pickle can call anything it names. Here it may name only what a state dict needs: ordered dicts, storages, dtypes and the function that
rebuilds a tensor; each is replaced by a harmless stand-in. Both layouts are read: the zip archive (PyTorch 1.6 and later) and the older
stream of pickles followed by raw storages.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import WeightsError

Array = NDArray[Any]

_MAGIC = 0x1950A86A20F9469CFC6C
_BFLOAT16 = "bfloat16"
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    if not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)) or len(shape) != len(strides):
        raise pickle.UnpicklingError("a tensor of impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.count:
        raise pickle.UnpicklingError("a tensor that reaches past its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: _Tensor, *_: object) -> _Tensor:
    return data


_CALLABLES: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _Unpickler(pickle.Unpickler):
    """Knows the names of a state dict and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        try:
            return _CALLABLES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no weight file needs") from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, count = pid[:5]
        if (
            kind != "storage"
            or dtype not in _DTYPES.values()
            or type(count) is not int
            or count < 0
            or (len(pid) > 5 and pid[5] is not None)
        ):
            raise pickle.UnpicklingError("it refers to something that is no plain storage")
        return _Storage(str(key), dtype, count)


def _array(tensor: _Tensor, data: bytes) -> Array:
    stored = "<u2" if tensor.storage.dtype == _BFLOAT16 else tensor.storage.dtype
    flat = np.frombuffer(data, dtype=stored, count=tensor.storage.count)
    strides = tuple(step * flat.itemsize for step in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides)
    if tensor.storage.dtype == _BFLOAT16:
        return (view.astype("<u4") << 16).view("<f4")
    return np.array(view, order="C")


def _size(storage: _Storage) -> int:
    return storage.count * (2 if storage.dtype == _BFLOAT16 else np.dtype(storage.dtype).itemsize)


def _storages(state: Any) -> dict[str, _Storage]:
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, _Tensor) for k, v in state.items()):
        raise ValueError("it holds something other than named tensors")
    return {tensor.storage.key: tensor.storage for tensor in state.values()}


def _read_stream(file: io.BufferedReader) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("it does not start like a PyTorch file")
    _Unpickler(file).load()  # version of the layout
    system = _Unpickler(file).load()
    if not isinstance(system, dict) or not system.get("little_endian", False):
        raise ValueError("it was written on a big-endian machine")
    state = _Unpickler(file).load()
    wanted, held = _storages(state), {}
    for key in _Unpickler(file).load():
        storage = wanted.get(str(key))
        if storage is None:
            raise ValueError("it holds storages that no tensor uses")
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise ValueError(f"storage {key} is cut short or of another size")
        held[storage.key] = file.read(_size(storage))
    return state, held


def _read_zip(file: io.BufferedReader) -> tuple[dict[str, _Tensor], dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("it is a compressed archive, which PyTorch does not write")
        names = archive.namelist()
        index = next((name for name in names if name.endswith("/data.pkl")), None)
        if index is None:
            raise ValueError("it is a zip file without data.pkl")
        root = index.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        state = _Unpickler(io.BytesIO(archive.read(index))).load()
        return state, {key: archive.read(f"{root}data/{key}") for key in _storages(state)}


def read_state_dict(path: Path) -> dict[str, Array]:
    """Named tensors of a state dict, as C-contiguous arrays in the file's order; bfloat16 becomes float32.

    Raises WeightsError, naming the file, when it is missing, truncated, no flat state dict, or a pickle that asks for anything else.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            state, held = _read_zip(file) if zipped else _read_stream(file)
        for key, storage in _storages(state).items():
            if len(held.get(key, b"")) != _size(storage):
                raise ValueError(f"storage {key} is cut short")
        return {name: _array(tensor, held[tensor.storage.key]) for name, tensor in state.items()}
    except OSError as error:
        raise WeightsError(f"cannot read the weight file {path}: {error.strerror or error}") from error
    except Exception as error:  # a hostile or cut pickle can fail in any way
        reason = str(error) or type(error).__name__
        raise WeightsError(
            f"{path} is no usable PyTorch weight file: {reason}; expected a state dict of plain tensors, get it again"
        ) from error
