"""What everything stands on: errors, the registry of variants, trees of arrays, files, memory, compiled programs."""
