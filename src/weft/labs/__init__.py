"""Teaching and side lines: finite models, games, self-play."""
