from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chainzoom.errors import OutputError
from chainzoom.prompters.cache import AnswerCache, answer_key, image_hash

BLACK, WHITE = np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 255, np.uint8)


def test_values_come_back_also_from_another_process_s_file(tmp_path):
    path = tmp_path / "deep" / "prompts.sqlite"
    first = AnswerCache(path)
    assert first.get("k") is None
    first.put("k", {"text": "fur, 毛", "cut": False})
    second = AnswerCache(path)
    assert second.get("k") == {"text": "fur, 毛", "cut": False}
    second.put("k", 1)
    assert first.get("k") == 1
    first.close()
    second.close()


def test_it_is_bounded_and_keeps_what_was_used_last():
    cache = AnswerCache(limit=2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (len(cache), cache.get("a"), cache.get("b"), cache.get("c")) == (2, 1, None, 3)


def test_many_threads():
    cache = AnswerCache(limit=50)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: cache.put(str(i), i), range(100)))
        assert sum(v is not None for v in pool.map(lambda i: cache.get(str(i)), range(100))) == 50


def test_a_failed_write_leaves_the_old_value(tmp_path):
    cache = AnswerCache(tmp_path / "p.sqlite")
    cache.put("k", "old")
    with pytest.raises(TypeError):
        cache.put("k", object())
    assert cache.get("k") == "old"


def test_a_file_that_is_no_cache_is_named(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8" * 1000)
    with pytest.raises(OutputError, match=r"photo\.jpg .*delete it"):
        AnswerCache(path)
    with pytest.raises(OutputError, match="prompt cache"):
        AnswerCache(tmp_path)
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE answers (x TEXT)")
    other.close()
    with pytest.raises(OutputError, match=r"other\.sqlite"):
        AnswerCache(tmp_path / "other.sqlite").get("k")


def test_keys_depend_on_everything_that_shapes_an_answer():
    def key(model="m", question="q", images=(BLACK, WHITE), **settings):
        return answer_key(model, question, images, **settings)

    others = [
        key(model="n"),
        key(question="r"),
        key(images=(WHITE, BLACK)),
        key(images=(BLACK,)),
        key(seed=1),
        key(images=(BLACK.reshape(3, 2, 3), WHITE)),
    ]
    assert len({key(), *others}) == 7
    assert key() == key(images=[BLACK.copy(), WHITE.copy()])
    assert image_hash(BLACK) == image_hash(np.asfortranarray(BLACK))
