"""Text to sentence embeddings: ``wordpiece`` makes token ids, ``encoder`` vectors; no torch, no tokenizer library."""

from chainzoom.sentences.encoder import WIDTH, SentenceEncoder

__all__ = ["WIDTH", "SentenceEncoder"]
