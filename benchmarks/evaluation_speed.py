"""Time and memory of an importance-sampled log p(x): `evaluation.log_likelihood` and a hand-written JAX loop, in turn.

Dense networks 200-200, 50 latents, binary images of 28x28, float32; the encoder runs once for each image. Each peer
runs in a process of its own in each round; the table has medians over the rounds.

    python benchmarks/evaluation_speed.py
    python benchmarks/evaluation_speed.py --images 10000 --rounds 1
"""

import argparse
import statistics

from rounds import in_turn

PEERS = {"ours": ("ours_scores.py", "keras_vae"), "JAX": ("jax_scores.py", "jax")}


def main(options: argparse.Namespace) -> None:
    results = in_turn(PEERS, [str(options.images), str(options.samples)], options.rounds)
    print(f"{options.images:,} images, {options.samples:,} samples each. Medians of {options.rounds} rounds.")
    print("microseconds: for one sample of one image. ours/peer: our throughput over the peer's.\n")
    print("| log p(x) | s | microseconds | ours/peer | peak memory, MiB |\n|---|---|---|---|---|")
    for peer in results[0]:
        seconds, peak = (statistics.median(r[peer][key] for r in results) for key in ("seconds", "peak_mib"))
        ratio = statistics.median(r[peer]["seconds"] / r["ours"]["seconds"] for r in results)
        each = seconds / options.images / options.samples * 1e6
        print(f"| {peer} | {seconds:.1f} | {each:.2f} | {ratio:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
