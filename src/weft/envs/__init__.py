"""Worlds to act in: weft's own, Gymnasium's and Atari's, and the logs that are made in them."""
