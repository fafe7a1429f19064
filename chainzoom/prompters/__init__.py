"""Prompters, one file each; ``base`` holds the protocol."""
