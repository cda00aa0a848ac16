"""What travels: control messages, log records, data frames, values. Only this room imports msgpack.

Nothing that comes in is ever unpickled or evaluated; what cannot be decoded raises WireError.
"""
