"""Throughput of both frameworks on the same work: python -m parity bench; see docs/benchmark.md."""
