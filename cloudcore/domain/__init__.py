"""The pure rules of the cloud: life cycles, ids, placement, addresses, firewall, quotas, policy, metadata.

Standard library only."""
