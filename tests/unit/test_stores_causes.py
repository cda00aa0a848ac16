"""What clouds' clients say, made into a line for the one who gave --store."""

from __future__ import annotations

import pytest

from zstream.stores.causes import CAUSE_LENGTH_MAX, cause_of

ROLE = (
    "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 665.471µs - "
    "Server returned non-2xx status code: 403 Forbidden: denied.\n\nDebug source:\nGeneric { ... }"
)
ROLE_UNANSWERED = (
    "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1.2s, after "
    "3 retries, max_retries: 3 - HTTP error: error sending request\n\nDebug source: ..."
)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without AWS keys."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)


@pytest.mark.parametrize(
    ("says", "detail"),
    [
        (ROLE, "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token"),
        (ROLE_UNANSWERED, "nothing answers at http://169.254.169.254 (error sending request)"),
    ],
)
def test_no_keys_at_all_is_said_first(says: str, detail: str) -> None:
    """The client then asked an address of which its user has never heard for a role."""
    assert cause_of(OSError(says)).startswith(
        "there are no keys in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), and no "
        f"role of this machine gives any ({detail}"
    )


def test_one_key_of_two_is_said() -> None:
    """The id is there, the secret is not."""
    says = "Generic S3 error: Missing SecretAccessKey\n\nDebug source: ..."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        assert cause_of(OSError(says)) == (
            "AWS_SECRET_ACCESS_KEY is not in the environment "
            "(Generic S3 error: Missing SecretAccessKey)"
        )


def test_what_has_nothing_to_do_with_keys_stays_as_it_is() -> None:
    """A machine's role gave keys, and the bucket is what is wrong; and keys are there."""
    denied = "Generic S3 error: <Error><Message>Access\n Denied.</Message></Error>"
    assert cause_of(OSError(denied)) == "Access Denied"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        assert cause_of(OSError(ROLE)).startswith("Generic S3 error: Error performing PUT")


def test_a_line_holds_no_query_and_is_no_page() -> None:
    """A signed address is a key."""
    long = "PUT https://bucket.example/x?X-Amz-Signature=secret failed " + 100 * "again "
    assert "secret" not in cause_of(OSError(long))
    assert len(cause_of(OSError(long))) <= CAUSE_LENGTH_MAX
