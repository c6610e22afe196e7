"""One file per world; the file name is the world's name everywhere."""
