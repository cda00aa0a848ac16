"""docopt -> one call -> exit code."""
