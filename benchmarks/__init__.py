"""What privadv costs beside what one would use instead: `make bench` measures both sides in one run (docs/benchmarks.md)."""
