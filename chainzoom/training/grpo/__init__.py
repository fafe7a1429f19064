"""Training the prompt extractor: GRPO on a vision-language model, with rewards for what its words are worth (paper section 3.3)."""
