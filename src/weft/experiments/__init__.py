"""Many runs for one question: benchmarks, searches, studies, triage."""
