"""How often an account may call each action: EC2's buckets, 100 and 20 a second for what only reads. What is refused
here has cost a signature and nothing else.

Three rates are our own. Four of the ten calls that Terraform makes of each instance at each plan are
DescribeInstanceAttribute: with the common bucket a plan over more than 25 instances would crawl. The life of instances
is what a cloud is for, and the database sets its pace. Other changes have more room than EC2 gives them: a cloud of
one's own has few accounts, and each of them is many people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudcore.domain.token_buckets import Buckets, Rate
from cloudcore.errors import CloudError, Code

READS = Rate(100, 20)
ATTRIBUTES = Rate(1000, 200)
LIFE = Rate(1000, 500)
CHANGES = Rate(200, 50)

OF_ACTION: Mapping[str, Rate] = {
    "DescribeInstanceAttribute": ATTRIBUTES,
    "RunInstances": LIFE,
    "StartInstances": LIFE,
    "StopInstances": LIFE,
    "TerminateInstances": LIFE,
}
READING = ("Describe", "Get", "List")


def rate_of(action: str) -> Rate:
    """Of an action's wire name."""
    return OF_ACTION.get(action) or (READS if action.startswith(READING) else CHANGES)


class Throttle:
    """`seconds` is a clock's; `factor` widens or narrows every bucket."""

    def __init__(self, seconds: Callable[[], float], factor: float = 1.0) -> None:
        self._buckets, self._factor = Buckets(seconds), factor

    def admit(self, project: str, service: str, action: str) -> None:
        """Raises THROTTLED."""
        if not self._buckets.take((project, service, action), rate_of(action).times(self._factor)):
            raise CloudError(Code.THROTTLED, f"Request limit exceeded: {action} is called too often by this account")
