"""Calling the command line as people do: a process of its own, standard output and error apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PRETEND = Path(__file__).with_name("pretend.py")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(*words: str, state: Path, program: tuple[str, ...] = ("-m", "cloudcore.cli.entry"), **environ: str) -> Done:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDCORE_", "AWS_"))}
    ports = {"CLOUDCORE_API__PORT": "0", "CLOUDCORE_OBJECTSTORE__PORT": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *program, *words, "--state", str(state)], env={**kept, **ports, **environ},
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def pretend(*words: str, state: Path, **environ: str) -> Done:
    """The same, with a cloud that is only its doors."""
    return call(*words, state=state, program=(str(PRETEND),), **environ)
