"""cloudcore: a private cloud that speaks Amazon's EC2 and S3 APIs."""

__version__ = "0.1"
