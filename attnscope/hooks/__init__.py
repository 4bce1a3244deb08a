"""Watching a pipeline while it denoises, and acting on it: one code path for both.

``trace`` puts the hooks on and off; ``attention`` handles one attention call, ``denoiser`` one call of
the denoiser; ``clock`` knows which run and step a call belongs to and ``moments`` what is known of
them; ``refusals`` says beforehand what cannot be done.
"""
