"""Command lines: every usage text parses, settings lie below it, wrong usage is one sentence."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import zstream.control.status
from zstream.cli import cluster_shrinker, cluster_shutdown, cluster_status
from zstream.cli.arguments import options_of
from zstream.cli.settings import OPTION_NAMES, config_from, read_settings, variable
from zstream.cli.usage import parse
from zstream.cli.worker_usage import USAGE, usage_of_program
from zstream.client import Eligibility, Status, WorkerStatus
from zstream.config import Config
from zstream.errors import UsageError

PROGRAMS = {
    "zworker": USAGE,
    **{
        name: importlib.import_module(f"zstream.cli.{name}").__doc__ or ""
        for name in (
            "cluster_shrinker",
            "cluster_savepoint",
            "cluster_status",
            "cluster_shutdown",
            "sender",
            "data_receiver",
        )
    },
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No zstream.env and no ZSTREAM_ variable of the machine reaches a test."""
    monkeypatch.chdir(tmp_path)
    for name in [*map(variable, OPTION_NAMES.split()), *(variable(f.name) for f in fields(Config))]:
        monkeypatch.delenv(name, raising=False)


def refusal(program: str, line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a wrong command line prints, which must be one line on standard error and exit 2, and
    end with where to read on."""
    with pytest.raises(SystemExit) as caught:
        parse(PROGRAMS[program], line.split(), program=program)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    sentence, see, rest = err.removeprefix(f"{program}: ").rpartition(f" See {program} --help.")
    assert (bool(see), rest) == (True, "\n")
    return sentence


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (
            "zworker",
            "--application-module alphabet --in alphabet@127.0.0.1:7010 --out 127.0.0.1:7002 "
            "--metrics 127.0.0.1:5001 --control 127.0.0.1:12500 --data 127.0.0.1:12501 "
            "--external 127.0.0.1:5050 --name w1 --cluster-initializer --worker-count 2 "
            "--ponythreads=1",
        ),
        (
            "zworker",
            "--application-module alphabet --in 127.0.0.1:7010 --out 127.0.0.1:7002 "
            "--control 127.0.0.1:12500 --name w2 --ponythreads 1",
        ),
        (
            "zworker",
            "-a alphabet -i 127.0.0.1:7010 -o 127.0.0.1:7002 -m 127.0.0.1:5001 "
            "-j 127.0.0.1:12500 -n w3 -w 3 -x 127.0.0.1:0 -y 127.0.0.1:0 -e 127.0.0.1:0",
        ),
        ("cluster_shrinker", "--external 127.0.0.1:5050 --query"),
        ("cluster_shrinker", "--external 127.0.0.1:5050 --count 2"),
        ("cluster_shrinker", "-e 127.0.0.1:5050 -w w2,w3 --no-wait"),
        ("cluster_status", "--external 127.0.0.1:5050 --watch --rescales --dead-letters"),
        ("cluster_shutdown", "127.0.0.1:5050"),
        ("cluster_savepoint", "--external 127.0.0.1:5050 --to file:///save --no-wait --json"),
        ("cluster_savepoint", "show s3://bucket/save --json"),
        ("sender", "--host 127.0.0.1:7010 --file votes.msg -f - --rate 100"),
        ("data_receiver", "--listen 127.0.0.1:7002 --framed --no-write"),
    ],
)
def test_lines_that_people_know_parse(program: str, line: str) -> None:
    """Wallaroo's options and short forms, as the seed's commands give them."""
    parse(PROGRAMS[program], line.split(), program=program)


def test_short_forms_may_stand_together_and_long_ones_be_cut_short() -> None:
    """`-tw3` and `--work=3`; what follows -- goes to the topology as it is."""
    options = parse(USAGE, ["-tw3", "--appl", "m", "--", "--in", "x"], program="zworker")
    assert options["--cluster-initializer"]
    assert (options["--worker-count"], options["--application-module"]) == ("3", "m")
    assert (options["--in"], options["<argument>"]) == (None, ["--in", "x"])


@pytest.mark.parametrize(
    ("program", "line", "says"),
    [
        (
            "zworker",
            "--worker-cnt 3",
            "there is no option --worker-cnt; did you mean --worker-count?",
        ),
        ("zworker", "-z", "there is no option -z."),
        ("zworker", "--m", "--m may be --my-control, --my-data or --metrics; write it out."),
        ("zworker", "--name", "--name wants NAME behind it."),
        ("zworker", "--name --join a:1", "--name wants NAME behind it, not --join."),
        ("zworker", "--json=1", "--json takes no value, it was given '1'."),
        (
            "zworker",
            "alphabet",
            "nothing is asked for where 'alphabet' stands. "
            "What is for the topology stands behind --.",
        ),
        ("zworker", "--name a --name b", "--name is given more than once."),
        (
            "zworker",
            "--leave-state a --leave-state b --fresh --fresh",
            "--fresh is given more than once.",
        ),
        ("cluster_savepoint", "show", "<url> is missing."),
        ("cluster_savepoint", "show a b", "nothing is asked for where 'b' stands."),
        ("cluster_savepoint", "show a --to b", "this fits none of the ways to use it."),
        (
            "cluster_savepoint",
            "-e a:1",
            "--to URL is missing (or ZSTREAM_TO in the environment).",
        ),
        ("cluster_shrinker", "-e a:1", "one of --query, --count or --workers is missing."),
        (
            "cluster_shrinker",
            "-e a:1 -q -c 1",
            "--query and --count exclude each other; give one of them.",
        ),
        (
            "cluster_shrinker",
            "--query",
            "--external ADDR is missing (or ZSTREAM_EXTERNAL in the environment).",
        ),
        ("cluster_shutdown", "", "<address> is missing."),
        (
            "cluster_shutdown",
            "--external a:1",
            "there is no option --external. <address> stands alone, without an option before it.",
        ),
        (
            "cluster_status",
            "127.0.0.1:5050",
            "nothing is asked for where '127.0.0.1:5050' stands. Say --external 127.0.0.1:5050.",
        ),
        (
            "cluster_shrinker",
            "--query a:1",
            "nothing is asked for where 'a:1' stands. Say --external a:1.",
        ),
        ("cluster_status", "-e a:1 b:1", "nothing is asked for where 'b:1' stands."),
        ("cluster_status", "w0", "nothing is asked for where 'w0' stands."),
        ("cluster_shutdown", "a:1 b:1", "nothing is asked for where 'b:1' stands."),
        ("cluster_shutdown", "a:1 -- b", "nothing is asked for behind --."),
        (
            "sender",
            "--host a:1 -f x --lines --framed",
            "--lines and --framed exclude each other; give one of them.",
        ),
    ],
)
def test_wrong_usage_is_one_sentence(
    program: str, line: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is wrong with this command line, instead of the whole text."""
    assert refusal(program, line, capsys) == says


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_version_are_no_errors(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both end with 0 whatever else is missing."""
    for asked, begins in (("--help", PROGRAMS[program].strip()), ("--version", f"{program} 9.9")):
        with pytest.raises(SystemExit) as caught:
            parse(PROGRAMS[program], [asked], program=program, version="9.9")
        assert caught.value.code == 0
        assert capsys.readouterr().out.strip() == begins


def test_a_program_of_its_own_has_its_name_and_no_module() -> None:
    """`python alphabet.py --help`."""
    text = usage_of_program("alphabet.py")
    assert "  alphabet.py [options] [--leave-state NAME]... [-- <argument>...]\n" in text
    assert "application-module" not in text
    assert parse(text, ["-n", "w1"], program="alphabet.py")["--name"] == "w1"


# ---------------------------------------------------------------- settings


def test_command_line_above_environment_above_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer is seen where the one above it is silent."""
    Path("zstream.env").write_text(
        "# settings\nZSTREAM_NAME=filed\nZSTREAM_OUT=f:1\nZSTREAM_IN=f:2\n\n", encoding="utf-8"
    )
    monkeypatch.setenv("ZSTREAM_NAME", "around")
    monkeypatch.setenv("ZSTREAM_OUT", "around:1")
    monkeypatch.setenv("ZSTREAM_JOIN", "")
    options = parse(USAGE, ["--name", "said"], program="zworker")
    said = (options["--name"], options["--out"], options["--in"], options["--join"])
    assert said == ("said", "around:1", "f:2", None)


def test_switches_and_required_options_come_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A switch is 1 or 0; a required option that is set there is not missing."""
    monkeypatch.setenv("ZSTREAM_EXTERNAL", "a:1")
    monkeypatch.setenv("ZSTREAM_JSON", "yes")
    monkeypatch.setenv("ZSTREAM_WATCH", "0")
    options = parse(cluster_status.__doc__ or "", [], program="cluster_status")
    assert (options["--external"], options["--json"], options["--watch"]) == ("a:1", True, False)


def test_a_choice_on_the_command_line_leaves_no_room_for_one_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ZSTREAM_COUNT, meant for the sender, does not forbid `cluster_shrinker --query`."""
    monkeypatch.setenv("ZSTREAM_COUNT", "100")
    options = parse(
        cluster_shrinker.__doc__ or "", ["-e", "a:1", "--query"], program="cluster_shrinker"
    )
    assert (options["--query"], options["--count"]) == (True, None)


def test_every_field_of_config_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment or a file that --config names; the command line's word wins."""
    Path("mine.env").write_text("ZSTREAM_WAVE_GROUPS_MAX=7", encoding="utf-8")
    monkeypatch.setenv("ZSTREAM_WAVE_BYTES_MAX", "65_536")
    monkeypatch.setenv("ZSTREAM_JOIN_DEADLINE_MS", "1")
    config = config_from(read_settings("mine.env"), join_deadline_ms=2)
    assert config == Config(wave_groups_max=7, wave_bytes_max=65_536, join_deadline_ms=2)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "ZSTREAM_WAVE_BYTES_MAX=big",
            "ZSTREAM_WAVE_BYTES_MAX must be a whole number, it is 'big' (in zstream.env, line 1).",
        ),
        (
            "ZSTREAM_WAVE_BYTE_MAX=1",
            "in zstream.env, line 1: there is no setting ZSTREAM_WAVE_BYTE_MAX; "
            "did you mean ZSTREAM_WAVE_BYTES_MAX?",
        ),
        ("nonsense", "in zstream.env, line 1: a line is NAME=VALUE, this one is 'nonsense'."),
        ("ZSTREAM_LEASE_MS=0", "lease_ms must be above 0, it is 0."),
    ],
)
def test_a_wrong_setting_is_refused_with_its_place(line: str, says: str) -> None:
    """Which value, why, and where it stands."""
    Path("zstream.env").write_text(line, encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(says)):
        config_from(read_settings())


def test_a_switch_that_is_neither_on_nor_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence names variable and origin."""
    monkeypatch.setenv("ZSTREAM_JSON", "perhaps")
    says = "ZSTREAM_JSON must be 1 or 0, it is 'perhaps' (in the environment)."
    assert refusal("cluster_shutdown", "a:1", capsys) == says


def test_a_config_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """zstream.env may be missing, a file that was named may not."""
    assert refusal("zworker", "--config no.env", capsys) == "--config: there is no file no.env."


# ---------------------------------------------------------------- one language


def test_the_settings_are_the_options_of_all_programs() -> None:
    """A file's line is refused when it names no option, so the list must be whole."""
    options = {option.name for doc in PROGRAMS.values() for option in options_of(doc)}
    assert {f"--{name}" for name in OPTION_NAMES.split()} == options - {"--help", "--version"}


def test_no_setting_means_two_things() -> None:
    """An option and a Config field never share a variable."""
    of_options = {variable(name) for name in OPTION_NAMES.split()}
    assert not of_options & {variable(field.name) for field in fields(Config)}


def test_json_keys_and_the_clients_names_are_the_same() -> None:
    """What the leader tells, what the client gives, and what face.md promises, key by key."""
    promised = {
        "topology fingerprint processing_messages worker_count worker_names leader term generation "
        "epoch rescale_in_progress rescale workers dead_letters late_records": Status,
        "name key_groups keys state_bytes records_in_per_second records_out_per_second busy_ratio "
        "eligible stays_because": WorkerStatus,
        "node_count node_names staying": Eligibility,
    }
    for keys, value in promised.items():
        assert set(keys.split()) <= set(value._fields)  # type: ignore[attr-defined]
    source = inspect.getsource(zstream.control.status)
    for value in (Status, WorkerStatus, Eligibility):
        missing = [name for name in value._fields if f'"{name}":' not in source]
        assert not missing, f"zstream.control.status never says {missing}"


def test_defaults_stand_in_the_texts_and_not_for_docopt() -> None:
    """`[default: x]` would hide whether a person said it, and so the environment."""
    for doc in (*PROGRAMS.values(), cluster_shutdown.__doc__ or ""):
        assert "[default" not in doc


def test_a_way_takes_only_its_own_options_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is set for other programs, or another way of this one, is in nobody's way."""
    monkeypatch.setenv("ZSTREAM_EXTERNAL", "127.0.0.1:5050")
    monkeypatch.setenv("ZSTREAM_JSON", "1")
    shown = parse(PROGRAMS["cluster_savepoint"], ["show", "/save"], program="cluster_savepoint")
    assert (shown["show"], shown["<url>"], shown["--external"], shown["--json"]) == (
        True,
        "/save",
        None,
        True,
    )
    taken = parse(PROGRAMS["cluster_savepoint"], ["--to", "/save"], program="cluster_savepoint")
    assert (taken["show"], taken["--external"]) == (False, "127.0.0.1:5050")
