"""Windows: a photo's synthetic levels as planes that are made where somebody looks."""

from chainzoom.backbones.noise import FieldBackbone, NoiseField
from chainzoom.windows.cache import WindowCache
from chainzoom.windows.grid import Index, Level, Tiling
from chainzoom.windows.planes import Planes
from chainzoom.windows.render import Incident

__all__ = ["FieldBackbone", "Incident", "Index", "Level", "NoiseField", "Planes", "Tiling", "WindowCache"]
