"""An ONNX model in NVIDIA Triton's Python backend, through ONNX Runtime: what Triton batched is computed together."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One session with one thread, as our server runs it."""

    def initialize(self, args):
        """Open the model that lies beside this file."""
        config = json.loads(args["model_config"])
        self.inputs = [one["name"] for one in config["input"]]
        self.outputs = [one["name"] for one in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        """Compute all requests together; each gets its own rows."""
        given = [
            [np.from_dlpack(pb_utils.get_input_tensor_by_name(one, name)) for name in self.inputs]
            for one in requests
        ]
        together = (
            given[0] if len(given) == 1 else [np.concatenate(arrays) for arrays in zip(*given, strict=True)]
        )
        found = self.session.run(self.outputs, dict(zip(self.inputs, together, strict=True)))
        answers, begin = [], 0
        for arrays in given:
            end = begin + len(arrays[0])
            answers.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor.from_dlpack(name, np.ascontiguousarray(array[begin:end]))
                        for name, array in zip(self.outputs, found, strict=True)
                    ]
                )
            )
            begin = end
        return answers
