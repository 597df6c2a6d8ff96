"""Rules: one file each, found by themselves."""
