"""Intent to reality: leased, idempotent steps; the only writer of progress."""
