"""Which fact is told by which event, as data: what the reconciler compares, in both directions."""

from __future__ import annotations

from collections.abc import Mapping

from ops.pairs import access, authority
from ops.pairs.pair import Pair

PAIRS: tuple[Pair, ...] = (*authority.PAIRS, *access.PAIRS)

#: Tables of facts that no pair reads, and why nothing is lost by that.
UNPAIRED: Mapping[str, str] = {
    "authz_entry": "what the directory says; the process that leads compares it with the directory itself",
    "authz_revision": "a counter that rises with every change; what changed is paired where it stands",
}
