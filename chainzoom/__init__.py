"""Chain-of-Zoom: one 4x backbone, used again and again, steered by words.

From Python, every state of a zoom as it is made::

    import chainzoom
    chain = chainzoom.load_preset("default").build()
    for step in chain.run("photo.jpg", at=(0.62, 0.41), to=256):
        print(step.scale, step.kind, step.prompt.text, step.image.shape)
"""

from chainzoom.chain import Chain
from chainzoom.errors import ChainzoomError
from chainzoom.photos import Photo
from chainzoom.presets import load_preset
from chainzoom.regions import Region
from chainzoom.settings import Settings
from chainzoom.step import Step
from chainzoom.version import __version__

__all__ = ["Chain", "ChainzoomError", "Photo", "Region", "Settings", "Step", "__version__", "load_preset"]
