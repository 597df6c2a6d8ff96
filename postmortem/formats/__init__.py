"""Log dialects as data: one TOML file each, and the loader that proves them."""
