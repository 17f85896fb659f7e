"""A Ray cluster: connecting to it, what a trial needs of its nodes, and whether it is still there."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping

import ray

from everybatch._arguments import real
from everybatch.errors import ArgumentError

__all__ = ["Cluster", "Node", "capacity", "connected", "needs_of", "shown"]

Node = dict[str, float]
"""What a node has, by the names that Ray gives it: "CPU", "GPU", "memory" in bytes, and those of its owner."""

_GONE = 30.0  # seconds without an answer; Ray itself ends a process after 60
_ARGUMENTS = {"num_cpus": "CPU", "num_gpus": "GPU"}


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Use the connection that is there, or connect for as long as this lasts, if need be to a cluster of our own.

    Raises
    ------
    ArgumentError
        There is a connection, and it is to another cluster.
    ConnectionError
        There is no cluster at the address.
    """
    if ray.is_initialized():
        there = _address()
        if there is not None and address not in (None, "auto", there):
            raise ArgumentError(
                f"address is {address!r}, and this process is connected to the Ray cluster {there}: leave address out, "
                "or call ray.shutdown() before"
            )
        yield Cluster(own=False, lasts=True)
        return
    own = _connect(address)
    try:
        yield Cluster(own=own, lasts=False)
    finally:
        ray.shutdown()


def needs_of(resources: Mapping[str, float] | None, *, threads: int, device: str) -> Node:
    """Return what a trial needs of a node.

    Raises
    ------
    ArgumentError, TypeError
        Ray cannot give out so much of something, or the device is at odds with it.
    """
    needs = {"CPU": float(threads), "GPU": 1.0 if device == "cuda" else 0.0}
    for name, amount in (resources or {}).items():
        if name in _ARGUMENTS.values():
            raise ArgumentError(f"resources names {name!r}: say num_cpus or num_gpus")
        value = real(amount, f"resources[{name!r}]")
        if not 0 <= value < float("inf"):
            raise ArgumentError(f"resources[{name!r}] is {amount}: it must be 0 or above")
        needs[_ARGUMENTS.get(name, name)] = value
    if device not in ("cpu", "cuda"):
        raise ArgumentError(f"device is {device!r}, and Ray chooses the GPU of a trial itself: give device='cuda'")
    if device == "cuda" and not needs["GPU"]:
        raise ArgumentError("device is 'cuda', and resources gives a trial no GPU: give num_gpus, or device='cpu'")
    if needs["GPU"] > 1 and not needs["GPU"].is_integer():
        raise ArgumentError(f"num_gpus is {needs['GPU']}: above 1 it must be a whole number")
    return needs


def capacity(nodes: list[Node], needs: Node) -> int:
    """How many trials fit on the nodes at a time."""
    wanted = {name: need for name, need in needs.items() if need} or {"CPU": 1.0}
    return sum(min(int(node.get(name, 0.0) / need) for name, need in wanted.items()) for node in nodes)


def shown(node: Node) -> str:
    """Return what a node has, or a trial needs, as text."""
    told = {name: amount for name, amount in node.items() if amount and not name.startswith(("node:", "object_store"))}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(told.items())) or "nothing"


class Cluster:
    """The cluster that this process is connected to."""

    def __init__(self, *, own: bool, lasts: bool) -> None:
        self.own = own
        """Whether it was started here, and so stays as it is."""
        self.lasts = lasts
        """Whether this process stays connected after the sweep; otherwise Ray ends what still runs."""
        self.here: str = ray.get_runtime_context().get_node_id()
        """The node that this process lives and dies with."""
        self.gone = False
        self._address = _address()
        self._heard = time.monotonic()

    def nodes(self) -> list[Node] | None:
        """Return the nodes that are alive; None if the cluster does not answer for the moment.

        Raises
        ------
        ConnectionError
            It has not answered for half a minute, or this process's own node is dead.
        """
        if self._address is not None and not _answers(self._address):
            silent = time.monotonic() - self._heard
            if silent > _GONE:
                self.gone = True
                raise ConnectionError(f"the Ray cluster at {self._address} has not answered for {silent:.0f} seconds")
            return None
        self._heard = time.monotonic()
        listed = ray.nodes()  # type: ignore[no-untyped-call]
        alive = {node["NodeID"]: node["Resources"] for node in listed if node["Alive"]}
        if self.here not in alive:
            self.gone = True
            raise ConnectionError("the Ray node that this process is connected to is dead")
        return list(alive.values())


def _connect(address: str | None) -> bool:
    """Connect to a cluster, or start one, without a word; tell whether it was started."""
    asked = (os.environ.get("RAY_ADDRESS") or address) if address in (None, "auto") else address
    if asked and "://" not in asked and ":" in asked and not _answers(asked):  # Ray would wait for minutes
        raise ConnectionError(f"no Ray cluster answers at {asked}: start it, or give another address")
    try:
        if asked is None:
            with contextlib.suppress(ConnectionError):  # there is none on this machine
                _init("auto")
                return False
        _init(asked or "local")
    except Exception as error:  # Ray raises many kinds, and Exception itself
        raise ConnectionError(f"cannot connect to a Ray cluster ({asked or 'local'}): {error}") from error
    return asked in (None, "local")


def _init(address: str) -> None:
    """Call Ray, and keep a cluster that it starts from sending statistics unless the user wants that."""
    given = os.environ.get("RAY_USAGE_STATS_ENABLED")
    os.environ["RAY_USAGE_STATS_ENABLED"] = given or "0"
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    finally:
        if given is None:
            del os.environ["RAY_USAGE_STATS_ENABLED"]


def _address() -> str | None:
    """Where the cluster answers; None through Ray's client, which notices by itself that its cluster is gone."""
    through_client = ray.util.client.ray.is_connected()  # type: ignore[no-untyped-call]
    return None if through_client else ray.get_runtime_context().gcs_address


def _answers(address: str) -> bool:
    """Whether anybody listens at "host:port"."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except (OSError, ValueError):
        return False
