"""How near the synthesised comes to real surfaces: kernel distance, named materials, seeds and depth. See docs/evaluation.md."""
