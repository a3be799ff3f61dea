"""The experiments behind docs/results.md: `make experiments DATA=DIR`."""
