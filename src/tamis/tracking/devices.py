"""Which device each stage runs on, and the copies of arrays between devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tamis._base import UsageError, did_you_mean, now_ns
from tamis.tracking.steps import STAGES

CPU, CUDA = "cpu", "cuda"
Held = TypeVar("Held")


@dataclass(frozen=True)
class Transfer:
    """A copy of arrays between devices."""

    what: str
    to: str
    bytes: int
    nanoseconds: int  # with the host's part
    link_nanoseconds: float | None  # of the copies alone, by events of the device; None in the simulator


@dataclass
class DeviceValue(Generic[Held]):
    """What a stage handed on, on the device that it ran on, and on others after a copy."""

    name: str
    value: Held
    device: str
    transfers: list[Transfer]
    copies: dict[str, Held] = field(default_factory=dict)

    def on(self, device: str) -> Held:
        """Return the value on a device; the first time it is copied there."""
        if device == self.device:
            return self.value
        if device not in self.copies:
            from tamis.tracking.cuda.device import bytes_of, to_device, to_host
            from tamis.tracking.cuda.streams import timed_copies

            start = now_ns()
            with timed_copies() as link_ns:
                self.copies[device] = to_host(self.value) if device == CPU else to_device(self.value)
            spent = now_ns() - start
            self.transfers.append(Transfer(self.name, device, bytes_of(self.value), spent, link_ns()))
        return self.copies[device]

    def part(self, name: str) -> DeviceValue[Any]:
        """Return one field of the value."""
        copies = {device: getattr(value, name) for device, value in self.copies.items()}
        return DeviceValue(
            f"{self.name}.{name}", getattr(self.value, name), self.device, self.transfers, copies
        )

    def wait(self) -> None:
        """Wait until the device has done its work."""
        if self.device != CPU:
            from tamis.tracking.cuda.device import wait

            wait()


def chosen_devices(some: Mapping[str, str]) -> dict[str, str]:
    """Return the device of every stage, with the CPU for those that are not named."""
    for stage, device in some.items():
        if stage not in STAGES:
            raise UsageError(
                f"no stage is called {stage!r}: the stages are {', '.join(STAGES)}; {did_you_mean(stage, STAGES)}".rstrip(
                    "; "
                )
            )
        if device not in (CPU, CUDA):
            raise UsageError(f"the stage {stage} cannot run on {device!r}: the devices are {CPU} and {CUDA}")
    return dict.fromkeys(STAGES, CPU) | dict(some)


def parse_devices(text: str) -> dict[str, str]:
    """Return the devices of `seeding=cuda,finding=cpu`; `all=cuda` names every stage."""
    chosen: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        stage, separator, device = (word.strip() for word in part.partition("="))
        if not separator:
            raise UsageError(f"{part!r} is not STAGE=DEVICE, such as seeding={CUDA}")
        chosen |= dict.fromkeys(STAGES, device) if stage == "all" else {stage.replace("-", " "): device}
    return chosen_devices(chosen)
