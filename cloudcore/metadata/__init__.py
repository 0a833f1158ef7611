"""What guests read at 169.254.169.254."""
