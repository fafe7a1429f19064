"""Kept for its importers; see ``backbones.noise``."""

from chainzoom.backbones.noise import FieldBackbone, NoiseField

__all__ = ["FieldBackbone", "NoiseField"]
