"""Rules of the family `behaviour`: one file a rule."""
