"""The soak: a real cluster under faults for minutes or hours. `python -m tests.soak --help`."""
