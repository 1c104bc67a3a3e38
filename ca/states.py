"""The lives of a request, an intent and a certificate, as tables. Nothing else changes a state; docs/lives.md is drawn from here."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from core.errors import Conflict

S = TypeVar("S", bound=StrEnum)
T = TypeVar("T", bound=StrEnum)


class RequestState(StrEnum):
    """Where a certificate request stands."""

    SUBMITTED = "submitted"
    APPROVED = "approved"
    ISSUING = "issuing"
    ISSUED = "issued"
    REFUSED = "refused"
    RETURNED = "returned"
    FAILED = "failed"


class RequestStep(StrEnum):
    """What can happen to a request."""

    APPROVE = "approve"
    REFUSE = "refuse"
    RETURN = "return"
    FAIL = "fail"
    INTEND = "intend"
    SWEEP = "sweep"
    ISSUE = "issue"


class IntentState(StrEnum):
    """Whether the signature that was announced has become a certificate."""

    OPEN = "open"
    FULFILLED = "fulfilled"
    SWEPT = "swept"


class IntentStep(StrEnum):
    """What can happen to an announced signature."""

    FULFIL = "fulfil"
    SWEEP = "sweep"


class Standing(StrEnum):
    """Whether a certificate is to be relied on, its dates aside."""

    VALID = "valid"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class StandingStep(StrEnum):
    """What officers do to a certificate."""

    SUSPEND = "suspend"
    RELEASE = "release"
    REVOKE = "revoke"


class ListState(StrEnum):
    """Where a revocation list stands: announced, out, held back by the gate, or never signed."""

    INTENDED = "intended"
    PUBLISHED = "published"
    REFUSED = "refused"
    ABANDONED = "abandoned"


class ListStep(StrEnum):
    """What can happen to an announced revocation list."""

    PUBLISH = "publish"
    REFUSE = "refuse"
    ABANDON = "abandon"


REQUESTS: Mapping[tuple[RequestState, RequestStep], RequestState] = {
    (RequestState.SUBMITTED, RequestStep.APPROVE): RequestState.APPROVED,
    (RequestState.SUBMITTED, RequestStep.REFUSE): RequestState.REFUSED,
    (RequestState.APPROVED, RequestStep.RETURN): RequestState.RETURNED,
    (RequestState.APPROVED, RequestStep.FAIL): RequestState.FAILED,
    (RequestState.APPROVED, RequestStep.INTEND): RequestState.ISSUING,
    (RequestState.ISSUING, RequestStep.SWEEP): RequestState.APPROVED,
    (RequestState.ISSUING, RequestStep.ISSUE): RequestState.ISSUED,
}

INTENTS: Mapping[tuple[IntentState, IntentStep], IntentState] = {
    (IntentState.OPEN, IntentStep.FULFIL): IntentState.FULFILLED,
    (IntentState.OPEN, IntentStep.SWEEP): IntentState.SWEPT,
}

CERTIFICATES: Mapping[tuple[Standing, StandingStep], Standing] = {
    (Standing.VALID, StandingStep.SUSPEND): Standing.SUSPENDED,
    (Standing.SUSPENDED, StandingStep.RELEASE): Standing.VALID,
    (Standing.VALID, StandingStep.REVOKE): Standing.REVOKED,
    (Standing.SUSPENDED, StandingStep.REVOKE): Standing.REVOKED,
}

LISTS: Mapping[tuple[ListState, ListStep], ListState] = {
    (ListState.INTENDED, ListStep.PUBLISH): ListState.PUBLISHED,
    (ListState.INTENDED, ListStep.REFUSE): ListState.REFUSED,
    (ListState.INTENDED, ListStep.ABANDON): ListState.ABANDONED,
}


def after(table: Mapping[tuple[S, T], S], state: S, step: T, what: str) -> S:
    """Where `step` leads the object called `what` from `state`.

    Raises:
        Conflict: the table has no such step.
    """
    try:
        return table[state, step]
    except KeyError:
        raise Conflict("`{what}` is {state}: {step} is not possible now; reload the page", what=what, state=state, step=step) from None


def diagram(table: Mapping[tuple[S, T], S]) -> str:
    """The table as text, one line a step, in the table's order: `submitted --approve--> approved`."""
    width = max(len(state) for state, _ in table)
    return "\n".join(f"{state:<{width}} --{step}--> {result}" for (state, step), result in table.items())
