"""log p(x) of the published MNIST model between two bounds, on data drawn from it, beside importance sampling.

Draws of importance sampling come from the encoder's posterior, and from the best one of full covariance.

python benchmarks/bounds.py
python benchmarks/bounds.py --model runs/digits/model.keras --examples 20 --temperatures 100
"""

import argparse
import time

import keras_vae as kv


def main(model: str, examples: int, temperatures: list[int], chains: int, samples: int) -> None:
    loaded = kv.load_model(model)
    drawn = kv.evaluation.simulate(loaded, examples, seed=1)
    start = time.perf_counter()
    sampled = kv.evaluation.log_likelihood(loaded, drawn.inputs, samples=samples, verbose=0)
    print(f"Importance sampling, {time.perf_counter() - start:.0f} s: {sampled}", flush=True)
    start = time.perf_counter()
    family = kv.FullCovarianceNormal(loaded.latent_shape)
    refined = kv.evaluation.refine_posterior(loaded, drawn.inputs, family, draws=samples, verbose=0)
    print(f"Best posterior, {time.perf_counter() - start:.0f} s: {refined}", flush=True)
    for count in temperatures:
        start = time.perf_counter()
        bounds = kv.evaluation.annealed_importance_sampling(loaded, drawn, count, chains=chains, verbose=0)
        print(f"Annealed, {time.perf_counter() - start:.0f} s: {bounds}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="saved_models/mnist/model.keras")
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--temperatures", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--samples", type=int, default=5000)
    main(**vars(parser.parse_args()))
