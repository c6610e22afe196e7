"""Pages: runs, studies, certificates, the demonstration, benchmarks."""
