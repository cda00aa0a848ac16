"""A whole cluster dies, and goes on from a store in a bucket; where an S3 server is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.conftest import BUCKET, installed_servers, moto, point_to
from tests.integration.live import Live
from tests.integration.live_files import Counted


@pytest.mark.skipif("moto" not in installed_servers(), reason="tox -e stores has it")
def test_all_are_killed_and_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are killed, and started again on the same store as two, and these as five; then the
    leader is killed. The totals are those of one cluster that never died."""
    with moto(tmp_path) as endpoint, Counted(tmp_path) as counted:
        point_to(endpoint, monkeypatch)
        with Live(tmp_path, "", **counted.how, store=f"s3://{BUCKET}/here") as live:
            for count in (3, 2, 5):
                live.start(count)
                counted.goes_on(1_500)
                assert live.status().worker_count == count
                if count != 5:
                    live.kill()
            live.kill(live.status().leader)
            counted.goes_on(1_500)
            counted.check()
            live.shut_down()
            counted.check()
