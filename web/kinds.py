"""What texts of bodies and queries may be. Each is read by `web.strict` and stands in the published document."""

from __future__ import annotations

from typing import Annotated, Any

from authz.applications import MAX_ASSERTS
from authz.evaluate import MAX_VALUE
from certs.crl import HOLD, REASONS
from certs.csr import MAX_BYTES
from web.strict import Facts, Text, Whole

Line = Annotated[str, Text(at_most=255, at_least=1)]
Remark = Annotated[str, Text(at_most=1_000)]
Secret = Annotated[str, Text(at_most=1_024, at_least=1)]
Name = Annotated[str, Text(at_most=128, at_least=1, pattern=r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")]
#: What an application may ask about: an action or a type.
Word = Annotated[str, Text(at_most=128, at_least=1, pattern=r"[A-Za-z0-9][A-Za-z0-9._:/-]*")]
#: What an application may say of a question's subject, resource or action.
Property = Annotated[str, Text(at_most=73, pattern=r"(?:subject|resource|action)\.[A-Za-z_][A-Za-z0-9_-]{0,63}")]
#: entryUUID of a unit, or empty.
Unit = Annotated[str, Text(at_most=36)]
#: What a grant does.
Effect = Annotated[str, Text(at_most=8, pattern="permit|forbid")]
#: How well somebody is known: 0 anyhow, 1 by password and code, 2 by certificate.
Level = Annotated[int, Whole(0, 2)]
#: What is known of a resource, or what properties must be.
Conditions = Annotated[dict[str, Any], Facts(at_most=MAX_ASSERTS, longest=MAX_VALUE)]
#: RFC 3339 in UTC.
Moment = Annotated[
    str,
    Text(
        at_most=40,
        pattern=r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z",
        form="date-time",
    ),
]
#: A DNS name or an address, in its one canonical spelling.
Host = Annotated[str, Text(at_most=253, at_least=1, pattern="[a-z0-9:](?:[a-z0-9.:-]*[a-z0-9:])?", form="host")]
#: What a query may say for yes, and a key of a page.
Yes = Annotated[str, Text(at_most=1, pattern="1")]
Digits = Annotated[str, Text(at_most=18, pattern="[0-9]+")]
#: Where a page of the trail goes on.
Cursor = Annotated[str, Text(at_most=64, pattern=r"(?:[0-9]{1,17}\.(?:ca|access)\.[0-9]{1,9}\.[0-9]{1,18})?")]
#: Terms of the trail's query language.
TrailQuery = Annotated[str, Text(at_most=2_000, form="trail-query")]

#: The names that RFC 5280 section 5.3.1 gives to reasons of a revocation; holding is a suspension.
Why = Annotated[str, Text(at_most=32, pattern="|".join(name for name in REASONS if name != HOLD))]

#: A certification request in PEM.
Pkcs10 = Annotated[str, Text(at_most=MAX_BYTES, at_least=1, form="pkcs10")]
#: Certificates in PEM, leaf first.
Chain = Annotated[str, Text(at_most=65_536, at_least=1, form="pem-certificate-chain")]
