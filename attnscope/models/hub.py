"""What the hub answers instead of a model, in one line that says what to do."""

from __future__ import annotations


def needs_licence(source: str) -> str:
    """Its authors want a licence to be accepted."""
    return f"{source!r} needs a licence: accept it on the hub, then run 'hf auth login'"


def not_seen(source: str) -> str:
    """There is none of this name, or it is private."""
    return f"the hub has no model {source!r} that this login may see"


def out_of_reach(offline: bool, command: str) -> str:
    """Why what is not on this machine cannot be fetched, and the command that fetches it elsewhere."""
    why = "`offline=True` was given: leave it out, or" if offline else "the hub cannot be reached:"
    return f"not on this machine and {why} run '{command}' where there is a network"
