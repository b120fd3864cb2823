"""Time of a training step: `fit` of keras_vae with its defaults, and its peers, in turn.

Each peer runs in a process of its own, so many times as there are rounds; the table has medians over the rounds. A peer
that is not installed is named as skipped: `pip install ".[bench]"` installs them all.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --rounds 1 --peers ours jax --workloads "batch 20"
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path

from workloads import WORKLOADS

PEERS = {
    "ours": ("ours.py", "keras_vae"),
    "JAX": ("jax_scan.py", "jax"),
    "PyTorch": ("pytorch_loop.py", "torch"),
    "PyTorch compiled": ("pytorch_loop.py --compiled", "torch"),
    "Pythae": ("pythae_trainer.py", "pythae"),
    "Keras defaults": ("keras_defaults.py", "keras"),
    "matrix products": ("products.py", "tensorflow"),
}


def run(peer: str, names: list[str]) -> dict[str, dict]:
    """One process of a peer: by workload, milliseconds for a step and seconds for the first epoch."""
    script, *options = PEERS[peer][0].split()
    command = [sys.executable, str(Path(__file__).parent / "peers" / script), *options, *names]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{peer} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(options: argparse.Namespace) -> None:
    names = [name for name in WORKLOADS if options.workloads in name]
    peers = [peer for peer in PEERS if not options.peers or any(word in peer.lower() for word in options.peers)]
    missing = [peer for peer in peers if importlib.util.find_spec(PEERS[peer][1]) is None]
    peers = [peer for peer in peers if peer not in missing]
    rounds = []
    for number in range(options.rounds):
        rounds.append({peer: run(peer, names) for peer in peers})
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    if missing:
        print("Skipped, not installed: " + ", ".join(missing))
    print("Medians over the rounds. ms: for a step. ours/peer: our throughput over the peer's.")
    for name in names:
        print(f"\n| {name} | ms | ours/peer | first epoch, s |\n|---|---|---|---|")
        for peer in peers:
            ms = statistics.median(result[peer][name]["ms"] for result in rounds)
            first = statistics.median(result[peer][name]["first_epoch_s"] for result in rounds)
            ratio = ""
            if "ours" in peers:
                ratio = f"{statistics.median(r[peer][name]['ms'] / r['ours'][name]['ms'] for r in rounds):.2f}"
            print(f"| {peer} | {ms:.2f} | {ratio} | {first:.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", type=str.lower, default=[], help="parts of the names of the peers")
    parser.add_argument("--workloads", default="", help="a part of the names of the workloads")
    main(parser.parse_args())
