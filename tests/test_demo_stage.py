"""The demo runs every stage in order, and rerun it finds everything done."""

import logging
import re

from pipeline.demo import demo
from student.recipe import Recipe

TINY = Recipe(hidden=8, epochs=1)


def test_demo(tmp_path, caplog):
    """Floors, both teachers and the student stand in one table; a rerun trains nothing."""
    first = demo(tmp_path / "demo", recipe=TINY, device="cpu", threads=1)
    caplog.clear()  # an earlier test may have let notices through
    with caplog.at_level(logging.INFO, logger="refkd"):
        again = demo(tmp_path / "demo", recipe=TINY, device="cpu", threads=1)

    assert again == first
    assert "demo is already complete" in caplog.text
    assert "epoch" not in caplog.text
    rows = [line for line in first["table"].splitlines() if re.search(r"\d\.\d\d", line)]
    assert [re.split(r"  +", row)[0].split(" 0")[0] for row in rows] == [
        "whole video",
        "fixed span (mIoU)",
        "fixed span (R1@0.5)",
        "ID teacher",
        "OOD teacher",
        "student",
    ]
    assert "simulated features" in first["table"]
    assert {"test_iid", "test_ood", "mIoU"} <= set(first["table"].split())
    assert (tmp_path / "demo" / "report.html").is_file()
