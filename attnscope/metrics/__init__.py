"""How good images are: against references, as sets, against their text, and by which intervals.

``images``, ``sets`` and ``text`` measure, by torchmetrics; ``features`` sees images as vectors, by
``networks``, and ``feature_sets`` holds them; ``measures`` says what is to be said of each and takes it;
``judging`` goes over the images of a run, ``summaries``, ``verdicts`` and ``told`` over what it found. The
statistics are ``intervals`` (means, in pairs, by prompt: ``clusters``), ``proportions``, ``comparing`` (tests),
``power`` (what could be seen) and ``adjusting`` (many differences at once).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnscope.lazy import lazily

if TYPE_CHECKING:
    from attnscope.metrics.adjusting import adjusted as adjusted
    from attnscope.metrics.comparing import compared as compared
    from attnscope.metrics.images import frame_consistency as frame_consistency
    from attnscope.metrics.images import lpips as lpips
    from attnscope.metrics.images import psnr as psnr
    from attnscope.metrics.images import ssim as ssim
    from attnscope.metrics.proportions import share as share
    from attnscope.metrics.proportions import wilson as wilson
    from attnscope.metrics.sets import fid as fid
    from attnscope.metrics.sets import kid as kid
    from attnscope.metrics.text import clip_score as clip_score

__getattr__, __dir__, __all__ = lazily(__name__, __file__)
