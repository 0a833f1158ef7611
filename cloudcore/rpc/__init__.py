"""Typed contracts between services, their codec, envelope and faults: no IO."""
