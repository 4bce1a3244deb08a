"""The best plan for a model: what staleness costs is measured, plans are searched, and one is proven.

``calibration`` measures what it does to the latents when modules are stale or guidance is missing;
``search`` makes ``schedules`` of that, by arithmetic alone; ``candidates`` measures what they make of images,
since damages do not add up; ``refinement`` goes on from the best by small moves, each of them measured.
``replay`` lets a run begin anywhere without computing what came before. ``run`` does all of it in a
run directory.
"""
