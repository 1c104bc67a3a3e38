"""A bundle is verified by the one file that travels along, in an environment that has nothing else."""

from __future__ import annotations

import ast
import csv
import io
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.event import listen

from audit.export import bundle, verifier_app
from audit.search import find, parse_query
from audit.verifier.__main__ import main
from audit.verifier.bundle import check_bundle
from audit.verifier.errors import Tampered, Unreadable
from core.errors import Unavailable
from tests.audit.homes import Home, decision, issued

Files = dict[str, bytes]


@pytest.fixture
def exported(home: Home) -> bytes:
    home.trail.append([decision(number, source=f"10.0.0.{number}") for number in range(20)] + [issued(number) for number in range(20)])
    home.publisher.publish()
    return export(home, "out:allow -obj:app:oa-3 -obj:app:oa-7")


def export(home: Home, query: str) -> bytes:
    with home.database.reading() as session:
        found = find(session, parse_query(query), limit=500).entries
        more = find(session, parse_query("code:cert.issued cert:abab*"), limit=2).entries
    return bundle(home.trail, [*found, *more], query=query, disclose=True)


def unpack(data: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier as an auditor would: isolated, without site packages, environment or repository."""
    command = [sys.executable, "-I", "-S", "yumen-verify.pyz", *arguments]
    return subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=False)


def test_a_large_bundle_asks_for_each_tile_and_head_once(home: Home) -> None:
    home.trail.append([decision(number) for number in range(600)])
    home.publisher.publish()
    with home.database.reading() as session:
        found = find(session, parse_query("log:access"), limit=500).entries
    asked: list[str] = []
    listen(home.database.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    assert check_bundle(bundle(home.trail, found), home.keys).events == {"access/1": 500}
    assert len(asked) < 40


def test_it_is_verified_offline_in_an_empty_environment(home: Home, exported: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "auditor"
    folder.mkdir()
    (folder / "bundle.zip").write_bytes(exported)
    (folder / "yumen-verify.pyz").write_bytes(unpack(exported)["yumen-verify.pyz"])
    (folder / "keys").write_text("# from the ceremony\n" + "\n".join(key.encode() for key in home.keys))
    ran = alone(folder, "bundle.zip", "--key", "keys")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "holds: 20 events, query `out:allow -obj:app:oa-3 -obj:app:oa-7`" in ran.stdout
    assert "access/1: 18 events in yumen.test/access/1, 22 entries" in ran.stdout
    assert "2 more withheld in that range" in ran.stdout
    assert "18 personal values disclosed" in ran.stdout
    without = alone(folder, "bundle.zip")
    assert without.returncode == 2
    assert "no trusted key" in without.stderr
    wrong = alone(folder, "bundle.zip", "--key", home.keys[0].encode())
    assert wrong.returncode == 1
    assert "no trusted key signed" in wrong.stderr


def test_the_verifier_is_reproducible_and_needs_the_standard_library_only() -> None:
    assert verifier_app() == verifier_app()
    for path in (Path(__file__).parents[2] / "audit" / "verifier").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert {name.name.partition(".")[0] for name in node.names} <= sys.stdlib_module_names
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert str(node.module).partition(".")[0] in sys.stdlib_module_names


def change(name: str, old: bytes, new: bytes) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return apply


def drop_line(files: Files) -> None:
    files["events.jsonl"] = files["events.jsonl"].partition(b"\n")[2]


def drop_event(files: Files) -> None:
    drop_line(files)
    del files["events.csv"]
    manifest = json.loads(files["manifest.json"])
    del manifest["places"][0]
    files["manifest.json"] = json.dumps(manifest).encode()


def swap_proofs(files: Files) -> None:
    one, two = "proofs/access-1/4.tlog-proof", "proofs/access-1/6.tlog-proof"
    files[one], files[two] = files[two], files[one]


def repeat_event(files: Files) -> None:
    files["events.jsonl"] += files["events.jsonl"].splitlines(keepends=True)[0]
    manifest = json.loads(files["manifest.json"])
    manifest["places"].append(manifest["places"][0])
    files["manifest.json"] = json.dumps(manifest).encode()


def shorten_range(files: Files) -> None:
    files["ranges/access-1.leaves"] = files["ranges/access-1.leaves"][:-32]


def move_range(files: Files) -> None:
    """Claim that the range begins one later, hiding its first entry."""
    manifest = json.loads(files["manifest.json"])
    told = next(told for told in manifest["ranges"] if told["log"] == "access/1")
    told["first"] += 1
    files["manifest.json"] = json.dumps(manifest).encode()
    files["ranges/access-1.leaves"] = files["ranges/access-1.leaves"][32:]


def hide_in_range(files: Files) -> None:
    leaves = files["ranges/access-1.leaves"]
    files["ranges/access-1.leaves"] = leaves[: 3 * 32] + bytes(32) + leaves[4 * 32 :]


def without_ranges(files: Files) -> None:
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | {"ranges": []}).encode()


def forge_without_ranges(files: Files) -> None:
    without_ranges(files)
    change("events.jsonl", b'"allow"', b'"deny" ')(files)


def mislabel(files: Files) -> None:
    """Present an event of the one log as an event of the other."""
    without_ranges(files)
    manifest = json.loads(files["manifest.json"])
    at = manifest["places"].index(["access/1", 4])
    manifest["places"][at] = ["ca/1", 4]
    files["manifest.json"] = json.dumps(manifest).encode()
    files["proofs/ca-1/4.tlog-proof"] = files["proofs/access-1/4.tlog-proof"]
    files["disclosures.jsonl"] = b""


@pytest.mark.parametrize(
    "forgery",
    [
        change("events.jsonl", b'"allow"', b'"deny" '),
        change("proofs/access-1/4.tlog-proof", b"\n22\n", b"\n23\n"),
        change("proofs/access-1/4.tlog-proof", b"index 4", b"index 6"),
        change("disclosures.jsonl", b"10.0.0.1", b"10.9.9.9"),
        change("disclosures.jsonl", b'"field": "source"', b'"field": "sourc3"'),
        change("events.csv", b'"allow"', b'"deny"'),
        change("events.csv", b"\r\n", b"\n"),
        change("manifest.json", b'"yumen-bundle/1"', b'"yumen-bundle/9"'),
        drop_line,
        swap_proofs,
        repeat_event,
        shorten_range,
        move_range,
        hide_in_range,
        mislabel,
        forge_without_ranges,
        lambda files: files.pop("manifest.json"),
        lambda files: files.pop("proofs/access-1/4.tlog-proof"),
        lambda files: files.update({"manifest.json": b"[]"}),
        lambda files: files.update({"events.jsonl": b"\xff\n" * 20}),
    ],
)
def test_a_forged_bundle_does_not_hold(home: Home, exported: bytes, forgery: Callable[[Files], None]) -> None:
    files = unpack(exported)
    check_bundle(pack(files), home.keys)
    forgery(files)
    with pytest.raises((Tampered, Unreadable)):
        check_bundle(pack(files), home.keys)


@pytest.mark.parametrize(
    "told",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\u3000=1",
        "＝1",
        '=HYPERLINK("https://x")',
        '","=1',
    ],
)
def test_no_cell_of_the_table_is_a_formula(home: Home, told: str) -> None:
    """Whatever a stranger wrote into a field: a spreadsheet shows it and runs nothing."""
    home.trail.append([decision(1, object=told, reason=told, rule=told, request_id=told[:64], details={"name": told})])
    home.publisher.publish()
    with home.database.reading() as session:
        found = find(session, parse_query("code:AZ1001")).entries
    data = bundle(home.trail, found)
    cells = list(csv.DictReader(io.StringIO(unpack(data)["events.csv"].decode("utf-8-sig"), newline="")))
    assert [cell["object"].removeprefix("'") for cell in cells] == [told]
    assert not [cell for row in cells for cell in row.values() if cell.strip("\u3000 ")[:1] in set("=+-@\t\r\n＝＋－＠") and cell]
    assert check_bundle(data, home.keys).events == {"access/1": 1}


def test_the_table_has_every_event_once_in_the_order_of_the_logs(exported: bytes) -> None:
    text = unpack(exported)["events.csv"]
    rows = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline="")))
    assert [(row["log"], int(row["index"])) for row in rows] == [
        tuple(place) for place in json.loads(unpack(exported)["manifest.json"])["places"]
    ]
    assert {row["outcome"] for row in rows} == {"allow", "ok"}
    assert rows[0]["time"].startswith("2026-03-01T08:00:")


def test_an_event_left_out_is_counted_as_withheld(home: Home, exported: bytes) -> None:
    files = unpack(exported)
    drop_event(files)
    files["disclosures.jsonl"] = files["disclosures.jsonl"].partition(b"\n")[2]
    report = check_bundle(pack(files), home.keys)
    assert report.withheld["access/1"] == 3


def test_a_bundle_that_lists_no_range_says_so(home: Home, exported: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = unpack(exported)
    without_ranges(files)
    (tmp_path / "bundle.zip").write_bytes(pack(files))
    assert main([str(tmp_path / "bundle.zip"), *(part for key in home.keys for part in ("--key", key.encode()))]) == 0
    assert "nothing is shown about what stands between them" in capsys.readouterr().out


def test_what_no_head_covers_is_not_exported(home: Home) -> None:
    home.publisher.publish()
    home.trail.append([decision()])
    with pytest.raises(Unavailable):
        export(home, "out:allow")


def test_an_export_waits_for_the_head_over_its_newest_entry(home: Home) -> None:
    home.publisher.publish()
    home.trail.append([decision()])
    with home.database.reading() as session:
        found = find(session, parse_query("out:allow")).entries
    signer = threading.Timer(0.3, home.publisher.publish)
    signer.start()
    assert check_bundle(bundle(home.trail, found, patience=10), home.keys).events == {"access/1": 1}
    signer.join()


def test_garbage_is_unreadable(home: Home) -> None:
    for data in (b"", b"PK", b"PK\x03\x04garbage"):
        with pytest.raises(Unreadable):
            check_bundle(data, home.keys)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_the_command_checks_every_kind_of_evidence(home: Home, exported: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [argument for key in home.keys for argument in ("--key", key.encode())]
    files = unpack(exported)
    proof, body, note = tmp_path / "4.tlog-proof", tmp_path / "body", home.folder / "notes" / "access.note"
    proof.write_bytes(files["proofs/access-1/4.tlog-proof"])
    places = json.loads(files["manifest.json"])["places"]
    body.write_bytes(files["events.jsonl"].split(b"\n")[places.index(["access/1", 4])])
    assert main([str(proof), "--entry", str(body), *keys]) == 0
    assert main([str(note), *keys]) == 0
    assert main([str(home.file), "--note", str(note), *keys]) == 0
    assert "the first 22 proved by 1 saved" in capsys.readouterr().out
    body.write_bytes(b"{}")
    assert main([str(proof), "--entry", str(body), *keys]) == 1
    assert "[entries 4 to 4]" in capsys.readouterr().err
    for unanswerable in ([str(proof)], [str(home.file)], [str(tmp_path / "none")], [str(note), "--key", "nonsense"]):
        assert main([*unanswerable, *(keys if "nonsense" not in unanswerable else [])]) == 2
    assert main([str(note)]) == 2
