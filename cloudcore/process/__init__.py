"""Running other programs from the reactor, always by argument list, always with a deadline."""
