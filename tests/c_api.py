"""A SavedModel served by TensorFlow's C API, the loader of TensorFlow Serving, without the package `tensorflow`.

As a script it answers the requests of a file, in a process of its own, which a request may end:

    python c_api.py FOLDER ANSWERS

reads FOLDER/requests.json and FOLDER/requests.npz, as `write_requests` leaves them, and writes ANSWERS.json with the
codes and messages, ANSWERS.npz with the outputs. Each request is announced on the standard output before it is made.
"""

import ctypes
import importlib.util
import json
import sys
import threading
from pathlib import Path

import numpy as np

STRING, TEXT_BYTES = 7, 24  # TF_DataType of texts; a TF_TString, which holds up to 22 bytes itself
DTYPES = {1: "float32", 2: "float64", 3: "int32", 9: "int64", 10: "bool"}  # by the numbers of TF_DataType
OK, INVALID_ARGUMENT = 0, 3


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def _library() -> ctypes.CDLL:
    (folder,) = importlib.util.find_spec("tensorflow").submodule_search_locations
    library = ctypes.CDLL(str(Path(folder) / "libtensorflow_cc.so.2"))
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    outputs, tensors = ctypes.POINTER(_Output), ctypes.POINTER(pointer)
    functions = {
        "TF_NewStatus": (pointer,),
        "TF_DeleteStatus": (None, pointer),
        "TF_GetCode": (integer, pointer),
        "TF_Message": (text, pointer),
        "TF_NewGraph": (pointer,),
        "TF_NewSessionOptions": (pointer,),
        "TF_LoadSessionFromSavedModel": (
            *(pointer, pointer, pointer, text, ctypes.POINTER(text), integer, pointer, pointer, pointer),
        ),
        "TF_GraphOperationByName": (pointer, pointer, text),
        "TF_AllocateTensor": (pointer, integer, ctypes.POINTER(ctypes.c_int64), integer, ctypes.c_size_t),
        "TF_TensorData": (pointer, pointer),
        "TF_TensorType": (integer, pointer),
        "TF_NumDims": (integer, pointer),
        "TF_Dim": (ctypes.c_int64, pointer, integer),
        "TF_DeleteTensor": (None, pointer),
        "TF_SessionRun": (
            *(None, pointer, pointer, outputs, tensors, integer, outputs, tensors, integer),
            *(pointer, integer, pointer, pointer),
        ),
    }
    for name, (result, *arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Served:
    """A SavedModel, loaded.

    Args:
        path: its folder.
        signatures: by name, the names of tensors by those of inputs and outputs, as `signatures_of` reads them.
    """

    library = None

    def __init__(self, path, signatures: dict):
        Served.library = self._c = Served.library or _library()
        self.signatures = signatures
        self._graph = self._c.TF_NewGraph()
        status, tags = self._c.TF_NewStatus(), (ctypes.c_char_p * 1)(b"serve")
        options = self._c.TF_NewSessionOptions()
        self._session = self._c.TF_LoadSessionFromSavedModel(
            options, None, str(path).encode(), tags, 1, self._graph, None, status
        )
        assert self._c.TF_GetCode(status) == OK, self._c.TF_Message(status)

    def __call__(self, signature: str, inputs: dict[str, np.ndarray]) -> tuple[int, str, dict[str, np.ndarray]]:
        """Code, message and outputs of one request."""
        names = self.signatures[signature]
        feeds = [self._place(names["inputs"][name]) for name in inputs]
        fetches = [self._place(name) for name in names["outputs"].values()]
        values = [self._tensor(value) for value in inputs.values()]
        results, status = (ctypes.c_void_p * len(fetches))(), self._c.TF_NewStatus()
        self._c.TF_SessionRun(
            *(self._session, None, (_Output * len(feeds))(*feeds), (ctypes.c_void_p * len(values))(*values)),
            *(len(feeds), (_Output * len(fetches))(*fetches), results, len(fetches), None, 0, None, status),
        )
        code, message = self._c.TF_GetCode(status), self._c.TF_Message(status).decode(errors="replace")
        for value in values:
            self._c.TF_DeleteTensor(value)
        self._c.TF_DeleteStatus(status)
        outputs = {} if code else dict(zip(names["outputs"], map(self._array, results), strict=True))
        return code, message, outputs

    def _place(self, name: str) -> _Output:
        operation, index = name.split(":")
        return _Output(self._c.TF_GraphOperationByName(self._graph, operation.encode()), int(index))

    def _tensor(self, value: np.ndarray):
        value = np.require(value, requirements="C")
        if value.dtype.kind == "S":
            packed = b"".join(bytes([len(text) << 2]) + text.ljust(TEXT_BYTES - 1, b"\0") for text in value.ravel())
            assert len(packed) == TEXT_BYTES * value.size, "short texts only"
            tensor = self._c.TF_AllocateTensor(
                STRING, (ctypes.c_int64 * max(value.ndim, 1))(*value.shape), value.ndim, len(packed)
            )
            ctypes.memmove(self._c.TF_TensorData(tensor), packed, len(packed))
            return tensor
        number = next(number for number, name in DTYPES.items() if value.dtype == name)
        shape = (ctypes.c_int64 * max(value.ndim, 1))(*value.shape)
        tensor = self._c.TF_AllocateTensor(number, shape, value.ndim, value.nbytes)
        ctypes.memmove(self._c.TF_TensorData(tensor), value.ctypes.data, value.nbytes)
        return tensor

    def _array(self, tensor) -> np.ndarray:
        shape = [self._c.TF_Dim(tensor, axis) for axis in range(self._c.TF_NumDims(tensor))]
        if self._c.TF_TensorType(tensor) == STRING:
            packed = ctypes.string_at(self._c.TF_TensorData(tensor), TEXT_BYTES * int(np.prod(shape)))
            starts = range(0, len(packed), TEXT_BYTES)
            assert not any(packed[start] & 3 for start in starts), "short texts only"
            texts = [packed[start + 1 : start + 1 + (packed[start] >> 2)] for start in starts]
            self._c.TF_DeleteTensor(tensor)
            return np.array(texts, f"S{TEXT_BYTES}").reshape(shape)
        value = np.empty(shape, DTYPES[self._c.TF_TensorType(tensor)])
        ctypes.memmove(value.ctypes.data, self._c.TF_TensorData(tensor), value.nbytes)
        self._c.TF_DeleteTensor(tensor)
        return value


def signatures_of(path) -> dict:
    """What a SavedModel says of its signatures: names of tensors by those of inputs and outputs; defaults."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    model.ParseFromString((Path(path) / "saved_model.pb").read_bytes())
    return {
        name: {
            "inputs": {key: info.name for key, info in definition.inputs.items()},
            "outputs": {key: info.name for key, info in definition.outputs.items()},
            "defaults": {key: tf.make_ndarray(value).tolist() for key, value in definition.defaults.items()},
        }
        for name, definition in model.meta_graphs[0].signature_def.items()
        if definition.inputs
    }


def write_requests(folder, models: dict[str, Path], requests: list[tuple[str, str, dict]]) -> None:
    """Leaves requests, (model, signature, inputs), for the script."""
    asked = {model for model, *_ in requests}
    described = {name: [str(path), signatures_of(path)] for name, path in models.items() if name in asked}
    named = [[model, signature, list(inputs)] for model, signature, inputs in requests]
    arrays = {f"{number}.{key}": value for number, (*_, given) in enumerate(requests) for key, value in given.items()}
    (Path(folder) / "requests.json").write_text(json.dumps([described, named]))
    np.savez(Path(folder) / "requests.npz", **arrays)


def read_answers(path) -> list[tuple[int, str, dict]]:
    """Code, message and outputs of each request."""
    answers = json.loads(Path(f"{path}.json").read_text())
    with np.load(f"{path}.npz") as arrays:
        return [
            (code, message, {key: arrays[f"{number}.{key}"] for key in keys})
            for number, (code, message, keys) in enumerate(answers)
        ]


def main(folder: str, answers: str, threads: int = 1) -> None:
    """Answers the requests, each thread all of them; the answers that are kept are those of the last thread."""
    models, requests = json.loads((Path(folder) / "requests.json").read_text())
    served = {name: Served(*described) for name, described in models.items()}
    arrays = dict(np.load(Path(folder) / "requests.npz"))

    def answer_all(kept: list) -> None:
        for number, (model, signature, keys) in enumerate(requests):
            print(number, flush=True)
            kept.append(served[model](signature, {key: arrays[f"{number}.{key}"] for key in keys}))

    found = [[] for _ in range(threads)]
    workers = [threading.Thread(target=answer_all, args=[kept]) for kept in found]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for kept in found[1:]:  # several threads that ask one server get the answers of one
        for one, other in zip(found[0], kept, strict=True):
            assert one[:2] == other[:2]
            assert all(np.array_equal(one[2][key], other[2][key]) for key in one[2])
    results = found[-1]
    codes = [[code, message, list(outputs)] for code, message, outputs in results]
    Path(f"{answers}.json").write_text(json.dumps(codes))
    outputs = {f"{number}.{key}": value for number, (*_, made) in enumerate(results) for key, value in made.items()}
    np.savez(f"{answers}.npz", **outputs)
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
