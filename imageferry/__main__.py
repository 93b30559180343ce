"""The command line as `python -m imageferry`."""

from __future__ import annotations

import sys

if not sys.flags.safe_path:
    # The current directory, whose modules are the user's: a json.py there must not be taken for Python's.
    del sys.path[0]

from imageferry.launcher import main

if __name__ == "__main__":
    main()
