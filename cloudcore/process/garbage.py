"""What Python's cyclic collector looks at. A daemon that has started holds some 160,000 objects that live as long as it
does, most of them descriptions of EC2's operations. To walk over them takes more than a tenth of a second, in which
nobody is answered, and happens whenever enough has been made meanwhile.
"""

from __future__ import annotations

import gc

YOUNG = 5000  # containers more than went, until the youngest are looked at: a page of instances alone has more than 700


def settle() -> None:
    """Called once, when everything stands: what is there now is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
