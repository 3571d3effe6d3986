"""What the library costs beside its peers: same work, same machine, interleaved. `python -m benchmarks -h`."""
