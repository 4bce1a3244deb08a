"""The best plan for a model: what staleness costs is measured, plans are searched, and one is proven.

``calibration`` measures what it does to the latents when modules are stale or guidance is missing, ``parts``
says at which steps; ``search`` makes ``schedules`` of that, by arithmetic alone; ``candidates`` measures what
they make of images, since damages do not add up; ``refinement`` goes on from the best by small moves, each of
them measured; ``outcome`` writes the plans. ``replay`` lets a run begin anywhere without computing what came
before. ``run`` does all of it in a run directory. What is measured is the work of a crew, and ``held`` is what
each of its members keeps.
"""
