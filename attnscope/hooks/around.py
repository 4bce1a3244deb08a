"""Watching what stands around attention: blocks and their feed-forwards. Nothing acts on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from attnscope.hooks.attention import left_out_of_graphs
from attnscope.hooks.clock import Clock
from attnscope.hooks.observer import Observer
from attnscope.sites.around import LATENTS, stream
from attnscope.sites.attention import Site
from attnscope.sites.denoiser import Denoiser


@contextlib.contextmanager
def watched(denoiser: Denoiser, observers: Sequence[Observer], clock: Clock) -> Iterator[None]:
    """Show observers what modules beside attention return, where they want it.

    Args:
        denoiser: with what stands around its attention. The latents are no module's: the hook on
            the denoiser shows them.
        observers: of the ``Trace``.
        clock: which tells the run and the step.
    """
    with contextlib.ExitStack() as undo:
        for site in denoiser.around:
            watchers = [observer for observer in observers if observer.wants(site)]
            if watchers and site != LATENTS:
                module = denoiser.submodule(site)
                show = _showing(site, watchers, clock)
                undo.callback(module.register_forward_hook(show, with_kwargs=True).remove)
        yield


def _showing(site: Site, watchers: Sequence[Observer], clock: Clock) -> Any:
    """A hook that shows what a module returned, and changes nothing."""

    @left_out_of_graphs
    def show(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if clock.is_elsewhere:
            return
        seen = stream(site, output, module, args, kwargs)
        for observer in watchers:
            observer.see(site, clock.moment, seen)

    return show
