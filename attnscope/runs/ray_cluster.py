"""Ray itself: started on this machine or found elsewhere, asked what it has, and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from attnscope.errors import InputError, in_a_line

_OWN_RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Of a Ray that is started here: it tells nobody, and workers do not give way to all others (nice 15)."""
_ANSWER = 5
"""Seconds that a cluster has to answer."""


class Cluster:
    """A Ray that runs already, in this process or at an address, or one that is started here.

    Args:
        address: of a cluster, or ``auto``; ``None`` starts Ray on this machine, and stops it at the end.
        cpus: that a Ray started here has; ``None`` is all.

    Raises:
        InputError: Ray is not installed.
    """

    def __init__(self, address: str | None, cpus: int | None) -> None:
        self.ray = _imported()
        self.address = address
        self._cpus = cpus
        self._started = False

    @property
    def resources(self) -> dict[str, float]:
        """What it has, by Ray's names, such as ``CPU`` and ``GPU``.

        Raises:
            InputError: there is no cluster.
        """
        self.connect()
        return dict(self.ray.cluster_resources())

    def connect(self) -> None:
        """Start Ray, or find the cluster; what runs already in this process is used, and left.

        Raises:
            InputError: there is no cluster.
        """
        if self.ray.is_initialized():
            return
        for name, value in _OWN_RAY.items():
            os.environ.setdefault(name, value)
        quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": "error"}
        with _unheard(), _stopped_as_before():
            if self.address is not None:
                _check_reached(self.address)
                try:
                    self.ray.init(address=self.address, **quiet)
                except (
                    ConnectionError,
                    ValueError,
                    RuntimeError,
                    self.ray.exceptions.RayError,
                ) as error:
                    raise InputError(
                        f"there is no Ray at {self.address!r}: {in_a_line(error)}; start one by 'ray start "
                        "--head', set RAY_AUTH_MODE=token if it wants a token, or leave `ray` out to use this "
                        "machine"
                    ) from error
            else:
                self.ray.init(
                    address="local", num_cpus=self._cpus or os.cpu_count(),
                    include_dashboard=False, **quiet,
                )  # fmt: skip
        self._started = True
        self._let_raylet_speak(False)

    def _let_raylet_speak(self, speaks: bool) -> None:
        """What it says of a dead worker goes to stdout, among results, whatever ``log_to_driver`` is."""
        worker: Any = getattr(getattr(self.ray, "_private", None), "worker", None)
        if hasattr(worker, "_worker_logs_enabled"):
            worker._worker_logs_enabled = speaks

    def close(self) -> None:
        """Stop Ray if it was started here."""
        if self._started:
            self._started = False
            with _unheard():
                self.ray.shutdown()
            self._let_raylet_speak(True)


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "workers need Ray, which is not installed: pip install 'attnscope[ray]', or cut the run by "
            "hand with `shard`"
        ) from error
    return ray


def _check_reached(address: str) -> None:
    """Refuse an address at which nobody answers, which Ray itself tries for a quarter of an hour.

    Raises:
        InputError: nobody does.
    """
    import socket

    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdigit():
        return  # auto, or a client's ray://, which Ray finds out about by itself
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"there is no Ray at {address!r}: {in_a_line(error)}; start one by 'ray start --head', or leave `ray` "
            "out to use this machine"
        ) from error


@contextlib.contextmanager
def _stopped_as_before() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and ends the process with a dump of its stack."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Ray tells of itself on stderr while it starts and stops, whatever it is told."""
    import logging

    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
