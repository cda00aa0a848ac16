"""The test suite of zstream."""
