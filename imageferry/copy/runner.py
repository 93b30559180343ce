"""A whole run of the engine by itself: every rule planned, every image copied, with more attempts where they may help.

It is what runs without Prefect, and what goes on with a run that Prefect's server has left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from imageferry.concurrency import for_each
from imageferry.copy.errors import BlobFailed, DeliveryError
from imageferry.copy.retries import retry_transient
from imageferry.registry import Descriptor, Repository
from imageferry.text import short_digest

if TYPE_CHECKING:
    from imageferry.copy.engine import Engine
    from imageferry.copy.job import CopyJob
    from imageferry.model import Rule

#: Rules that are copied at the same time: each costs a subflow with Prefect, and more of them bring little.
RULES_COPIED_AT_ONCE = 4

#: Images of one rule that are copied at the same time: enough to fill the blob slots, few enough to keep memory small.
IMAGES_AT_ONCE = 12


class LocalRunner:
    """Copies what is not settled yet: what was copied, or has failed for good, is left alone."""

    def __init__(self, engine: Engine) -> None:
        self._ferry = engine

    async def run(self, rules: Iterable[Rule]) -> None:
        """Plan the rules and copy what they have to copy. Never raises for an image: each costs itself alone."""
        rules = list(rules)
        await self._ferry.plan_all(rules)
        works = [work for rule in rules for work in await self._ferry.plan(rule)]
        # As many as with subflows, but none waits for the last one of its rule.
        await for_each(works, RULES_COPIED_AT_ONCE * IMAGES_AT_ONCE, self.copy)

    async def copy_rule(self, rule: Rule) -> None:
        """Copy what one rule has to copy."""
        await for_each(await self._ferry.plan(rule), IMAGES_AT_ONCE, self.copy)

    async def copy(self, work: CopyJob) -> None:
        """Copy one image, and note it as failed where it cannot be copied."""
        if work.is_finished:
            return
        try:
            await retry_transient(lambda: self._ferry.copy(work), self._ferry.options.retries)
        except Exception as error:
            # Whatever it is, it costs this image alone, and is reported.
            self._ferry.give_up(work, error)

    async def move(self, blob: Descriptor, source: Repository, destinations: list[Repository]) -> None:
        """Move a blob: what the engine is given to move blobs with. Raises ``DeliveryError``."""
        try:
            await retry_transient(
                lambda: self._ferry.transfer(blob, source, destinations),
                self._ferry.options.retries,
            )
        except DeliveryError as error:
            raise as_permanent(blob, error) from None


def as_permanent(blob: Descriptor, error: DeliveryError) -> DeliveryError:
    """Give the error of a blob that has been tried as often as it may be: its image must not try it again."""
    return DeliveryError(
        f"blob {short_digest(blob.digest)}", {name: BlobFailed(str(why)) for name, why in error.failures.items()}
    )
