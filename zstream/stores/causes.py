"""What a cloud's client raised, as one line that a person can use."""

from __future__ import annotations

import os
import re

CAUSE_LENGTH_MAX = 300
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_ASKED_ROLE = re.compile(r"https?://[^/\s]+/latest/(api/token|meta-data)")  # of an AWS machine
_HALF_A_KEY = ("Missing AccessKeyId", "Missing SecretAccessKey")


def cause_of(error: Exception) -> str:
    """The line, without a stop; no query of an address, it may hold keys.

    Where keys are missing that is said first: what S3's client says is how it then looked for a
    role of the machine, an address that its user has never heard of.
    """
    said = str(error).partition("\n\nDebug source")[0]
    text = said
    if message := re.search(r"<Message>(.*?)</Message>", text, re.DOTALL):
        text = message[1]
    elif unanswered := re.search(r"(https?://[^/\s]+)\S* in .* - HTTP error: (.*)", text):
        text = f"nothing answers at {unanswered[1]} ({unanswered[2]})"
    text = re.sub(r"(https?://[^?\s]*)\?\S+", r"\1", text)
    line = " ".join(text.split())[:CAUSE_LENGTH_MAX].rstrip(".")
    missing = [name for name in _AWS_KEYS if not os.environ.get(name)]
    if missing and any(half in said for half in _HALF_A_KEY):
        return f"{' and '.join(missing)} is not in the environment ({line})"
    if missing and _ASKED_ROLE.search(said):
        return (
            f"there are no keys in the environment ({', '.join(_AWS_KEYS)}), and no role of this "
            f"machine gives any ({line})"
        )
    return line
