"""PURE. Decides: events in, effects out."""
