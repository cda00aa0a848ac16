"""What holds for all tests: no test asserts a time, so none of Hypothesis' does."""

from hypothesis import settings

settings.register_profile("zstream", deadline=None)
settings.load_profile("zstream")
