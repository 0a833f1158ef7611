"""Host networking behind one small Protocol: bridge, dnsmasq and nftables, and the simulated one."""
