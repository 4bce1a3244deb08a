"""Instruments of a benchmark: a stopwatch, the peak of memory, and the time at single modules.

On a GPU everything is read from events on the device, so that nothing is waited for while a
pipeline runs; elsewhere from a clock of the host.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")
_MEGA = 2**20
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Stopwatch:
    """Tells how long work takes on a device.

    Args:
        device: a torch device.
        clock: seconds on the host; a GPU has its own.
    """

    def __init__(self, device: str = "cpu", *, clock: Callable[[], float] = time.perf_counter):
        self.device, self._clock = torch.device(device), clock

    def mark(self) -> Any:
        """A moment, for :meth:`between`."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))
            return event
        return self._clock()

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device.type in ("cuda", "mps"):
            torch.accelerator.synchronize(self.device)

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one moment to another, after :meth:`wait`."""
        if self.device.type == "cuda":
            return float(start.elapsed_time(end)) / 1000
        return float(end - start)

    def time(self, run: Callable[[], T]) -> tuple[T, float]:
        """What a call returns, and the seconds it took the device."""
        self.wait()
        start = self.mark()
        result = run()
        if self.device.type != "cuda":
            self.wait()
        end = self.mark()
        self.wait()
        return result, self.between(start, end)


class PeakMemory:
    """The most memory in use since :meth:`reset`.

    On a GPU that of torch's tensors, on Linux' CPU that of the process. Elsewhere a process cannot
    forget its peak, and it is NaN.

    Args:
        device: a torch device.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._known = self._device.type == "cuda"

    def reset(self) -> None:
        """Begin anew."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return
        self._known = False
        with contextlib.suppress(OSError):
            if self._device.type == "cpu":
                _CLEAR.write_text("5")  # proc(5): resets the peak resident set size
                self._known = True

    def megabytes(self) -> float:
        """In units of 2^20 bytes; NaN where it is not known."""
        if not self._known:
            return float("nan")
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / _MEGA
        status = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return float(status["VmHWM"].split()[0]) / 1024


class ModuleTimes:
    """How long modules take, summed over their calls.

    Args:
        modules: by the name of what they are summed under, each with its modules.
        stopwatch: of their device.
    """

    def __init__(self, modules: Mapping[str, list[nn.Module]], stopwatch: Stopwatch) -> None:
        self._modules, self._stopwatch = modules, stopwatch
        self._spans: list[tuple[str, Any, Any]] = []  # in the order in which they ended

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Take the time of every call inside the block."""
        with contextlib.ExitStack() as undo:
            for name, modules in self._modules.items():
                for module in modules:
                    begun: list[Any] = []

                    def begin(*_: Any, begun: list[Any] = begun) -> None:
                        begun.append(self._stopwatch.mark())

                    def end(*_: Any, begun: list[Any] = begun, name: str = name) -> None:
                        self._spans.append((name, begun.pop(), self._stopwatch.mark()))

                    undo.callback(module.register_forward_pre_hook(begin).remove)
                    undo.callback(module.register_forward_hook(end).remove)
            yield

    def seconds(self) -> dict[str, float]:
        """Of all calls, by name."""
        self._stopwatch.wait()
        return self._summed(self._spans)

    def by_call(self, around: str) -> list[dict[str, float]]:
        """Seconds by name, of every call of the module in which the others stand.

        Args:
            around: its name; it is among those of each call.
        """
        self._stopwatch.wait()
        ends = [place for place, span in enumerate(self._spans) if span[0] == around]
        starts = [0, *(end + 1 for end in ends)]
        pairs = zip(starts, ends, strict=False)
        return [self._summed(self._spans[start : end + 1]) for start, end in pairs]

    def _summed(self, spans: Sequence[tuple[str, Any, Any]]) -> dict[str, float]:
        found = dict.fromkeys(self._modules, 0.0)
        for name, *span in spans:
            found[name] += self._stopwatch.between(*span)
        return found
