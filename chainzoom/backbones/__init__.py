"""Super-resolution backbones, one file each; ``base`` holds the protocol."""
