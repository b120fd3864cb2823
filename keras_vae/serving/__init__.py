"""What a SavedModel serves: functions of tensors that refuse, inside of the graph, what they can not answer."""

from keras_vae.serving.inputs import Rows
from keras_vae.serving.memory import draw_bytes
from keras_vae.serving.signatures import Signatures

__all__ = ["Rows", "Signatures", "draw_bytes"]
