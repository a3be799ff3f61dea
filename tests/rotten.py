"""Files whose bytes change without a trace."""

import json
import os


def turn(path, *, at=-1):
    """Flip a bit and put the time of writing back; the kernel notes when that was done."""
    facts = path.stat()
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(at, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def rot(path, *, at=-1):
    """Flip a bit of a file of a data set as a failing disk does: its stamp stays true."""
    turn(path, at=at)
    place = path.with_name(".stamps.json")
    stamps = json.loads(place.read_bytes())
    sha256, size, written, _, *where = stamps[path.name]
    stamps[path.name] = [sha256, size, written, path.stat().st_ctime_ns, *where]
    place.write_text(json.dumps(stamps))
