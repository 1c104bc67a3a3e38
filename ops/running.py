"""The running forms: everything in one process, or one process that serves (`yumen serve`) and one that works (`yumen worker`)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from core.clock import Clock, system
from core.settings import Settings
from ops import homes
from ops.node import Node, open_node
from ops.pairs.people import Directory
from ops.reconcile import Reconciler, Result
from ops.worker import Worker


@contextmanager
def embedded(settings: Settings, clock: Clock = system) -> Iterator[Node]:
    """A node with its worker thread, both ended in order when the block ends."""
    node = open_node(settings, role="serve", with_keys=True, clock=clock)
    try:
        worker = Worker(node)
        worker.start()
        try:
            yield node
        finally:
            worker.stop()
    finally:
        node.close()


@contextmanager
def serving(settings: Settings) -> Iterator[Node]:
    """What `yumen serve` opens: a node with its worker in the embedded form, otherwise one that holds no key of the worker's."""
    if settings.embedded:
        with embedded(settings) as node:
            yield node
        return
    node = open_node(settings, role="serve", with_keys=False)
    try:
        yield node
    finally:
        node.close()


def settle_memory() -> None:
    """Call it once, when a process serves: what its start made stays, so the collector of cycles need not walk it again and again.

    A directory of a province is a million objects, and each request makes a hundred that are gone when it is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def addresses(settings: Settings) -> dict[str, str]:
    """Where people and programs find the service, and where a demonstration tells its accounts."""
    told = {"portal": settings.web.https_url, "status": settings.web.http_url}
    return {**told, "accounts": str(homes.accounts_file(settings.home))} if settings.demo else told


def compare_everything(settings: Settings) -> Result:
    """Compare all facts with all their events, beside whatever runs.

    Raises:
        Unavailable: the home cannot be opened.
    """
    node = open_node(settings, role="operator", with_keys=False)
    try:
        return Reconciler(node.trail, Directory(node.trail, node.world)).turn(whole=True)
    finally:
        node.close()


@contextmanager
def working(settings: Settings) -> Iterator[Worker]:
    """The worker alone."""
    node = open_node(settings, role="worker", with_keys=True)
    try:
        worker = Worker(node)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop()
    finally:
        node.close()
