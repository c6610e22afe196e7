"""One file per way of drawing from a log."""
