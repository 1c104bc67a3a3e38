"""The `yumen` command. Local commands act as `service:operator`; the others speak REST as the person who logged in."""

from __future__ import annotations

import click

from cli import bad_days, local, person
from cli.output import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="yumen", message="yumen %(version)s")
def main() -> None:
    """Yumen: certificates, authorization and a provable audit trail.

    Commands on the machine of the service: init, serve, worker, status, assess, backup, restore, drill,
    keys reseal, ca ceremony, audit verify, audit reconcile.
    Commands of a person, after `yumen login`: request, cert, ca, authz, audit, enroll.
    Every command has --help with an example, and --json. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """


@main.group()
def ca() -> None:
    """The certificate authorities: ceremony, list, show."""


@main.group()
def audit() -> None:
    """The audit trail: head, search, prove, export, verify, reconcile."""


local.register(main, ca, audit)
bad_days.register(main)
person.register(main, ca, audit)

if __name__ == "__main__":
    main()
