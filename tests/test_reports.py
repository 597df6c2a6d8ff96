"""Reports: the JSON contract, the terminal, journal, regression test, atomic writes. Hostile text is in test_reports_hostile.py."""
