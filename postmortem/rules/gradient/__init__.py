"""Rules of the family `gradient`: one file a rule."""
