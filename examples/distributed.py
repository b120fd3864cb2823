"""Digits on many devices: make and compile the model inside the scope of a strategy; all else is as always.

The batch is the global one, divided among the devices, each of which draws noise of its own.

All GPUs of this machine (without a GPU two logical CPU devices, to show that it works):

    python examples/distributed.py gpus

Several machines: start the same command on each of them, with the addresses of all and the number of the one. When one
of them is lost, the others stop; start all again, and they go on from the last epoch that all of them finished.

    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}' \\
        python examples/distributed.py machines
    TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 1}}' \\
        python examples/distributed.py machines

A TPU, on its virtual machine or by its name; not tried on one so far:

    python examples/distributed.py tpu
    python examples/distributed.py tpu --name my-tpu
"""

import argparse
from pathlib import Path

import tensorflow as tf

import keras_vae as kv

LATENTS = 16


def gpus(options: argparse.Namespace) -> tf.distribute.Strategy:
    """All GPUs of this machine."""
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if kind == "CPU":  # before anything runs
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])


def machines(options: argparse.Namespace) -> tf.distribute.Strategy:
    """All machines of TF_CONFIG."""
    return tf.distribute.MultiWorkerMirroredStrategy()  # before anything runs


def tpu(options: argparse.Namespace) -> tf.distribute.Strategy:
    """All cores of a TPU."""
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=options.name)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def main(options: argparse.Namespace) -> None:
    """Trains and scores."""
    strategy = {"gpus": gpus, "machines": machines, "tpu": tpu}[options.devices](options)
    print(f"{strategy.num_replicas_in_sync} devices")
    data = kv.datasets.load("digits", batch_size=64, drop_remainder=options.devices == "tpu")
    with strategy.scope():
        vae = kv.VAE(
            posterior=kv.Normal(LATENTS, kv.dense_encoder(data.shape)),
            likelihood=kv.Bernoulli(data.shape, kv.dense_decoder(LATENTS)),
            prior=kv.StandardNormal(LATENTS),
        )
        vae.compile(optimizer="adam", loss=kv.ELBO())
    backup = kv.callbacks.BackupAndRestore(options.output / "checkpoint")
    vae.fit(data.train, epochs=10, validation_data=data.validation, callbacks=[backup], verbose=2)
    print(kv.evaluation.log_likelihood(vae, data.test, samples=100))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", choices=["gpus", "machines", "tpu"])
    parser.add_argument("--name", default="local", help="of a TPU")
    parser.add_argument("--output", type=Path, default=Path("runs/distributed"), help="a folder for the checkpoint")
    main(parser.parse_args())
