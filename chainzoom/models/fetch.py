"""Bringing a model into the weights folder: every file checked against its published, announced or first-seen SHA-256."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from chainzoom.atomic import output_error
from chainzoom.errors import OptionError, OutputError, WeightsError
from chainzoom.models.catalogue import INDEX, Model, hub_address
from chainzoom.models.lockfile import NAME, Locked, read_lock, write_lock
from chainzoom.models.store import Store, locked_files, shards_of
from chainzoom.models.transfer import Announced, RefusedError, download
from chainzoom.weights import sha256_of

TOKEN = "HF_TOKEN"
PART = ".part"
_POINTER = b"version https://git-lfs.github.com/spec/"

Tell = Callable[[str, int, int], None]
"""Called with a file's path, the bytes that are there, and the bytes in all (0: not known)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file of a model after ``fetch``; ``fresh`` when bytes came over the network now."""

    path: str
    locked: Locked
    fresh: bool


def fetch(model: Model, store: Store, *, tell: Tell, sleep: Callable[[float], None] = time.sleep) -> Iterator[Fetched]:
    """Download what is missing, file by file; each is recorded in the lock file as soon as it is whole.

    Files that are there already are kept: recorded ones as they are, others are hashed and recorded. All files of one run come from the
    same commit of the repository where the server names it. Raises WeightsError, OutputError, OptionError when offline.
    """
    folder = store.folder(model)
    with _alone(store.weights_dir):
        locked = read_lock(store.weights_dir)
        revision = next((record.revision for record in locked_files(model, locked).values() if record.revision), model.revision)
        queue = [*model.files, *model.optional]
        while queue:
            path = queue.pop(0)
            key = f"{model.name}/{path}"
            known = locked.get(key)
            record = _kept(model, path, folder / path, known)
            fresh = record is None
            if record is None:
                try:
                    record = _bring(model, path, folder / path, known, revision, tell, sleep)
                except RefusedError as refusal:
                    if refusal.status == 404 and path in model.optional:
                        continue
                    raise _explained(refusal, model, path) from None
                if record.revision:
                    revision = record.revision
            if record != known:
                locked[key] = record
                write_lock(store.weights_dir, locked)
            if path.endswith(INDEX):
                parent = PurePosixPath(path).parent
                queue = [str(parent / shard) for shard in shards_of(folder / path)] + queue
            yield Fetched(path, record, fresh)


def _kept(model: Model, path: str, file: Path, known: Locked | None) -> Locked | None:
    """The record of a file that is there and good, or None when it must come (again)."""
    if not file.is_file():
        return None
    size = file.stat().st_size
    if known is not None:
        return known if size == known.size else None
    digest, published = sha256_of(file), model.sha256.get(path)
    if published and digest != published:
        raise WeightsError(
            f"{file} is there, but is not the published file (SHA-256 {digest}, expected {published}); move it away and fetch again"
        )
    return Locked(digest, size, trust="catalogue" if published else "found here")


def _bring(model: Model, path: str, file: Path, known: Locked | None, revision: str, tell: Tell, sleep: Callable[[float], None]) -> Locked:
    if _offline():
        raise OptionError(f"{model.name}/{path} is not here and HF_HUB_OFFLINE is set; unset it to fetch, or copy the file to {file}")
    published = model.sha256.get(path, "")
    expected = known.sha256 if known else published
    url = model.url(path, revision)

    def check(told: Announced) -> None:
        if expected and told.sha256 and told.sha256 != expected:
            where = f"remove '{model.name}/{path}' from {NAME} to accept the new file" if known else "the catalogue knows another file"
            raise WeightsError(f"{url} has changed: SHA-256 {told.sha256} announced, {expected} expected; nothing was downloaded; {where}")

    part = file.with_name(file.name + PART)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(part.parent, error) from error
    token = os.environ.get(TOKEN, "").strip() if model.source == "hub" else ""
    told = download(url, part, token=token, check=check, tell=lambda done, size: tell(path, done, size), sleep=sleep)
    digest = _checked(part, url, expected or told.sha256)
    try:
        part.replace(file)
    except OSError as error:
        raise output_error(file, error) from error
    trust = "catalogue" if published else known.trust if known else "server" if told.sha256 else "first download"
    return Locked(digest, file.stat().st_size, url, told.revision, trust)


def _checked(part: Path, url: str, expected: str) -> str:
    """The part's SHA-256. Raises WeightsError, and removes the part, when it is not what was expected."""
    digest = sha256_of(part)
    with part.open("rb") as file:
        pointer = file.read(len(_POINTER)) == _POINTER
    if pointer or (expected and digest != expected):
        part.unlink()
        what = "is only a pointer to the file (Git LFS)" if pointer else f"arrived damaged: SHA-256 {digest}, expected {expected}"
        raise WeightsError(f"{url} {what}; it was removed: run the same command again, or fetch from another address (HF_ENDPOINT)")
    return digest


def _explained(refusal: RefusedError, model: Model, path: str) -> WeightsError:
    """What to do about a refusal. The token itself is never part of a message."""
    page = f"{hub_address()}/{model.repository}"
    if model.source == "hub" and refusal.status in (401, 403):
        if not os.environ.get(TOKEN, "").strip():
            remedy = f"accept the terms at {page}, make an access token in your account's settings and set {TOKEN} to it"
        else:
            remedy = f"the token in {TOKEN} is not let in: accept the terms at {page} with its account, and let it read gated repositories"
        return WeightsError(f"{model.repository} answered {refusal.status} for {path}; {remedy}")
    if refusal.status == 404:
        return WeightsError(
            f"{refusal}: the repository was moved, renamed or emptied; get {path} elsewhere and put it under the model's folder "
            f"'{model.name}' in the weights folder"
        )
    return WeightsError(f"{refusal}; try again later, or use another address (HF_ENDPOINT, CHAINZOOM_GITHUB)")


@contextmanager
def _alone(weights_dir: Path) -> Iterator[None]:
    """One fetch at a time in a weights folder, so that no two write the same part or lock file."""
    try:
        weights_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(weights_dir / ".fetch.lock", timeout=0):
            yield
    except Timeout:
        raise OutputError(f"another fetch is writing to {weights_dir}; wait until it is done") from None
    except OSError as error:
        raise output_error(weights_dir, error) from error


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")
