"""turn(now): control first, then a bounded number of batches, then effects in order."""
