"""Digits on all GPUs of this machine: everything is made inside the scope of a strategy, and `fit` is as always.

The batch is the global one, divided among the GPUs; each GPU draws noise of its own. Without a GPU it runs on two
logical CPU devices, to show that it works.

    python examples/several_gpus.py
"""

import tensorflow as tf

import keras_vae as kv


def main() -> None:
    """Trains and scores."""
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU":  # before anything runs
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])
    print(f"{strategy.num_replicas_in_sync} devices")
    data = kv.datasets.load("digits", batch_size=64)
    with strategy.scope():
        vae = kv.VAE(
            posterior=kv.Normal(16, kv.dense_encoder(data.shape)),
            likelihood=kv.Bernoulli(data.shape, kv.dense_decoder(16)),
            prior=kv.StandardNormal(16),
        )
        vae.compile(optimizer="adam", loss=kv.ELBO())
    vae.fit(data.train, epochs=10, validation_data=data.validation, verbose=2)
    print(kv.evaluation.log_likelihood(vae, data.test, samples=100))


if __name__ == "__main__":
    main()
