"""A second shell: the same driver over seeded ports, with an oracle."""
