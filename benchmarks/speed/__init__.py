"""What msqnet costs beside what a competent user would assemble: `python -m benchmarks.speed`."""
