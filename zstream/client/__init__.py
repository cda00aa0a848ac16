"""For programs beside the engine: Cluster."""
