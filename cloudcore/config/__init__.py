"""The one TOML file: typed sections, environment overrides, every mistake reported at once."""
