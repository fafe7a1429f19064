"""Training super-resolution backbones: OSEDiff on Stable Diffusion 3 and 2.1, and OracleZoom's adapter on top. Extra ``train``."""
