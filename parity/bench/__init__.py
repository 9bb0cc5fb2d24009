"""Training and inference throughput of both frameworks on the same work: python -m parity bench (docs/benchmark.md)."""
