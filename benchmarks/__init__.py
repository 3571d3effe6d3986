"""Compare the cost of this library with others: same work, same machine, in turns. `python -m benchmarks -h`."""
