"""kill -9 at random moments of a training, then the same training again: are the weights those of one left alone?

    .venv/bin/python -m benchmarks.training_resume [--kills 20] [--steps 60]

The shipped student, fp32, CPU, a checkpoint every 5 steps. A moment is drawn from the whole time of a training, from
before its first step to its last write.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.training import make_rows
from tripost_core.lm.student import resolve_student

TRAIN = """
import json, sys
from pathlib import Path
from tripost_core.lm.student import checkpoint_digest
from tripost_core.lm.train import train
student, rows, work, steps = sys.argv[1:]
config = {"learning_rate": 1e-3, "save_every_steps": 5, "batch_size": 4, "max_length_tokens": 1024,
          "student": {"dtype": "float32", "device": "cpu"}}
progress = lambda *event: print(event[1], flush=True)
result = train(student, json.loads(Path(rows).read_text()), config, int(steps), 0, Path(work), progress)
print(checkpoint_digest(result.checkpoint_dir))
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", TRAIN, *arguments], stdout=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as directory:
        rows = Path(directory) / "rows.json"
        rows.write_text(json.dumps(make_rows(40)))
        common = (str(resolve_student("tiny")), str(rows))
        began = time.monotonic()
        alone, _ = start(*common, f"{directory}/alone", str(arguments.steps)).communicate()
        whole = time.monotonic() - began
        expected = alone.split()[-1]
        equal, at = 0, []
        for n in range(arguments.kills):
            work = f"{directory}/killed-{n}"
            process = start(*common, work, str(arguments.steps))
            time.sleep(rng.uniform(0.2, 1.0) * whole)
            process.send_signal(signal.SIGKILL)
            before, _ = process.communicate()
            at.append(len(before.split()))
            again, _ = start(*common, work, str(arguments.steps)).communicate()
            equal += again.split()[-1] == expected
            shutil.rmtree(work)
    json.dump({"kills": arguments.kills, "bit_equal": equal, "steps_done_when_killed": at}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
