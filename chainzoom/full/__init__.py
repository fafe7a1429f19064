"""Whole images: every pixel of a level, streamed to a file."""
