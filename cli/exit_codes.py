"""The exit statuses of the command line."""

# Everything is at its destination.
DONE = 0
# Some image failed, or what was asked for cannot be done.
FAILED = 1
# Usage or configuration: no registry was contacted.
USAGE = 2
# Stopped by a signal.
INTERRUPTED = 130
