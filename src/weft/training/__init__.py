"""Runs: loops, engines, folders, checkpoints, alarms."""
