"""What a host agent was told, on disk before the host is touched."""
