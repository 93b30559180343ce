"""Where the command line begins: Prefect's server is started before anything else is imported."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import NoReturn

from cli.exit_codes import INTERRUPTED
from cli.standard_streams import prepare_streams
from orchestration.server.own_server import ServerError, find_or_start_server

# Words with which no server of our own is wanted: they ask for help, or for a server of the user's.
_NO_SERVER = {"--help", "-h", "--version", "--no-history", "--distribute"}

# Commands that set up Prefect, and record nothing.
_SET_UP = {"deploy", "server", "worker"}


def main() -> NoReturn:
    """Run the command line and end the process with its status."""
    prepare_streams()
    words = sys.argv[1:]
    # What is imported stays: to look for garbage among it takes a tenth of the start. The run turns it on again.
    gc.disable()
    with contextlib.ExitStack() as opened:
        if not _NO_SERVER.intersection(words) and not _SET_UP.intersection(words[:1]):
            # It takes longer than all else; where the configuration turns out to be bad, it ends with this process.
            with contextlib.suppress(ServerError):
                # Reported once the words are read: an error in them comes first.
                opened.enter_context(find_or_start_server())
        from cli.app import run  # noqa: PLC0415 - see above

        try:
            status = run(words)
        except KeyboardInterrupt:
            # Before the run takes the signals: while a configuration is read from a pipe, say.
            status = INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    # What Prefect's threads still hold for a server that is gone must not keep the process: all else has been sent.
    os._exit(status)
