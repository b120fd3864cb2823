"""Pythae: its VAE or IWAE, with the networks of the workload, in its own trainer."""

import logging
import queue
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from pytorch_loop import networks
from workloads import LEARNING_RATE, PIXELS, Workload, measure

logging.disable(logging.INFO)


class Encoder(BaseEncoder):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        mean, log_variance = self.network(x).chunk(2, dim=-1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


def epochs(workload: Workload):
    go, done = queue.Queue(), queue.Queue()

    class Gate(TrainingCallback):
        def on_epoch_begin(self, config, **kwargs):
            go.get()

        def on_epoch_end(self, config, **kwargs):
            done.put(None)

    encoder, decoder = networks(workload)
    options = {"input_dim": (PIXELS,), "latent_dim": workload.latent, "reconstruction_loss": "bce"}
    networks_of = {"encoder": Encoder(encoder), "decoder": Decoder(decoder)}
    if workload.samples == 1:
        model = VAE(VAEConfig(**options), **networks_of)
    else:
        model = IWAE(IWAEConfig(**options, number_samples=workload.samples), **networks_of)
    images = torch.from_numpy(workload.images())
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=workload.batch,
            num_epochs=1_000_000,
            learning_rate=LEARNING_RATE,
            no_cuda=True,
        )
        trainer = BaseTrainer(
            model, BaseDataset(images, torch.zeros(len(images))), training_config=training, callbacks=[Gate()]
        )
        threading.Thread(target=trainer.train, daemon=True).start()
        while True:
            go.put("go")
            done.get()
            yield


if __name__ == "__main__":
    measure(epochs, sys.argv[1:])
