"""Control log and keyed state storage: one file a store."""
