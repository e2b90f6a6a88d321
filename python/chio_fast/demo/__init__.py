"""The demonstration: `chio-fast demo`."""
