"""Sources and sinks: one file a system, one line in registry.py."""
