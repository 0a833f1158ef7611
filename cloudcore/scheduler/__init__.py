"""Which host takes an instance: filters and weighers over a view of the hosts."""
