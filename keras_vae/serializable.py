"""One rule for every class of the package: constructor arguments = attributes = config."""

import inspect

import keras


class Serializable:
    """Constructor arguments, kept under their own names as attributes, are the config.

    A subclass stores each argument of its ``__init__`` under the argument's name and is then saved and restored by
    Keras with no further code: it is registered under ``package>ClassName`` when it is defined, nested layers and
    objectives included.

    Example:

    >>> class Scale(Serializable):
    ...     def __init__(self, factor=2.0):
    ...         self.factor = factor
    >>> Scale.from_config(Scale(3.0).get_config()).factor
    3.0
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable(package=cls.__module__.split(".")[0])(cls)

    @classmethod
    def _argument_names(cls) -> list[str]:
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]

    def get_config(self) -> dict:
        """Returns the constructor's arguments by name, after those of the Keras base class where there is one."""
        inherited: dict = getattr(super(), "get_config", dict)()
        arguments = {name: getattr(self, name) for name in self._argument_names()}
        return inherited | {name: keras.saving.serialize_keras_object(value) for name, value in arguments.items()}

    @classmethod
    def from_config(cls, config: dict):
        """Rebuilds an object from `get_config`, nested objects first."""
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._argument_names())
        return f"{type(self).__name__}({arguments})"
