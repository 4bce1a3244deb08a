"""Captions of files: every one as a person reads it in the file, or an error that says where not."""

from attnscope.captions.files import TABLES, read

__all__ = ["TABLES", "read"]
