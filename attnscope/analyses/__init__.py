"""One question a folder or file: settings, and what they come to as a tidy table."""
