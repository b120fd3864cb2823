"""Which normal distribution the KL prefers: exact and fitted posteriors of one example, side by side.

Something lies at z in the plane, drawn from N(0, I), and two masts on the line z[1] = 0 measure how far away it is, not
in which direction. Of two distances the exact posterior has two modes, mirror images at that line, or is a bent ring.
The model learns where on the line the masts are, from distances alone. The figure is of the test example that the
encoder's family, independent normals, can follow the least.

python examples/posteriors.py        # writes posteriors.png
"""

import keras
import numpy as np

import keras_vae as kv

MASTS = np.array([[-0.6, 0.0], [0.6, 0.0]])
NOISE = 0.2  # standard deviation of a measured distance


@keras.saving.register_keras_serializable("examples")
class Distances(keras.layers.Layer):
    """Distances of points in the plane, shape (batch, 2), to places on its first axis, which are learned."""

    def __init__(self, places: int, **kwargs):
        super().__init__(**kwargs)
        self.places = places

    def build(self, input_shape):
        spread = keras.initializers.RandomNormal(0.0, 0.5)
        self.masts = self.add_weight(shape=(self.places,), initializer=spread, name="masts")

    def call(self, z):
        return keras.ops.sqrt((z[:, :1] - self.masts) ** 2 + z[:, 1:] ** 2 + 1e-4)

    def get_config(self):
        return super().get_config() | {"places": self.places}


def measured(count: int, seed: int) -> np.ndarray:
    """Pairs of distances, shape (count, 2)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 1, 2))
    return (np.linalg.norm(z - MASTS, axis=-1) + NOISE * rng.normal(size=(count, 2))).astype("float32")


def main() -> None:
    """Trains, prints how far encoder and family are from the exact posterior, and writes the figure."""
    keras.utils.set_random_seed(1)
    model = kv.VAE(
        posterior=kv.Normal(2, kv.dense_encoder(2, [64, 64])),
        likelihood=kv.FixedScaleNormal(2, Distances(2), scale=NOISE),
        prior=kv.StandardNormal(2),
    )
    model.compile(keras.optimizers.Adam(3e-3), loss=kv.IWAE(50))
    model.fit(measured(5000, seed=0), epochs=10, batch_size=100, verbose=0)
    test = measured(100, seed=1)
    refined = kv.evaluation.refine_posterior(model, test, verbose=0)
    print(refined)
    x = test[[refined.approximation_gap.values.argmax()]]
    print(kv.evaluation.hamiltonian_monte_carlo(model, x))
    kv.plotting.posteriors(model, x).savefig("posteriors.png")


if __name__ == "__main__":
    main()
