from __future__ import annotations

from chainzoom.seeds import MAX_SEED, derive


def test_seeds_are_stable_across_versions() -> None:
    assert derive(0, "abc", "step", 3) == derive(0, "abc", "step", 3) == 48664156782769


def test_every_part_counts_and_types_do_not_collide() -> None:
    seeds = {derive(0), derive(1), derive(0, "1"), derive(0, 1), derive(0, "a", "b"), derive(0, "ab"), derive(0, "a\x1fstr:b")}
    assert len(seeds) >= 6
    assert all(0 <= seed <= MAX_SEED for seed in seeds)
