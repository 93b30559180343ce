"""Where the command line begins: Prefect's server is started before anything else is imported."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn

from flows.server import available_server

#: Words that only ask for words.
_NO_RUN = {"--help", "-h", "--version"}


def main() -> NoReturn:
    """Run the command line and end the process with its status."""
    words = sys.argv[1:]
    # What is imported stays: to look for garbage among it takes a tenth of the start. The run turns it on again.
    gc.disable()
    if not _NO_RUN.intersection(words):
        # It takes longer than all else; where the configuration turns out to be bad, it ends with this process.
        available_server()
    from flows.command import run  # noqa: PLC0415 - see above

    raise SystemExit(run(words))
