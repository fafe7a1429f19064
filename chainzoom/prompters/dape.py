"""``dape``: degradation-aware tags (SeeSR's DAPE, a LoRA on RAM's Swin-L tagger), one of the official prompt sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import BackendError, ImageError, WeightsError
from chainzoom.extras import need
from chainzoom.images import Image
from chainzoom.prompters.base import Prompt, View
from chainzoom.weights import Weights, cached_sha256

if TYPE_CHECKING:
    from chainzoom.prompters.ram_head import RAM

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LICENCE = "Apache-2.0 (as published by the authors of {})"


class DAPE:
    """Tags whose probability is above their own threshold. Make one with ``from_files``."""

    name = "dape"

    def __init__(
        self, model: RAM, tags: Sequence[str], thresholds: Sequence[float], files: Sequence[tuple[Path, str]], batch_size: int
    ) -> None:
        self._model, self._tags, self._files, self._batch = model, list(tags), tuple(files), batch_size
        self._thresholds = np.asarray(thresholds, dtype=np.float32)

    @classmethod
    def from_files(
        cls,
        ram: str | Path,
        dape: str | Path | None,
        tags: str | Path,
        thresholds: str | Path,
        config: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
        batch_size: int = 8,
    ) -> DAPE:
        """Build from ``ram_swin_large_14m.pth``, ``DAPE.pth`` (None: plain RAM), ``ram_tag_list.txt`` and ``ram_tag_list_threshold.txt``.

        ``config`` gives other sizes (keys ``swin`` and ``tagging_head``); None means the published ones. Runs in float32.
        Raises WeightsError for files that are missing, truncated, unsafe or do not fit, MissingExtraError without torch.
        """
        torch = need("torch", "the dape prompter")
        from chainzoom.prompters import ram_files
        from chainzoom.prompters.ram_head import RAM, REAL_CONFIG

        words = ram_files.read_tags(tags)
        limits = ram_files.read_thresholds(thresholds, len(words))
        state = ram_files.read_state(ram, "RAM checkpoint")
        update = None if dape is None else ram_files.read_state(dape, "DAPE file")
        rows = len(state["label_embed"]) if "label_embed" in state else len(words)
        if rows != len(words):
            raise WeightsError(
                f"tag list {tags} has {len(words)} tags, the RAM checkpoint {ram} knows {rows}; use the list that belongs to it"
            )
        with torch.device("meta"):
            model = RAM(REAL_CONFIG if config is None else config, len(words))
        ram_files.load_ram(model, state, str(ram))
        if update is not None:
            ram_files.merge_dape(model, update, str(dape))
        files = [(Path(ram), "RAM")] + ([] if dape is None else [(Path(dape), "SeeSR")])
        return cls(model.to(device).eval().requires_grad_(False), words, limits, files, batch_size)

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """The checkpoint and, when given, the LoRA; hashed on first use."""
        return tuple(Weights(path.name, "file", cached_sha256(path), _LICENCE.format(who)) for path, who in self._files)

    def logits(self, image: Image) -> NDArray[np.float32]:
        """One number a tag before the sigmoid, (tags,), for an image (H, W, 3) float32 in [0, 1]."""
        return np.asarray(self._logits([image])[0])

    def tags(self, image: Image) -> list[str]:
        """The words whose probability exceeds their threshold, in the list's order."""
        present, _ = self._present(self.logits(image))
        return [self._tags[i] for i in present]

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """Tags of each crop, joined by commas as the official code does."""
        prompts = []
        for start in range(0, len(views), self._batch):
            for row in self._logits([view.crop for view in views[start : start + self._batch]]):
                present, probability = self._present(row)
                ranked = sorted(present, key=lambda i: -probability[i])
                prompts.append(
                    Prompt(
                        text=", ".join(self._tags[i] for i in present),
                        source=self.name,
                        tags=tuple((self._tags[i], float(probability[i])) for i in ranked),
                        notes=() if present else ("no tag is above its threshold",),
                    )
                )
        return prompts

    def _present(self, row: NDArray[np.float32]) -> tuple[list[int], NDArray[np.float32]]:
        import torch

        probability = torch.sigmoid(torch.from_numpy(row)).numpy()
        return np.flatnonzero(probability > self._thresholds).tolist(), probability

    def _logits(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(len(images), tags)."""
        import torch

        device = self._model.fc.weight.device
        try:
            with torch.inference_mode():
                pixels = torch.cat([self._pixels(image).to(device) for image in images])
                out: NDArray[np.float32] = self._model(pixels).float().cpu().numpy()
        except torch.cuda.OutOfMemoryError:
            advice = f"batch_size={max(1, self._batch // 2)}" if self._batch > 1 else "device='cpu'"
            out = np.empty(0, np.float32)
        if not out.size:
            raise BackendError(f"the dape prompter ran out of memory on {device} with batch_size={self._batch}; next, try {advice}")
        if not np.isfinite(out).all():
            raise BackendError("the dape prompter gave numbers that are not finite; check the checkpoint with its authors' hash")
        return out

    def _pixels(self, image: Image) -> Any:
        """(1, 3, S, S): bilinear with antialiasing to the network's square, ImageNet statistics."""
        import torch
        import torch.nn.functional as F

        if image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"expected an image of shape (H, W, 3), got {image.shape}")
        planes = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)[None]
        side = self._model.size
        small = F.interpolate(planes, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return (small - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)
