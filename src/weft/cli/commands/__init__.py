"""One file per command of the command line; the file name is the command's name."""
