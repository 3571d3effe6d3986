"""What the library costs, measured beside plain synchronous Python in the same process."""
