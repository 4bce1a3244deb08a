"""``python -m attnscope`` is the command ``attnscope``."""

from attnscope.cli.app import main

main()
