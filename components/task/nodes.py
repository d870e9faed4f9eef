"""Machines that train together: which of them this is, and how their processes meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.errors import BadInput

NODES_VARIABLE, NODE_VARIABLE, FIRST_NODE_VARIABLE = "DP2O_NODES", "DP2O_NODE", "DP2O_FIRST_NODE"
TOGETHER_WITHIN = 7200
"""Seconds in which all nodes must have brought their inputs, from when the first one has."""


@dataclass(frozen=True)
class Node:
    """One of several machines that train together; the first one keeps what they make.

    Attributes:
        number: from 0.
        count: of all.
        first: `host:port` of node 0, where they find each other.
    """

    number: int
    count: int
    first: str

    @property
    def keeps_results(self) -> bool:
        """Whether this one puts what is made into the store: all have the same."""
        return self.number == 0


def node_here(environment: Mapping[str, str]) -> Node | None:
    """What the environment says of this machine; None where it works alone.

    Raises:
        BadInput: it does not say all, or nothing that can be.
    """
    count, number, first = (environment.get(n, "") for n in (NODES_VARIABLE, NODE_VARIABLE, FIRST_NODE_VARIABLE))
    if count in ("", "1"):
        return None
    host, _, port = first.rpartition(":")
    if not (count.isdecimal() and number.isdecimal() and int(number) < int(count) and host and port.isdecimal()):
        raise BadInput(
            f"{NODES_VARIABLE}={count!r}, {NODE_VARIABLE}={number!r} and {FIRST_NODE_VARIABLE}={first!r} must be the "
            "number of nodes, which one this is (from 0), and host:port of node 0; a cluster whose Jobs cannot be "
            "Indexed leaves the second empty: train on one node there"
        )
    return Node(int(number), int(count), first)


def rendezvous(node: Node | None) -> list[str]:
    """torchrun's arguments that say how its processes find each other.

    A node that leaves ends all: none is taken in again, all start anew.
    """
    if node is None:
        return ["--standalone"]
    host, _, port = node.first.rpartition(":")
    place = [f"--nnodes={node.count}", f"--node-rank={node.number}", f"--master-addr={host}", f"--master-port={port}"]
    return [*place, f"--rdzv-conf=timeout={TOGETHER_WITHIN}"]
