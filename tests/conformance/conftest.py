"""What to collect here."""

collect_ignore = ["judge.py", "report.py"]  # they hold no tests
