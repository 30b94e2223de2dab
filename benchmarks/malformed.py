"""Send a hundred thousand malformed requests to a server through gRPC, HTTP and shared memory.

The bytes of a valid request of our client are recorded and then mutated: flipped, deleted, duplicated, inserted, replaced, with wrong
sizes; some requests are random bytes. After every thousand, a valid request must get the same response as before. The server may
reject requests and close connections, but must not exit, hang, print a traceback or leak memory or descriptors.

Usage: python benchmarks/malformed.py [--requests 100000] [--seed 1] [--keep]
"""

from __future__ import annotations

import argparse
import array
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil

from tamis._base import file_stamp, host_facts, utc_timestamp
from tamis.bundle import Bundle
from tamis.serve.client.inference import PATH, Codec, InferChannel
from tamis.serve.protocol.local import ASK, ASKS, HELLO

MODEL = "topology-hlf"
CHECK_EVERY, ANSWER_S = 1000, 0.02
INTERESTING = (0, 1, 127, 128, 255)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a message with one to four random mutations."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(found) + 1))
        match int(rng.integers(8)):
            case 0 if found:
                found[min(at, len(found) - 1)] ^= 1 << int(rng.integers(8))
            case 1 if found:
                found[min(at, len(found) - 1)] = int(rng.choice(INTERESTING))
            case 2:
                del found[at:]
            case 3:
                found[at:at] = rng.bytes(int(rng.integers(1, 40)))
            case 4:
                found += found[at : at + 200]
            case 5:
                del found[at : at + int(rng.integers(1, 30))]
            case 6:
                found[at : at + 4] = struct.pack(
                    ">I", int(rng.choice([0, 1, 1 << 14, 1 << 24, 1 << 31, (1 << 32) - 1]))
                )
            case _:
                found[at : at + 8] = rng.bytes(8)
    return bytes(found)


def recorded(codec: Codec, arrays: list[np.ndarray]) -> bytes:
    """Return the bytes that our client sends on a connection with one request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        channel = InferChannel(f"127.0.0.1:{listener.getsockname()[1]}")
        taken, _ = listener.accept()
        size, pieces = codec.request(arrays)
        channel.begin(PATH, size, pieces)
        taken.settimeout(0.2)
        data = b""
        try:
            while piece := taken.recv(1 << 16):
                data += piece
        except TimeoutError:
            pass
        channel.close()
        taken.close()
    return data


def http_request(arrays: dict[str, np.ndarray]) -> bytes:
    """Return a REST request with its tensors in JSON."""
    inputs = [
        {"name": name, "datatype": "FP32", "shape": list(one.shape), "data": one.ravel().tolist()}
        for name, one in arrays.items()
    ]
    body = json.dumps({"inputs": inputs}).encode()
    head = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def send_stream(address: str, data: bytes) -> None:
    """Send bytes over a new connection and read the response for a moment."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.settimeout(ANSWER_S)
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except OSError:
            pass


def send_local(path: str, packets: list[bytes], size: int) -> None:
    """Pass a shared memory region and send packets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect(path)
        descriptor = os.memfd_create("malformed", os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            connection.sendmsg(
                [packets[0]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
            )
            for packet in packets[1:]:
                connection.recv(1 << 16)
                connection.send(packet)
            connection.recv(1 << 16)
        except OSError:
            pass
        finally:
            os.close(descriptor)


def main() -> None:
    """Send requests and check the server; exit with the faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write a record into benchmarks/records")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    bundle = Bundle.open(MODEL)
    codec = Codec.of(MODEL, "", bundle.manifest.signature)
    named = {
        one.name: np.ascontiguousarray(bundle.golden.inputs[one.name][:2])
        for one in bundle.manifest.signature.inputs
    }
    arrays = list(named.values())
    with tempfile.TemporaryDirectory() as folder:
        door = f"{folder}/door"
        command = [
            sys.executable,
            "-m",
            "tamis",
            "serve",
            MODEL,
            "--grpc",
            "0",
            "--http",
            "0",
            "--metrics",
            "0",
            "--local",
            door,
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said: list[str] = []
        threading.Thread(
            target=lambda: said.extend(line.strip() for line in process.stderr), daemon=True
        ).start()
        while "ready" not in said:
            time.sleep(0.05)
        places = {m[1]: m[2] for line in said if (m := re.match(r"(grpc|http): \w+://(\S+)", line))}
        grpc_bytes, http_bytes = recorded(codec, arrays), http_request(named)
        ask = ASK.pack(ASKS, 0, 0) + codec.head(tuple(one.shape for one in arrays))
        channel = InferChannel(places["grpc"])
        expected = channel.infer(codec, arrays, 10**10)
        server, sent, checks = psutil.Process(process.pid), Counter(), 0
        memory, descriptors = [], []
        for number in range(options.requests):
            way = str(rng.choice(["grpc", "http", "local"]))
            sent[way] += 1
            if way == "local":
                packets = [
                    HELLO if rng.random() < 0.8 else mutated(HELLO, rng),
                    *[mutated(ask, rng) for _ in range(2)],
                ]
                send_local(door, packets, int(rng.choice([1, 100, 4096, 1 << 20])))
            else:
                whole = grpc_bytes if way == "grpc" else http_bytes
                send_stream(places[way], rng.bytes(300) if rng.random() < 0.05 else mutated(whole, rng))
            if number % CHECK_EVERY == CHECK_EVERY - 1:
                found = channel.infer(codec, arrays, 10**10)
                checks += all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
                memory.append(server.memory_info().rss >> 10)
                descriptors.append(server.num_fds())
                print(
                    f"{number + 1}: {memory[-1] // 1024} MiB, {descriptors[-1]} descriptors",
                    file=sys.stderr,
                    flush=True,
                )
        time.sleep(1)
        channel.close()
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    half = len(memory) // 2
    record = {
        "kind": "malformed",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(),
        "seed": options.seed,
        "requests": options.requests,
        "sent": dict(sent),
        "checks": checks,
        "memory_MiB": {
            "early": float(np.median(memory[1 : half + 1] or memory) / 1024),
            "late": float(np.median(memory[half:]) / 1024),
            "last": memory[-1] / 1024,
        },
        "descriptors": {"first": descriptors[0], "most": max(descriptors), "last": descriptors[-1]},
        "exit_code": code,
        "tracebacks": sum("Traceback" in line for line in said),
    }
    print(json.dumps({key: value for key, value in record.items() if key != "host"}, indent=1))
    faults = [
        *(["the response to a valid request changed"] if checks != options.requests // CHECK_EVERY else []),
        *([f"the server exited with {code}"] if code else []),
        *(["the server printed a traceback"] if record["tracebacks"] else []),
    ]
    if options.keep:
        stamp = file_stamp(record["created"])
        path = Path(__file__).parent / "records" / f"malformed-{stamp}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(path)
    sys.exit("; ".join(faults) or None)


if __name__ == "__main__":
    main()
