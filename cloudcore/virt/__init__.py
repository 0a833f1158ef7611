"""Hypervisors behind one small Protocol: libvirt and the simulated one."""
