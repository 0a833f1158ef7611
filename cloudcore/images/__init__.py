"""Where images come from and what may become one: sources, the worker that judges, the cache of a host."""
