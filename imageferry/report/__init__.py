"""The results of a run: outcomes, statistics by rule, waits, and the files that it writes."""
