"""Log formats, one per file, found by file name."""

ELSEWHERE = {"sample": "weft.envs.sample_logs"}  # logs that are made in a world need worlds
