"""Whatever is sent, every parser answers soon, and with its value or one of its own refusals."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import must_have_all
from tests.hostile.parsers import PARSERS, Parser, judge

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
#: Wheels of the fuzzer are for Linux on x86-64; where everything must be there, its absence is a failure.
guided = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None and not must_have_all(), reason="atheris has no wheel for this machine"
)
#: Seconds of a processor that any input may cost.
SOON = 1.0
#: Inputs that all parsers together are given in the suite, the same ones each time; seconds for each of them in the long form.
RUNS, LONG = 20_000, int(os.environ.get("YUMEN_TESTS_FUZZ_SECONDS", "600"))

TRICKS = (
    *(b"", b"\0", b"\n", b"\r\n\r\n", b" " * 5_000, b"\xff\xfe\xfd", b"\xef\xbb\xbf{}", b"\xed\xa0\x80", b"%" * 999),
    "\u202e\u0000\ud7ff\U0001d518".encode(),
    *(b"[" * 100_000, b'{"a":' * 50_000, b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e999}', b"9" * 5_000, b'"\\ud800"', b"[1e400]"),
    *(b"\x30\x84\xff\xff\xff\xff", b"\x30\x80" * 30_000, b"\x30\x81\x00", b"\x30\x82\x00\x01\x00", b"\x30" * 50_000),
    *(b"\x02\x01" * 20_000, b"-----BEGIN CERTIFICATE-----\n" * 2_000, b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
    *(b"PK\x03\x04" + b"\xff" * 60, b"PK\x05\x06" + b"\xff" * 18, b"a:" * 20_000, b'obj:"' + b"x" * 20_000, b"since:9999-99-99"),
    *(b"since:0001-01-01 until:9999-12-31T23:59:59Z", b"-" * 20_000, b"actor:" + b"*" * 9_000, b"/" * 9_000, b"/%" + b"2" * 8_000),
    *(b"/.." * 3_000, b"/%00/%c0%ae", b"/a?" + b"&" * 9_000, b":" + b"A" * 20_000 + b":", b"::ffff:1.2.3.4%25lo"),
    *(b"version: 1\n\n" + b"dn: x\n" * 9_000, b" continued\n" * 9_000, b"dn:: !!!!\n", b"x = [" * 20_000, b"[[a]]\n" * 9_000),
)


def mutations(seed: bytes) -> Iterator[bytes]:
    """`seed` cut, flipped, doubled, turned: always the same ones."""
    chance = random.Random(seed)
    yield from (seed + seed, seed[::-1], seed.replace(b"\n", b"\r\n"), seed.upper(), seed + b"\0", b"\0" + seed, seed * 50)
    for at in sorted(chance.sample(range(len(seed)), min(len(seed), 60))):
        yield seed[:at]
        yield seed[at:]
        yield seed[:at] + bytes([seed[at] ^ 1 << chance.randrange(8)]) + seed[at + 1 :]
        yield seed[:at] + chance.choice((b"\xff" * 4, b"\0", b'"', b"\x80", b"\x84\x7f\xff\xff\xff", b"-1")) + seed[at:]


@pytest.mark.parametrize("parser", PARSERS.values(), ids=lambda parser: parser.name)
def test_every_parser_refuses_known_tricks_soon(parser: Parser) -> None:
    for data in (*TRICKS, *parser.seeds(), *(made for seed in parser.seeds() for made in mutations(seed))):
        began = time.thread_time()
        try:
            judge(parser, data)
        except Exception as error:
            raise AssertionError(f"{parser.name}: {data[:200]!r}") from error
        assert time.thread_time() - began < SOON, data[:200]


def fuzz(folder: Path, *told: str) -> None:
    """Let coverage lead the way as `told`; what breaks a parser is left in `folder` and shown."""
    options = ("-timeout=120", "-max_len=4096", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzz", *told, *options, f"-artifact_prefix={folder}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
    )
    broken = "".join(f"{path.name}: {path.read_bytes()!r}\n" for path in folder.iterdir())
    assert ended.returncode == 0, broken + ended.stdout[-3_000:] + ended.stderr[-6_000:]
    assert int(ended.stderr.split("stat::number_of_executed_units:")[1].split()[0]) > 1_000


@guided
def test_a_little_fuzzing_finds_nothing(tmp_path: Path) -> None:
    fuzz(tmp_path, f"-runs={RUNS}", "-seed=7")


@guided
@pytest.mark.proof
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", PARSERS)
def test_fuzzing_finds_nothing(tmp_path: Path, name: str) -> None:
    fuzz(tmp_path, name, f"-max_total_time={LONG}")


@guided
def test_fuzzing_would_find_something(tmp_path: Path) -> None:
    """A parser with a hole is seen through: the instrument works."""
    hole = tmp_path / "hole.py"
    hole.write_text(
        "import sys, atheris\n"
        "@atheris.instrument_func\n"
        "def one(data):\n"
        "    if data[:1] == b'h':\n        if data[1:2] == b'o':\n            if data[2:3] == b'l':\n                raise IndexError\n"
        "atheris.Setup([sys.argv[0], '-max_total_time=20', '-seed=3', f'-artifact_prefix={sys.argv[1]}/'], one)\natheris.Fuzz()\n"
    )
    ended = subprocess.run([sys.executable, str(hole), str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert any(path.name.startswith("crash-") for path in tmp_path.iterdir()), ended.stderr[-2_000:]
