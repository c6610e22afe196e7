"""Log formats, one per file, found by file name."""
