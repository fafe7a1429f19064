"""RAM's tagging network: Swin tokens, and a Query2Label head in which every tag looks at the image (Zhang et al. 2023, section 3).

Module names follow the published checkpoints. Inference only: no dropout, no captioning parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chainzoom.prompters.ram_swin import Swin

REAL_CONFIG: dict[str, Any] = {
    "swin": {
        "vision_width": 1536,
        "image_res": 384,
        "window_size": 12,
        "embed_dim": 192,
        "depths": [2, 2, 18, 2],
        "num_heads": [6, 12, 24, 48],
    },
    "tagging_head": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "encoder_width": 512,
        "layer_norm_eps": 1e-12,
    },
}
"""Sizes of ``ram_swin_large_14m.pth``."""


class CrossAttention(nn.Module):
    """Queries, keys and values of tags looking at image tokens."""

    def __init__(self, width: int, image_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(image_width, width), nn.Linear(image_width, width)

    def forward(self, tags: Tensor, image: Tensor) -> Tensor:
        """(B, tags, C) and (B, tokens, image width) -> (B, tags, C)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, tags), (self.key, image), (self.value, image))
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Output(nn.Module):
    """Linear, add, layer norm: how BERT closes each half of a layer."""

    def __init__(self, inner: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inner, width), nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """(..., inner) and (..., C) -> (..., C)."""
        out: Tensor = self.LayerNorm(self.dense(x) + residual)
        return out


class HeadLayer(nn.Module):
    """A BERT layer whose self-attention was taken out."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        super().__init__()
        width, inner, eps = head["hidden_size"], head["intermediate_size"], head.get("layer_norm_eps", 1e-12)
        self.crossattention = nn.ModuleDict(
            {"self": CrossAttention(width, head["encoder_width"], head["num_attention_heads"]), "output": Output(width, width, eps)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Output(inner, width, eps)

    def forward(self, tags: Tensor, image: Tensor) -> Tensor:
        """(B, tags, C) and (B, tokens, image width) -> (B, tags, C)."""
        tags = self.crossattention["output"](self.crossattention["self"](tags, image), tags)
        out: Tensor = self.output(F.gelu(self.intermediate["dense"](tags)), tags)
        return out


class RAM(nn.Module):
    """Image in, one logit for each tag out."""

    def __init__(self, config: Mapping[str, Any], tags: int) -> None:
        super().__init__()
        swin, head = config["swin"], config["tagging_head"]
        width, image_width = head["hidden_size"], head["encoder_width"]
        self.size: int = swin["image_res"]
        self.visual_encoder = Swin(swin["image_res"], swin["embed_dim"], swin["depths"], swin["num_heads"], swin["window_size"])
        self.image_proj = nn.Linear(swin["vision_width"], image_width)
        self.label_embed = nn.Parameter(torch.zeros(tags, image_width))
        self.wordvec_proj = nn.Linear(image_width, width)
        layers = nn.ModuleList(HeadLayer(head) for _ in range(head["num_hidden_layers"]))
        self.tagging_head = nn.ModuleDict({"encoder": nn.ModuleDict({"layer": layers})})
        self._layers = tuple(layers)  # not registered twice: a tuple is no submodule
        self.fc = nn.Linear(width, 1)

    def image_embeds(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) ImageNet-normalised -> (B, 1 + tokens, 512)."""
        out: Tensor = self.image_proj(self.visual_encoder(pixels))
        return out

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) ImageNet-normalised -> logits (B, tags)."""
        image = self.image_embeds(pixels)
        tags = F.relu(self.wordvec_proj(self.label_embed)).expand(len(image), -1, -1)
        for layer in self._layers:
            tags = layer(tags, image)
        out: Tensor = self.fc(tags).squeeze(-1)
        return out
