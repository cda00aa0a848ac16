"""zstream: a streaming engine of equal workers that grows and shrinks while records flow."""
