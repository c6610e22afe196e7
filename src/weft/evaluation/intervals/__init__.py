"""One file per interval; the file name is the interval's name everywhere."""
