"""What every backend refuses alike: names that are none, and the sentences for what is unknown, double or in use."""

from __future__ import annotations

import re

from cloudcore.domain.policy import ROLES
from cloudcore.errors import CloudError, Code

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+=,-]{0,63}")  # IAM's user names, which must not look like an option
EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}")
PROJECT_ID = re.compile(r"[0-9]{12}")
ACCESS_KEY = re.compile(r"[A-Za-z0-9_]{4,128}")
SECRET = re.compile(r"[!-~]{8,128}")
TEMPORARY = "CCIT"  # how temporary keys begin, and no other
MOST_DERIVED = 500  # temporary keys of one parent that are alive
EVERYWHERE = ""  # as a project id in storage: a global grant

# What the first start makes and daemons know by name.
IMAGE_FETCHER = "image-fetcher"  # reads image objects for the hosts; has the global role `fetcher`
CLOUD_PROJECT = "cloudcore-system"  # the cloud's own: in it IMAGE_FETCHER is `keeper`, and nobody else anything


def check_name(kind: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise CloudError(Code.BAD_VALUE, f"The {kind} name '{name}' must be 1 to 64 letters, digits or _.@+=,- and "
                                         f"begin with a letter or digit")


def check_email(email: str) -> None:
    if email and not EMAIL.fullmatch(email):
        raise CloudError(Code.BAD_VALUE, f"'{email}' is no mail address")


def check_project_id(project_id: str) -> None:
    if not PROJECT_ID.fullmatch(project_id):
        raise CloudError(Code.BAD_VALUE, f"The project id '{project_id}' must be twelve digits")


def check_role(role: str) -> None:
    if role not in ROLES:
        raise CloudError(Code.ROLE_UNKNOWN, f"The role '{role}' does not exist; there are {', '.join(ROLES)}")


def check_key(access_key: str, secret: str) -> None:
    """The text of a refusal never holds the secret."""
    if not ACCESS_KEY.fullmatch(access_key):
        raise CloudError(Code.BAD_VALUE, f"The access key '{access_key}' must be 4 to 128 letters, digits or _")
    if access_key.startswith(TEMPORARY):
        raise CloudError(Code.BAD_VALUE, f"The access key '{access_key}' begins with {TEMPORARY}, as only temporary "
                                         f"keys do")
    if not SECRET.fullmatch(secret):
        raise CloudError(Code.BAD_VALUE, "A secret key must be 8 to 128 printable ASCII characters without blanks")


def check_pair(access_key: str | None, secret: str | None) -> None:
    if (access_key is None) != (secret is None):
        raise CloudError(Code.BAD_COMBINATION, "An access key and its secret are given both or not at all")


def user_unknown(name: str) -> CloudError:
    return CloudError(Code.USER_UNKNOWN, f"The user '{name}' does not exist")


def user_duplicate(name: str) -> CloudError:
    return CloudError(Code.USER_DUPLICATE, f"A user named '{name}' exists already")


def project_unknown(name: str) -> CloudError:
    return CloudError(Code.PROJECT_UNKNOWN, f"The project '{name}' does not exist")


def project_duplicate(name: str) -> CloudError:
    return CloudError(Code.PROJECT_DUPLICATE, f"A project named '{name}', or with this id, exists already")


def project_in_use(name: str) -> CloudError:
    return CloudError(Code.IN_USE, f"The project '{name}' still has access keys: delete them first")


def key_unknown(access_key: str) -> CloudError:
    return CloudError(Code.ACCESS_KEY_UNKNOWN, f"The access key '{access_key}' does not exist")


def key_duplicate(access_key: str) -> CloudError:
    return CloudError(Code.ACCESS_KEY_DUPLICATE, f"The access key '{access_key}' exists already")


def too_many_derived(access_key: str) -> CloudError:
    text = f"The access key '{access_key}' has {MOST_DERIVED} temporary keys: wait until some expire"
    return CloudError(Code.IDENTITY_QUOTA, text)


def role_gone(name: str) -> CloudError:
    return CloudError(Code.ROLE_UNKNOWN, f"The role '{name}' does not exist any more")
