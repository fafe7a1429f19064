"""A server over two photos and a Chromium for it, for the tests that use the page as people do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.viewer.viewer_browser import ViewerBrowser

if TYPE_CHECKING:
    from tests.viewer.viewer_server import Running


@pytest.fixture(scope="module")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Not above: without the viewer's packages this folder's tests skip, and a conftest must load all the same.
    from tests.viewer import viewer_fakes
    from tests.viewer.viewer_server import cloth, running

    folder = tmp_path_factory.mktemp("viewer-page")
    (folder / "photos").mkdir()
    cloth(folder / "photos" / "cloth.png")
    cloth(folder / "photos" / "other.png", 90, 120)
    with running(folder / "photos", folder / "cache", viewer_fakes.quick) as found:
        yield found


@pytest.fixture(scope="module")
def module_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViewerBrowser]:
    folder = tmp_path_factory.mktemp("profile")
    with ViewerBrowser(folder / "profile", folder / "downloads", width=1000, height=640) as found:
        found.downloads = folder / "downloads"
        yield found


@pytest.fixture
def browser(module_browser: ViewerBrowser) -> Iterator[ViewerBrowser]:
    """Without any complaint before the test, and none allowed in it."""
    module_browser.requests.clear()
    module_browser.complaints.clear()
    yield module_browser
    assert module_browser.complaints == []
    module_browser.screen(1000, 640)
