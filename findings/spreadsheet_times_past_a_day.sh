#!/usr/bin/env bash
# Package: pandas 3.1.1 with openpyxl 3.1.5 and with python-calamine 0.9.1.
# Behaviour: a spreadsheet's times in the format h:mm:ss come as a time of the day up to 23:59:59, and
# from 24 hours on as a moment of the first of January 1900, with the day's hours taken off. The same
# numbers in the format [h]:mm:ss are lengths.
# Seen: h:mm:ss: time 23:59:00, datetime 1900-01-01 00:10:00; [h]:mm:ss: timedelta 1 day, 0:10:00
# Hurts: in recordings of more than a day, the event at 24:10 lies at 0:10 for whoever takes the time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pandas==3.1.1 openpyxl==3.1.5 python-calamine==0.9.1
venv/bin/python - <<'PYTHON'
import datetime
import sys

import openpyxl
import pandas as pd

book = openpyxl.Workbook()
book.active.append(["Start"])
for hours, minutes, form in ((23, 59, "h:mm:ss"), (24, 10, "h:mm:ss"), (24, 10, "[h]:mm:ss")):
    book.active.append([(60 * hours + minutes) / 1440])
    book.active.cell(book.active.max_row, 1).number_format = form
book.save("coded.xlsx")
expected = [
    datetime.time(23, 59),
    datetime.datetime(1900, 1, 1, 0, 10),
    datetime.timedelta(days=1, minutes=10),
]
is_changed = False
for engine in ("openpyxl", "calamine"):
    found = pd.read_excel("coded.xlsx", engine=engine)["Start"].tolist()
    print(engine, [f"{type(item).__name__} {item}" for item in found])
    is_changed |= found != expected
sys.exit(is_changed)
PYTHON
