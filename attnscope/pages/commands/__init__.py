"""What a page of each command's runs has: a file a command, found by itself."""
