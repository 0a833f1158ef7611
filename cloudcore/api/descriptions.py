"""Descriptions of images and snapshots, as their owners word them."""

from __future__ import annotations

from cloudcore.errors import CloudError, Code

LONGEST = 255  # characters


def check_description(text: str | None) -> None:
    """Raises BAD_VALUE."""
    if len(text or "") > LONGEST:
        raise CloudError(Code.BAD_VALUE, f"Description has at most {LONGEST} characters")
