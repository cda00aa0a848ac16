"""What holds for all tests: no test asserts a time, so none of Hypothesis' does. Ctrl-C works in
what they start, although a script that runs them in its background has it ignored.
"""

import signal

from hypothesis import settings

settings.register_profile("zstream", deadline=None)
settings.load_profile("zstream")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
