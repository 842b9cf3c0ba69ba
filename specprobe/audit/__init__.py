"""Limits on what analyses measure: configuration, verdicts, baselines, and the formats that CI reads."""
