"""What a pipeline denoises with, looked up once and handed on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from attnscope.families import Family, of_denoiser
from attnscope.sites.around import find_around
from attnscope.sites.attention import Site, find_denoiser, find_sites, unwrapped


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A denoiser, its attention, what stands around it, and the family that it is of.

    Each is found when it is first asked for, and once.

    Args:
        outer: what the pipeline holds and calls: the model of diffusers, or what
            ``torch.compile`` or a user has put around it.
    """

    outer: nn.Module

    @classmethod
    def of(cls, pipe: Any) -> Denoiser:
        """That of a pipeline.

        Raises:
            InputError: there is none, or there are two.
        """
        return cls(find_denoiser(pipe))

    @cached_property
    def module(self) -> nn.Module:
        """The model of diffusers, in which sites have their names."""
        return unwrapped(self.outer)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Its attention, in the order of data flow.

        Raises:
            InputError: it has none that diffusers knows.
        """
        return find_sites(self.module)

    @cached_property
    def around(self) -> tuple[Site, ...]:
        """Blocks with attention, their feed-forwards, the other parts of a U-Net, and the latents."""
        return find_around(self.module, self.sites)

    @cached_property
    def family(self) -> Family:
        """What is true of such denoisers alone."""
        return of_denoiser(self.module)

    @property
    def class_name(self) -> str:
        """Of the model, as diffusers has it."""
        return type(self.module).__name__

    def submodule(self, site: Site) -> nn.Module:
        """The module of a site."""
        return self.module.get_submodule(site.name)
