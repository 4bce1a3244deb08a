"""One question a file: settings and ``measure(pipe, settings, ...)`` to a tidy table."""
