"""Keeps what the backbones remember between runs out of the user's own cache folder."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINZOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
