"""The production shell: sockets, poller, signals, processes, telemetry."""
