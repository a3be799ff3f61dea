"""The journal of finished chunks: torn anywhere, it loses one line at most."""

from stores.journal import Entry, Journal

ENTRIES = [
    Entry("id", chunk, f"{chunk:064x}", {"device": "cpu", "torch": "2.13"}) for chunk in range(3)
]


def written(path):
    journal = Journal(path)
    for entry in ENTRIES:
        journal.append(entry)
    return journal


def test_entries_come_back(tmp_path):
    """What was appended is read, in order, by another process's object too."""
    written(tmp_path / "journal.jsonl")

    assert Journal(tmp_path / "journal.jsonl").entries() == ENTRIES


def test_no_file_no_entries(tmp_path):
    """Before the first line there is no journal and nothing is done."""
    assert Journal(tmp_path / "journal.jsonl").entries() == []


def test_torn_at_every_byte(tmp_path):
    """Cut anywhere, the journal keeps its whole lines, and a line appended next is not glued on."""
    path = tmp_path / "journal.jsonl"
    written(path)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        kept = Journal(path).entries()
        Journal(path).append(ENTRIES[2])

        assert kept == ENTRIES[: data[:size].count(b"\n")]
        assert Journal(path).entries() == [*kept, ENTRIES[2]]


def test_unreadable_lines_are_skipped(tmp_path):
    """A line that is no entry costs its own chunk and no other."""
    journal = written(tmp_path / "journal.jsonl")
    lines = journal.path.read_bytes().splitlines(keepends=True)
    odd = [b"\x00\xff\n", b"[1]\n", b'{"array": "id"}\n', b'{"array": 1, "chunk": "x"}\n', b"\n"]
    journal.path.write_bytes(b"".join([*odd, lines[0], *odd, lines[1]]))

    assert journal.entries() == ENTRIES[:2]
