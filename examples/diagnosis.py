"""A model whose latent space has collapsed, what `diagnose` says of it, and the same model cured, side by side.

The sick model weighs its KL by 20: its encoder learns to say the same of every digit. The diagnosis names the knob, and
the cured model warms the weight up from 0 to 1. While it is trained, a callback logs how many units are active.

python examples/diagnosis.py
"""

import keras

import keras_vae as kv

LATENTS = 16


def train(data, beta: float, *callbacks, epochs: int = 40) -> kv.VAE:
    """A dense VAE of binary digits."""
    keras.utils.set_random_seed(0)
    vae = kv.VAE(
        posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape)),
        likelihood=kv.Bernoulli(data.shape, kv.dense_decoder(LATENTS)),
        prior=kv.StandardNormal(LATENTS),
    )
    vae.compile("adam", loss=kv.ELBO(beta=beta))
    vae.fit(data.train, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return vae


def main() -> None:
    """Prints both diagnoses, and writes a figure of each."""
    data = kv.datasets.load("digits", batch_size=64)
    sick = train(data, 20.0)
    before = kv.evaluation.diagnose(sick, data.test)
    kv.plotting.diagnosis(before).savefig("collapsed.png")

    warm_up = kv.callbacks.LinearSchedule("beta", start=0.0, end=1.0, epochs=20)
    watch = kv.callbacks.Diagnose(data.validation, every=10)
    cured = train(data, 1.0, warm_up, watch)
    print("\nWhile it was trained, at every tenth epoch:")
    for name in ("active_units", "mutual_information", "inference_gap", "log_p"):
        print(f"  {name}: {', '.join(f'{value:.2f}' for value in cured.history.history[name])}")
    after = kv.evaluation.diagnose(cured, data.test)
    kv.plotting.diagnosis(after).savefig("cured.png")

    print(f"\n{'':24}{'collapsed':>12}{'cured':>12}")
    numbers = before.numbers(), after.numbers()
    for name in ("active_units", "mutual_information", "reconstruction_gain", "inference_gap", "log_p"):
        print(f"{name:24}" + "".join(f"{each[name]:12.2f}" for each in numbers))
    print("Wrote collapsed.png and cured.png")


if __name__ == "__main__":
    main()
