"""Rules of the family `curve`: one file a rule."""
