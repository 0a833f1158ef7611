"""The host's network agent: ports, leases, firewall chains."""
