"""What became of a run: outcomes, figures by rule, waits, and the files that a run leaves."""
