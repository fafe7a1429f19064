"""Bodies of requests, checked before anything else happens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from chainzoom.seeds import MAX_SEED

Words = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(max_length=400)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Length = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ViewBody(_Body):
    """Which picture: a photo under a preset, words, seed and consistency."""

    photo: Name
    preset: Name | None = None
    prompt: Words = ""
    seed: Seed = 0
    consistency: Share | None = None


class PlaceBody(_Body):
    """A square view: its middle and its side in photo pixels."""

    x: Coordinate
    y: Coordinate
    side: Length


class FilmBody(_Body):
    """A film from one square view to a deeper one."""

    view: Name
    start: PlaceBody
    end: PlaceBody


class ZoomBody(_Body):
    """A zoom as ``chainzoom zoom`` makes it; ``at`` in fractions of the photo."""

    photo: Name
    at: tuple[Share, Share] = (0.5, 0.5)
    to: Annotated[float, Field(gt=1, le=65536, allow_inf_nan=False)] = 256
    preset: Name | None = None
    prompt: Words | None = None
    seed: Seed = 0
    mode: Literal["multiscale", "recursive", "onestep", "bicubic", "nearest"] | None = None
    align: Literal["none", "adain", "wavelet"] | None = None
    consistency: Share | None = None
    size: Annotated[int, Field(ge=64, le=1024)] | None = None
