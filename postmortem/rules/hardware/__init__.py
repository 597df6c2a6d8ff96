"""Rules of the family `hardware`: one file a rule."""
