"""The policy page: everything that may be done in Yumen itself, and by whom. What is not here is refused.

One row gives one action to some roles with one reach. A caller needs one row that fits; rows never take away. Roles are
those of the directory (confirmed where `snapshot.CONFIRMED` says so), `application` for registered applications, and
`service:<name>` for Yumen's own parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from audit.permit import Action
from authz.people import ROLES


class Reach(StrEnum):
    """On which objects a row counts."""

    #: What belongs to the caller, or what the caller asked for.
    OWN = "own"
    #: What belongs to a unit that the role's unit stands above, by place or by line.
    SCOPE = "scope"
    #: As `scope`, and neither one's own nor asked for by oneself.
    SCOPE_OF_OTHERS = "scope of others"
    #: Everything.
    ANY = "any"
    #: Everything that is neither one's own nor asked for by oneself.
    OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the page."""

    id: str
    action: Action
    roles: tuple[str, ...]
    reach: Reach
    #: Refused as soon as the directory's last good reading is older than two seconds.
    high_risk: bool = False
    #: Counts in a demonstration home only.
    demo: bool = False
    #: Whether a stale directory refuses it. What keeps status alive and ends trust does not wait for the directory.
    directory: bool = True


_A, _R = Action, Reach
_EVERYONE = ROLES
_OPERATOR, _ISSUANCE, _SCHEDULE = ("service:operator",), ("service:issuance",), ("service:schedule",)
_RENEWAL, _DEMO, _CEREMONY = ("service:renewal",), ("service:demo",), ("service:ceremony",)
_REGISTRAR, _SECURITY, _SYSTEM, _AUDITOR = ("registrar",), ("security-admin",), ("system-admin",), ("auditor",)
_APPLICATION, _APP_OWNER = ("application",), ("app-owner",)

POLICY: tuple[Rule, ...] = (
    Rule("request-submit.own", _A.REQUEST_SUBMIT, _EVERYONE, _R.OWN),
    Rule("request-submit.renewal", _A.REQUEST_SUBMIT, _RENEWAL, _R.ANY),
    Rule("request-renew.own", _A.REQUEST_RENEW, _EVERYONE, _R.OWN, high_risk=True),
    Rule("request-read.own", _A.REQUEST_READ, _EVERYONE, _R.OWN),
    Rule("request-read.registrar", _A.REQUEST_READ, _REGISTRAR, _R.SCOPE),
    Rule("request-read.auditor", _A.REQUEST_READ, _AUDITOR, _R.ANY),
    Rule("request-approve.registrar", _A.REQUEST_APPROVE, _REGISTRAR, _R.SCOPE_OF_OTHERS, high_risk=True),
    Rule("request-refuse.registrar", _A.REQUEST_REFUSE, _REGISTRAR, _R.SCOPE_OF_OTHERS),
    Rule("cert-read.own", _A.CERT_READ, _EVERYONE, _R.OWN),
    Rule("cert-read.registrar", _A.CERT_READ, _REGISTRAR, _R.SCOPE),
    Rule("cert-read.auditor", _A.CERT_READ, _AUDITOR, _R.ANY),
    Rule("cert-read.application", _A.CERT_READ, _APPLICATION, _R.OWN),
    Rule("cert-issue.issuance", _A.CERT_ISSUE, _ISSUANCE, _R.ANY),
    Rule("cert-revoke.own", _A.CERT_REVOKE, _EVERYONE, _R.OWN),
    Rule("cert-revoke.registrar", _A.CERT_REVOKE, _REGISTRAR, _R.SCOPE),
    Rule("cert-revoke.security", _A.CERT_REVOKE, _SECURITY, _R.ANY),
    Rule("cert-sweep.issuance", _A.CERT_SWEEP, _ISSUANCE, _R.ANY, directory=False),
    Rule("cert-suspend.own", _A.CERT_SUSPEND, _EVERYONE, _R.OWN),
    Rule("cert-suspend.registrar", _A.CERT_SUSPEND, _REGISTRAR, _R.SCOPE),
    Rule("cert-suspend.security", _A.CERT_SUSPEND, _SECURITY, _R.ANY),
    Rule("cert-release.registrar", _A.CERT_RELEASE, _REGISTRAR, _R.SCOPE_OF_OTHERS, high_risk=True),
    Rule("cert-release.security", _A.CERT_RELEASE, _SECURITY, _R.OTHERS, high_risk=True),
    Rule("status-publish.issuance", _A.STATUS_PUBLISH, _ISSUANCE, _R.ANY, directory=False),
    Rule("ceremony-perform.operator", _A.CEREMONY_PERFORM, _OPERATOR, _R.ANY, directory=False),
    Rule("authority-resume.security", _A.AUTHORITY_RESUME, _SECURITY, _R.ANY, high_risk=True),
    Rule("authority-resume.issuance", _A.AUTHORITY_RESUME, _ISSUANCE, _R.ANY),
    Rule("identity-verify.application", _A.IDENTITY_VERIFY, _APPLICATION, _R.OWN),
    Rule("access-evaluate.application", _A.EVALUATE, _APPLICATION, _R.OWN),
    Rule("access-search.application", _A.SEARCH, _APPLICATION, _R.OWN),
    Rule("totp-enrol.own", _A.TOTP_ENROL, _EVERYONE, _R.OWN),
    Rule("totp-enrol.demo", _A.TOTP_ENROL, _DEMO, _R.ANY, demo=True),
    Rule("totp-code-issue.registrar", _A.TOTP_CODE_ISSUE, _REGISTRAR, _R.SCOPE_OF_OTHERS, high_risk=True),
    Rule("totp-code-issue.security", _A.TOTP_CODE_ISSUE, _SECURITY, _R.OTHERS, high_risk=True),
    Rule("totp-code-issue.ceremony", _A.TOTP_CODE_ISSUE, _CEREMONY, _R.ANY, high_risk=True),
    Rule("session-end.own", _A.SESSION_END, _EVERYONE, _R.OWN),
    Rule("session-end.security", _A.SESSION_END, _SECURITY, _R.ANY),
    Rule("person-confirm.security", _A.PERSON_CONFIRM, _SECURITY, _R.OTHERS, high_risk=True),
    Rule("account-block.security", _A.ACCOUNT_BLOCK, _SECURITY, _R.OTHERS, high_risk=True),
    Rule("directory-accept.security", _A.DIRECTORY_ACCEPT, _SECURITY, _R.ANY, high_risk=True),
    Rule("application-register.system", _A.APPLICATION_REGISTER, _SYSTEM, _R.ANY),
    Rule("application-register.demo", _A.APPLICATION_REGISTER, _DEMO, _R.ANY, demo=True),
    Rule("application-switch.system", _A.APPLICATION_SWITCH, _SYSTEM, _R.ANY),
    Rule("application-switch.security", _A.APPLICATION_SWITCH, _SECURITY, _R.ANY),
    Rule("register-read.own", _A.REGISTER_READ, _EVERYONE, _R.OWN),
    Rule("register-read.registrar", _A.REGISTER_READ, _REGISTRAR, _R.SCOPE),
    Rule("register-read.system", _A.REGISTER_READ, _SYSTEM, _R.ANY),
    Rule("register-read.security", _A.REGISTER_READ, _SECURITY, _R.ANY),
    Rule("register-read.auditor", _A.REGISTER_READ, _AUDITOR, _R.ANY),
    Rule("api-key-make.owner", _A.API_KEY_MAKE, _APP_OWNER, _R.OWN),
    Rule("api-key-make.demo", _A.API_KEY_MAKE, _DEMO, _R.ANY, demo=True),
    Rule("grant-change.security", _A.GRANT_CHANGE, _SECURITY, _R.ANY, high_risk=True),
    Rule("grant-change.demo", _A.GRANT_CHANGE, _DEMO, _R.ANY, demo=True),
    Rule("asset-register.registrar", _A.ASSET_REGISTER, _REGISTRAR, _R.SCOPE_OF_OTHERS),
    Rule("asset-register.operator", _A.ASSET_REGISTER, _OPERATOR, _R.OWN),
    Rule("asset-register.demo", _A.ASSET_REGISTER, _DEMO, _R.ANY, demo=True),
    Rule("authz-explain.security", _A.AUTHZ_EXPLAIN, _SECURITY, _R.ANY),
    Rule("authz-explain.auditor", _A.AUTHZ_EXPLAIN, _AUDITOR, _R.ANY),
    Rule("history-read.own", _A.HISTORY_READ, _EVERYONE, _R.OWN),
    Rule("contradiction-accept.security", _A.CONTRADICTION_ACCEPT, _SECURITY, _R.ANY, high_risk=True),
    Rule("contradiction-accept.auditor", _A.CONTRADICTION_ACCEPT, _AUDITOR, _R.ANY, high_risk=True),
    Rule("trail-read.auditor", _A.TRAIL_READ, _AUDITOR, _R.ANY),
    Rule("trail-export.auditor", _A.TRAIL_EXPORT, _AUDITOR, _R.ANY),
    Rule("trail-verify.auditor", _A.TRAIL_VERIFY, _AUDITOR, _R.ANY),
    Rule("backup-make.operator", _A.BACKUP_MAKE, _OPERATOR, _R.ANY, directory=False),
    Rule("backup-restore.operator", _A.BACKUP_RESTORE, _OPERATOR, _R.ANY, directory=False),
    Rule("backup-make.schedule", _A.BACKUP_MAKE, _SCHEDULE, _R.ANY, directory=False),
    Rule("backup-remove.operator", _A.BACKUP_REMOVE, _OPERATOR, _R.ANY, directory=False),
    Rule("backup-remove.schedule", _A.BACKUP_REMOVE, _SCHEDULE, _R.ANY, directory=False),
    Rule("drill-perform.operator", _A.DRILL_PERFORM, _OPERATOR, _R.ANY, directory=False),
    Rule("keys-reseal.operator", _A.KEYS_RESEAL, _OPERATOR, _R.ANY, directory=False),
    Rule("system-read.system", _A.SYSTEM_READ, _SYSTEM, _R.ANY),
    Rule("system-read.security", _A.SYSTEM_READ, _SECURITY, _R.ANY),
    Rule("system-read.auditor", _A.SYSTEM_READ, _AUDITOR, _R.ANY),
    Rule("system-assess.operator", _A.SYSTEM_ASSESS, _OPERATOR, _R.ANY, directory=False),
)

#: The rows of each action, in the order of the page.
ROWS: Mapping[Action, tuple[Rule, ...]] = {action: tuple(rule for rule in POLICY if rule.action is action) for action in Action}
