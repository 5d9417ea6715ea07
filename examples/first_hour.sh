#!/usr/bin/env bash
# The first hour of three new users, as commands that you can read and repeat.
#
#     bash examples/first_hour.sh DATA OUT
#
# DATA holds a table many_actors.csv (see docs/reference/tables.md) and its clips, OUT is an empty
# folder. Every command is printed before it runs. The script stops at the first command that ends
# otherwise than it should, and at the first traceback. No network is needed or used.
#
#   1. A biologist has a table of 40 clips in her own words, and a film.
#   2. A visitor has a dozen videos of all kinds, one of them broken.
#   3. An engineer wants to use the model from her own programs.
#
# The folders of DATA whose videos user 1 and user 2 have can be changed:
#     CLIPS_OF=surv_fight VIDEOS_OF="misc singles" bash examples/first_hour.sh DATA OUT
# WALKS="2 3" takes only some of the users.
set -euo pipefail

[ $# -eq 2 ] || { sed -n '2,6p' "$0" | cut -c3-; exit 2; }
DATA=$(cd "$1" && pwd)
mkdir -p "$2"
OUT=$(cd "$2" && pwd)
[ -z "$(ls -A "$OUT")" ] || { echo "$OUT is not empty: name a new folder"; exit 2; }
CLIPS_OF=${CLIPS_OF:-yolo_behavior_rat}
VIDEOS_OF=${VIDEOS_OF:-misc singles}
WALKS=${WALKS:-1 2 3}
export DATA OUT CLIPS_OF VIDEOS_OF HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
cd "$OUT"

# expect STATUS COMMAND ...: run a command, and stop unless it ends as it should.
expect() {
  local wanted=$1 status=0 began=$SECONDS
  shift
  printf '\n$ %s\n' "$*"
  "$@" 2>&1 | tee "$OUT/last-output.txt" || status=${PIPESTATUS[0]}
  echo "[exit code $status after $((SECONDS - began)) s]"
  if grep -q '^Traceback' "$OUT/last-output.txt"; then echo "STOP: a traceback"; exit 1; fi
  if [ "$status" != "$wanted" ]; then echo "STOP: expected exit code $wanted"; exit 1; fi
}
try() { expect 0 "$@"; }
# program WHAT: run a Python program from standard input.
program() {
  cat >"$OUT/program.py"
  printf '\n--- %s\n' "$1"
  sed 's/^/    /' "$OUT/program.py"
  try python "$OUT/program.py"
}
user() { printf '\n=== %s\n' "$1"; }

# ------------------------------------------------------------------------------------------------
biologist() {
  user "1. A table of clips in her own words"
  mkdir "$OUT/rats" && cd "$OUT/rats"
  # The table as Excel writes it in much of Europe: other names, semicolons, mm:ss, Windows-1252.
  python - <<'PY'
import csv, os, random
from pathlib import Path

import av
import openpyxl

data = Path(os.environ["DATA"])
with (data / "many_actors.csv").open(newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["path"].startswith(os.environ["CLIPS_OF"])]
random.Random(0).shuffle(rows)
her_words = {"rearing": "M\xe4nnchen", "fighting": "K\xe4mpfen"}


def her_time(seconds):
    return f"{int(float(seconds) // 60):02}:{float(seconds) % 60:05.2f}" if seconds else ""


def her_rows(split):
    for row in [row for row in rows if row["split"] == split][:40]:
        labels = [her_words.get(label, label) for label in row["labels"].split("|")]
        times = her_time(row["start"]), her_time(row["end"])
        yield row["path"], *times, "/".join(labels), row["group"], "B. M\xfcller"


head = ("Video", "Start", "Stop", "Behaviour", "Session", "Observer")
for name, split in (("clips", "train"), ("kept_back", "test")):
    table = [head, *her_rows(split)]
    with open(f"{name}.csv", "w", newline="", encoding="cp1252") as file:
        csv.writer(file, delimiter=";").writerows(table)
    book = openpyxl.Workbook()
    for line in table:
        book.active.append(line)
    book.save(f"{name}.xlsx")

# A film: the clips that are kept back, one after the other.
with av.open("film.mp4", "w") as film:
    stream = film.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.bit_rate = 480, 360, 2_000_000
    for path, *_ in list(her_rows("test"))[:20]:
        with av.open(str(data / path)) as clip:
            for frame in clip.decode(video=0):
                pixels = frame.reformat(480, 360, "rgb24").to_ndarray()
                film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
    film.mux(stream.encode())
PY
  try head -4 clips.csv
  try msqnet check clips.csv --root "$DATA" --label-separator /
  try msqnet train --data clips.csv --root "$DATA" --label-separator / --out runs/rats
  try msqnet evaluate --model runs/rats --data kept_back.csv --root "$DATA" \
    --label-separator / --out kept_back
  try msqnet predict film.mp4 --model runs/rats --out film
  try msqnet report film
  try cat film/time_budget.csv
  # The same as a workbook, from the table to the model.
  try msqnet check clips.xlsx --root "$DATA" --label-separator /
  try msqnet train --data clips.xlsx --root "$DATA" --label-separator / --out runs/rats_xlsx
}

# ------------------------------------------------------------------------------------------------
visitor() {
  user "2. A dozen videos of all kinds"
  mkdir -p "$OUT/visitor/videos" && cd "$OUT/visitor"
  python - <<'PY'
import os, shutil
from pathlib import Path

endings = {".mp4", ".avi", ".mov", ".mkv", ".asf", ".webm"}
folders = [Path(os.environ["DATA"]) / name for name in os.environ["VIDEOS_OF"].split()]
kinds = [
    sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    for folder in folders
]
chosen = [path for found in kinds for path in found[: 11 // len(kinds) + 1]][:11]
for path in chosen:
    shutil.copy(path, Path("videos") / path.name)
whole = chosen[0].read_bytes()  # the twelfth: a copy that broke off early
Path("videos/broken.mp4").write_bytes(whole[: min(len(whole) // 50, 4000)])
PY
  try ls -l videos
  expect 1 msqnet predict videos --out results   # 1: one of them cannot be read
  try msqnet report results
  try cat results/index.csv
  try cat results/time_budget.csv
  expect 1 msqnet predict videos --out results   # nothing is computed twice
}

# ------------------------------------------------------------------------------------------------
engineer() {
  user "3. Ten things in Python and on the command line"
  mkdir "$OUT/engineer" && cd "$OUT/engineer"

  program "1. a shipped model by its name, and what its configuration says" <<'PY'
from msqnet import MSQNet

model = MSQNet.from_pretrained("mixed-actors-lite")
config = model.config
print(config.num_labels, config.problem_type, list(config.id2label.items())[:3])
assert config.num_labels == len(config.id2label) == len(config.labels)
assert config.problem_type == "multi_label_classification"
assert [config.label2id[name] for name in config.labels] == list(range(config.num_labels))
model.save_pretrained("saved")
PY
  program "2. AutoModel of a saved folder" <<'PY'
import msqnet
from transformers import AutoConfig, AutoModel

from msqnet import MSQNet

config = AutoConfig.from_pretrained("saved")
model = AutoModel.from_pretrained("saved")
print(type(model).__name__, config.model_type)
assert isinstance(model, MSQNet)
PY
  program "3. the loss, with labels" <<'PY'
import torch

from msqnet import MSQNet

model = MSQNet.from_pretrained("saved")
clip = torch.randint(0, 256, (1, 16, 3, 224, 224), dtype=torch.uint8)
labels = torch.full((1, model.config.num_labels), -100.0)
labels[0, :3] = torch.tensor([1.0, 0.0, 0.0])
output = model(pixels=clip, motion_crops=clip, labels=labels)
print(output.loss, output.logits.shape)
output.loss.backward()
PY
  program "4. one step of a plain Trainer" <<'PY'
import torch
from transformers import Trainer, TrainingArguments

from msqnet import MSQNet

model = MSQNet.from_pretrained("saved")
clip = torch.zeros(16, 3, 224, 224, dtype=torch.uint8)
row = {"pixels": clip, "motion_crops": clip, "labels": torch.zeros(model.config.num_labels)}
settings = TrainingArguments(
    "trainer", max_steps=1, save_strategy="no", report_to="none", label_names=["labels"]
)
print(Trainer(model=model, args=settings, train_dataset=[row, row]).train().training_loss)
PY
  program "5. a Predictor on a file, on an array and on a list of frames" <<'PY'
import numpy as np

from msqnet import Predictor
from msqnet.demo import demo_clips

predictor = Predictor.from_pretrained()
predictions = predictor(demo_clips()[0].path)
print(predictions.duration_seconds, [segment.label for segment in predictions.segments])
array = np.random.default_rng(0).integers(0, 256, (50, 120, 160, 3), dtype=np.uint8)
of_array, of_list = predictor(array, fps=25), predictor(list(array), fps=25)
print(of_array.duration_seconds, of_array.timeline == of_list.timeline)
PY
  program "6. segments as a table of pandas" <<'PY'
from msqnet import Predictor
from msqnet.demo import demo_clips

table = Predictor.from_pretrained()(demo_clips()[0].path).to_dataframe()
print(table)
assert list(table.columns)[1:] == ["label", "start_seconds", "end_seconds", "score"]
PY

  printf '\n--- 7. the model as graphs, without PyTorch\n'
  try msqnet export --model saved --out exported
  program "the scores of both" <<'PY'
import sys

import numpy as np

from msqnet import Predictor
from msqnet.demo import demo_clips

clip = demo_clips()[1].path
graphs = Predictor.from_pretrained("exported")(clip)
assert "torch" not in sys.modules
model = Predictor.from_pretrained("saved", runtime="torch")(clip)
difference = np.abs(graphs.timeline.scores - model.timeline.scores).max()
print("largest difference of a score:", difference)
assert difference < 1e-3
PY

  printf '\n--- 8. a server and one request\n'
  msqnet serve --port 0 >serve.log 2>&1 &
  local server=$!
  trap 'kill $server 2>/dev/null || true' EXIT
  program "the request" <<'PY'
import re, time
from pathlib import Path

import httpx

from msqnet.demo import demo_clips

for _ in range(600):
    found = re.search(r"http://127\.0\.0\.1:\d+", Path("serve.log").read_text())
    if found:
        break
    time.sleep(0.2)
for _ in range(600):  # the page is there at once, the model some seconds later
    if httpx.get(f"{found[0]}/readyz").status_code == 200:
        break
    time.sleep(0.2)
with httpx.Client(base_url=f"{found[0]}/api/v1/", timeout=60) as client:
    with demo_clips()[1].path.open("rb") as file:
        answer = client.post("predictions", files={"file": file}).raise_for_status().json()
    while answer["state"] not in ("done", "failed"):
        time.sleep(0.2)
        answer = client.get(f"predictions/{answer['id']}").raise_for_status().json()
print(answer["state"], answer["error"] if answer["state"] == "failed" else "")
for segment in answer["result"]["segments"]:
    print(segment)
PY
  kill "$server" && wait "$server" || true
  trap - EXIT
  try cat serve.log

  printf '\n--- 9. twenty clips, killed half way\n'
  mkdir clips
  program "twenty clips" <<'PY'
import csv, os, shutil
from pathlib import Path

data = Path(os.environ["DATA"])
with (data / "many_actors.csv").open(newline="") as file:
    paths = dict.fromkeys(row["path"] for row in csv.DictReader(file))
chosen = [path for path in paths if path.startswith(os.environ["CLIPS_OF"])][:20]
for number, path in enumerate(chosen):
    shutil.copy(data / path, f"clips/{number:02}{Path(path).suffix}")
print(len(chosen))
PY
  # In a process group of its own, which is killed as a whole once some results are there.
  setsid msqnet batch run --inputs clips --out many >killed.log 2>&1 &
  local batch=$!
  while [ "$(find many -name '*.json' 2>/dev/null | grep -vc '/\.batch/')" -lt 3 ] \
    && kill -0 "$batch" 2>/dev/null; do sleep 0.1; done
  kill -9 -- "-$batch" && wait "$batch" || true
  expect 1 msqnet batch status --out many   # 1: not all are done
  printf '\n--- 10. and resumed\n'
  try msqnet batch run --inputs clips --out many
  try msqnet batch status --out many
  program "one row for each clip" <<'PY'
import csv

with open("many/index.csv", newline="") as file:
    rows = list(csv.DictReader(file))
print({row["status"] for row in rows}, len(rows))
assert len(rows) == len({row["input"] for row in rows})
PY
}

for walk in $WALKS; do
  case $walk in
    1) biologist ;;
    2) visitor ;;
    3) engineer ;;
  esac
done
printf '\nAll commands ended as they should.\n'
