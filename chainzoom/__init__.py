"""Chain-of-Zoom: one 4x backbone, used again and again, steered by words."""
