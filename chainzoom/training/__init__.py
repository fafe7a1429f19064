"""Training what a zoom is made of: the super-resolution backbone (``sr``) and the prompt extractor (``grpo``). Extra ``train``."""
