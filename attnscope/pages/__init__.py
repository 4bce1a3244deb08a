"""Runs as pages for a browser: one HTML file that opens from disk and makes no request.

A command's runs are laid out by functions that are decorated with
:func:`~attnscope.pages.registry.shows`; files in ``commands/`` are found by themselves. They read tables
and say which :mod:`~attnscope.pages.parts` a page has; templates say how a part looks. Charts are SVG
that is made here: a plotting library's script would be a hundred times as large as what is drawn (the
whole of ``static/report.js`` has under 10 kB), and what is written into a page is known to be text.
"""
