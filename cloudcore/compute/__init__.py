"""The host's compute agent: journal, convergence loop, guests."""
