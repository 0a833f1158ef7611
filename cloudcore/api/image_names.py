"""Ids and names of images, whichever way they are made, and what they may be made for."""

from __future__ import annotations

import re

from cloudcore.domain.ids import well_formed
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.images import name_duplicate
from cloudcore.store.pages import Wanted

ARCHITECTURES = ("x86_64", "i386", "arm64")
NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}", re.ASCII)


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        text = f"AMI names have 3 to 128 letters, digits and ( ) [ ] space . / - ' @ _: '{name[:128]}' is none"
        raise CloudError(Code.BAD_VALUE, text)


def check_id(image: str) -> str:
    """Raises IMAGE_MALFORMED."""
    if not well_formed("image", image):
        raise CloudError(Code.IMAGE_MALFORMED, f"Invalid id: \"{image}\" (expecting \"ami-...\")")
    return image


def check_free(books: Books, project: str, name: str) -> None:
    """Also of images that are still being made. Raises IMAGE_NAME_DUPLICATE."""
    found = books.images.page(project, Wanted(equal={"name": [name], "state": ["available", "pending"]}))
    if any(image.project == project for image in found):
        raise name_duplicate(name)
