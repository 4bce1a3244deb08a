"""Watching a pipeline while it denoises, and acting on it: one code path for both.

``trace`` puts everything on and off. ``site`` handles one call of a module, which ``apart`` takes
apart, and ``denoiser`` one call of the denoiser with the help of ``branches`` and ``null_text``. ``clock`` knows which run and step a call belongs to and ``callers`` whose it is;
``moments`` holds what is known of a run, ``encodings`` and ``habits`` tell its guidance branches
apart. ``refusals`` says beforehand what cannot be done, ``shortfalls`` afterwards what was not.
``observer`` is the base of what measures; ``accelerate`` is a plan that stays on a pipeline.
"""
