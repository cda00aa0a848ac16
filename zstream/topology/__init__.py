"""What a person writes: streams, operators, specs; checked and compiled into stages."""
