"""What the flows' parameters take, so that Prefect's form and its API refuse the rest before there is a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

_PART = "[A-Za-z0-9_.+*-]+"

# A path on the machine of the run, or the name of a stored configuration.
ConfigName = Annotated[str, Field(min_length=1)]

# A part of a rule's source, or all of it.
SourceText = Annotated[str, Field(min_length=1)]

# A tag, or a digest.
ImageText = Annotated[str, Field(min_length=1)]

# ``registry/repository:tag``.
DestinationText = Annotated[str, Field(min_length=1)]

AtLeastOne = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]

# ``os/arch`` or ``os/arch/variant``, and all else that the command line makes of its flags.
PlatformText = Annotated[
    str,
    Field(
        pattern=f"^{_PART}(:{_PART})?/{_PART}([:/]{_PART})?$",
        examples=["linux/amd64", "linux/arm64/v8"],
    ),
]
