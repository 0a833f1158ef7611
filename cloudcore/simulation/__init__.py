"""The whole cloud in one process, on a simulated clock."""
