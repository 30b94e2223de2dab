"""An ONNX model in NVIDIA Triton's Python backend, run by ONNX Runtime; requests that Triton batched are computed together."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One session with one thread, as in the tamis server."""

    def initialize(self, args):
        """Open the model in the folder of this file."""
        config = json.loads(args["model_config"])
        self.inputs = [one["name"] for one in config["input"]]
        self.outputs = [one["name"] for one in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        """Compute all requests as one batch and split the outputs."""
        inputs = [
            [np.from_dlpack(pb_utils.get_input_tensor_by_name(one, name)) for name in self.inputs]
            for one in requests
        ]
        batch = (
            inputs[0]
            if len(inputs) == 1
            else [np.concatenate(arrays) for arrays in zip(*inputs, strict=True)]
        )
        outputs = self.session.run(self.outputs, dict(zip(self.inputs, batch, strict=True)))
        responses, begin = [], 0
        for arrays in inputs:
            end = begin + len(arrays[0])
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor.from_dlpack(name, np.ascontiguousarray(array[begin:end]))
                        for name, array in zip(self.outputs, outputs, strict=True)
                    ]
                )
            )
            begin = end
        return responses
