"""Where the control log and the checkpoints lie: one file a kind of store."""
