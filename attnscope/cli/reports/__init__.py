"""What the commands print when all is done, from run directories alone: without torch."""
