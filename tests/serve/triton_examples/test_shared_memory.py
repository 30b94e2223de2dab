"""System shared memory, as in the Python examples of NVIDIA's client."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http
import tritonclient.http.aio as http_aio
from tritonclient import utils
from tritonclient.utils import shared_memory

FIRST = np.arange(16, dtype=np.int32)[None]
SECOND = np.ones((1, 16), np.int32)

ALL = pytest.mark.parametrize(
    "module", [grpc, http, grpc_aio, http_aio], ids=["grpc", "http", "grpc-aio", "http-aio"]
)
BLOCKING = pytest.mark.parametrize("module", [grpc, http], ids=["grpc", "http"])


class Regions:
    """Regions of system shared memory, registered with a server; their keys are those of this process."""

    def __init__(self, client, ask):
        self._client, self._ask, self._handles = client, ask, {}

    async def add(self, name, size, *arrays):
        key = f"/tamis-{os.getpid()}-{name}"
        self._handles[name] = handle = shared_memory.create_shared_memory_region(name, key, size)
        offset = 0
        for array in arrays:
            shared_memory.set_shared_memory_region(handle, [array], offset=offset)
            offset += array.nbytes
        await self._ask(self._client.register_system_shared_memory(name, key, size))
        return handle

    async def close(self):
        await self._ask(self._client.unregister_system_shared_memory())
        for handle in self._handles.values():
            shared_memory.destroy_shared_memory_region(handle)


@ALL
def test_shared_memory(server, module):
    """simple_{grpc,http}{,_aio}_shm_client.py, with inputs and outputs in one region each."""

    async def example(client, ask):
        await ask(client.unregister_system_shared_memory())
        await ask(client.unregister_cuda_shared_memory())
        size = FIRST.nbytes

        regions = Regions(client, ask)
        try:
            region = await regions.add("output_data", 2 * size)
            await regions.add("input_data", 2 * size, FIRST, SECOND)
            inputs = server.tensors(module, FIRST, SECOND)
            outputs = server.requested(module, "OUTPUT0", "OUTPUT1")
            for index in range(2):
                inputs[index].set_shared_memory("input_data", size, offset=index * size)
                outputs[index].set_shared_memory("output_data", size, offset=index * size)
            answer = await ask(client.infer("simple", inputs, outputs=outputs))
            for index, expected in enumerate((FIRST + SECOND, FIRST - SECOND)):
                output = answer.get_output(f"OUTPUT{index}")
                dtype = utils.triton_to_np_dtype(server.field(output, "datatype"))
                found = shared_memory.get_contents_as_numpy(
                    region, dtype, list(server.field(output, "shape")), offset=index * size
                )
                np.testing.assert_array_equal(found, expected)
            status = await ask(client.get_system_shared_memory_status())
            assert len(status if isinstance(status, list) else status.regions) == 2
        finally:
            await regions.close()

    server.run(module, example)


@ALL
def test_strings_in_shared_memory(server, module):
    """simple_{grpc,http}{,_aio}_shm_string_client.py."""

    async def example(client, ask):
        def text(array):
            return utils.serialize_byte_tensor(
                np.array([str(value).encode() for value in array.ravel()], object)
            )

        regions = Regions(client, ask)
        try:
            inputs = [module.InferInput(f"INPUT{i}", [1, 16], "BYTES") for i in range(2)]
            outputs = server.requested(module, "OUTPUT0", "OUTPUT1")
            handles = []
            for index, (given, expected) in enumerate(((FIRST, FIRST + SECOND), (SECOND, FIRST - SECOND))):
                content = text(given)
                size = utils.serialized_byte_size(content)
                expected_size = utils.serialized_byte_size(text(expected))
                await regions.add(f"input{index}_data", size, content)
                handles.append(await regions.add(f"output{index}_data", expected_size))
                inputs[index].set_shared_memory(f"input{index}_data", size)
                outputs[index].set_shared_memory(f"output{index}_data", expected_size)
            answer = await ask(client.infer("simple_string", inputs, outputs=outputs))
            for index, expected in enumerate((FIRST + SECOND, FIRST - SECOND)):
                shape = list(server.field(answer.get_output(f"OUTPUT{index}"), "shape"))
                found = shared_memory.get_contents_as_numpy(handles[index], np.object_, shape)
                np.testing.assert_array_equal(found.astype(np.int32), expected)
        finally:
            await regions.close()

    server.run(module, example)


@BLOCKING
def test_reused_objects(server, module):
    """reuse_infer_objects_client.py: the same inputs and outputs with and without shared memory."""

    async def example(client, ask):
        size, regions = FIRST.nbytes, Regions(client, ask)
        inputs = server.tensors(module, FIRST, SECOND)
        outputs = server.requested(module, "OUTPUT0", "OUTPUT1")
        try:
            handles = [await regions.add(f"output{i}_data", size) for i in range(2)]
            await regions.add("input0_data", size, FIRST)
            await regions.add("input1_data", size, SECOND)
            for shared in (True, False, True):
                for index, array in enumerate((FIRST, SECOND * 2)):
                    if shared:
                        inputs[index].set_shared_memory(f"input{index}_data", size)
                        outputs[index].set_shared_memory(f"output{index}_data", size)
                    else:
                        inputs[index].set_data_from_numpy(array)
                        outputs[index].unset_shared_memory()
                answer = client.infer("simple", inputs, outputs=outputs)
                if not shared:
                    server.check(answer, FIRST, 2 * SECOND)
                    continue
                for index, expected in enumerate((FIRST + SECOND, FIRST - SECOND)):
                    assert answer.get_output(f"OUTPUT{index}") is not None
                    found = shared_memory.get_contents_as_numpy(handles[index], np.int32, [1, 16])
                    np.testing.assert_array_equal(found, expected)
        finally:
            await regions.close()

    server.run(module, example)
