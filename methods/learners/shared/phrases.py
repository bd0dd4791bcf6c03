"""Common to learners that read a phrase: checks that each of their examples has one."""

from __future__ import annotations

from harness.structures import Instance, Said, Sample, UserError


def required_phrase(said: Said, sample: Sample, instance: Instance, where: str) -> str:
    """The instance's words; `where` is the learner's file, for the message.

    Raises:
        UserError: It has none, or only spaces.
    """
    if not said.text or not said.text.strip():
        raise UserError(
            f"{where}: instance {instance.id} of sample {sample.id}: found no words; wanted a phrase. Choose "
            "another `text:` in the recipe."
        )
    return said.text
