"""The EC2, STS and IAM front door."""
