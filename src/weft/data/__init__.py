"""Logs: what a log is, and how it is read, checked, split, recognised and sampled."""
