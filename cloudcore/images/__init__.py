"""The image worker: where images come from, and whether they may be trusted."""
