"""Reports: one file per sink."""
