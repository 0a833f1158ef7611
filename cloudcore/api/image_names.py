"""What an image may be called and described as, whichever way it is made."""

from __future__ import annotations

import re

from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.images import name_duplicate
from cloudcore.store.pages import Wanted

NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}", re.ASCII)
DESCRIPTION = 255  # characters


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        text = f"AMI names have 3 to 128 letters, digits and ( ) [ ] space . / - ' @ _: '{name[:128]}' is none"
        raise CloudError(Code.BAD_VALUE, text)


def check_description(description: str | None) -> None:
    if len(description or "") > DESCRIPTION:
        raise CloudError(Code.BAD_VALUE, f"Description has at most {DESCRIPTION} characters")


def check_free(books: Books, project: str, name: str) -> None:
    """Also of images that are still being made. Raises IMAGE_NAME_DUPLICATE."""
    found = books.images.page(project, Wanted(equal={"name": [name], "state": ["available", "pending"]}))
    if any(image.project == project for image in found):
        raise name_duplicate(name)
