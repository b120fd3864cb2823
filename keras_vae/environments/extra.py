"""Gymnasium, or what to do where it is missing."""

try:
    import gymnasium as gymnasium
except ImportError as error:
    raise ImportError(
        f'keras_vae.environments needs Gymnasium: pip install "keras_vae[gymnasium]". Received: {error}.'
    ) from None
