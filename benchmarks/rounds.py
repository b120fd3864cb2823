"""Peers in processes of their own, in turn, several times."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path


def run(script: str, arguments: list[str]) -> dict:
    """The last line that a peer prints, which is JSON; `script` may hold options, and NAME=value in front of it."""
    words = script.split()
    settings = dict(word.split("=") for word in itertools.takewhile(lambda word: "=" in word, words))
    name, *options = words[len(settings) :]
    command = [sys.executable, str(Path(__file__).parent / "peers" / name), *options, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)
    if done.returncode:
        raise RuntimeError(f"{script} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def in_turn(peers: dict[str, tuple[str, str]], arguments: list[str], count: int) -> list[dict[str, dict]]:
    """The results of `count` rounds by peer.

    Args:
        peers: by name, a script and the package it needs; one whose package is not installed is named and left out.
        arguments: of every script.
        count: of the rounds.
    """
    missing = [peer for peer, (_, package) in peers.items() if importlib.util.find_spec(package) is None]
    if missing:
        print("Skipped, not installed: " + ", ".join(missing))
    results = []
    for number in range(count):
        results.append({peer: run(script, arguments) for peer, (script, _) in peers.items() if peer not in missing})
        print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
    return results
