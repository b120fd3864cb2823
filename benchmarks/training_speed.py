"""Time of a training step: `fit` of keras_vae with its defaults, and its peers, in turn.

Each peer runs in a process of its own, so many times as there are rounds; the table has medians over the rounds. A peer
that is not installed is named as skipped: `pip install ".[bench]"` installs them all.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --choices
    python benchmarks/training_speed.py --images    # VQVAE, PixelCNN, TopDownVAE, a VAE against a critic
    python benchmarks/training_speed.py --rounds 1 --peers ours jax --workloads "batch 20"
"""

import argparse
import statistics

from rounds import in_turn
from workloads import IMAGE_MODELS, WORKLOADS

PEERS = {
    "ours": ("ours.py", "keras_vae"),
    "JAX": ("jax_scan.py", "jax"),
    "PyTorch": ("pytorch_loop.py", "torch"),
    "PyTorch compiled": ("pytorch_loop.py --compiled", "torch"),
    "Pythae": ("pythae_trainer.py", "pythae"),
    "Keras defaults": ("keras_defaults.py", "keras"),
    "products alone": ("products.py", "tensorflow"),
}
IMAGE_PEERS = {
    "ours": ("image_ours.py", "keras_vae"),
    "ours, oneDNN": ("TF_ENABLE_ONEDNN_OPTS=1 image_ours.py", "keras_vae"),
    "JAX": ("image_jax.py", "jax"),
    "PyTorch": ("image_torch.py", "torch"),
    "PyTorch compiled": ("image_torch.py --compiled", "torch"),
    "products alone": ("image_products.py", "tensorflow"),
    "products alone, oneDNN": ("TF_ENABLE_ONEDNN_OPTS=1 image_products.py", "tensorflow"),
}
CHOICES = {
    "ours": ("ours.py", "keras_vae"),
    "XLA": ("ours.py --xla", "keras_vae"),
    "no XLA": ("ours.py --no-xla", "keras_vae"),
    "one step for each call": ("ours.py --single", "keras_vae"),
    "10 steps for each call": ("ours.py --ten", "keras_vae"),
    "examples shuffled, then batched": ("ours.py --examples", "keras_vae"),
}
FLOOR = "products alone"
ONEDNN = ", oneDNN"  # with TF_ENABLE_ONEDNN_OPTS=1, which TensorFlow sets by itself on some CPUs only


def main(options: argparse.Namespace) -> None:
    names = [name for name in (IMAGE_MODELS if options.images else WORKLOADS) if options.workloads in name]
    peers = IMAGE_PEERS if options.images else CHOICES if options.choices else PEERS
    wanted = [peer for peer in peers if not options.peers or any(word in peer.lower() for word in options.peers)]
    results = in_turn({peer: peers[peer] for peer in wanted}, names, options.rounds)
    print(f"Medians of {options.rounds} rounds. ms: for a step. ours/peer: our throughput over the peer's.")
    print("products: the share of the step that its matrix products and convolutions alone would take.")
    for name in names:
        print(f"\n| {name} | ms | ours/peer | products | first epoch, s |\n|---|---|---|---|---|")
        for peer in results[0]:
            ms, first = (statistics.median(r[peer][name][key] for r in results) for key in ("ms", "first_epoch_s"))
            floor = FLOOR + ONEDNN if peer.endswith(ONEDNN) else FLOOR
            ratio, share = quotient(results, name, peer, "ours"), quotient(results, name, floor, peer)
            print(f"| {peer} | {ms:.2f} | {ratio} | {share} | {first:.1f} |")


def quotient(results: list[dict], name: str, one: str, other: str) -> str:
    """Median of the time of one peer over that of another, each taken within a round; empty without both of them."""
    if one not in results[0] or other not in results[0]:
        return ""
    return f"{statistics.median(r[one][name]['ms'] / r[other][name]['ms'] for r in results):.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--choices", action="store_true", help="ours against ours with one of the defaults changed")
    parser.add_argument("--images", action="store_true", help="other models of images, and the peers that have them")
    parser.add_argument("--peers", nargs="*", type=str.lower, default=[], help="parts of the names of the peers")
    parser.add_argument("--workloads", default="", help="a part of the names of the workloads")
    main(parser.parse_args())
