"""The settings of traces and of the log, as clients of Triton read and write them: fixed, since the server writes no traces."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tritonclient.grpc import service_pb2 as pb

from tamis._base import did_you_mean
from tamis.serve.fronts.grpc_repository import Handler
from tamis.serve.protocol.messages import Fault, Refusal
from tamis.serve.service import Service

TRACE_SETTINGS: Mapping[str, Any] = {
    "trace_file": "",
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_mode": "triton",
}
LOG_SETTINGS: Mapping[str, Any] = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}


def check_update(known: Mapping[str, Any], update: Mapping[str, Any]) -> None:
    """Raise Refusal for a value that differs from the fixed one; None, which clears a setting, changes nothing."""
    traced = known is TRACE_SETTINGS
    for name, value in update.items():
        if name not in known:
            hint = did_you_mean(name, list(known))
            raise Refusal(Fault.INVALID, f"there is no setting {name[:100]!r}; {hint}".rstrip("; "))
        if value is not None and value != known[name]:
            what = "writes no traces" if traced else "has a fixed log"
            raise Refusal(
                Fault.UNIMPLEMENTED,
                f"the server {what}, so {name} stays {known[name]!r}; the times of each request are in the file of --log",
            )


def settings_methods(service: Service) -> dict[str, tuple[Any, Handler]]:
    """Return the request type and handler of TraceSetting and LogSettings."""
    return {
        "TraceSetting": (pb.TraceSettingRequest, partial(_trace, service)),
        "LogSettings": (pb.LogSettingsRequest, _log),
    }


def _trace(service: Service, request: Any) -> Any:
    if request.model_name:
        service.find(request.model_name)
    update: dict[str, Any] = {}
    for name, setting in request.settings.items():
        values = list(setting.value)
        is_list = isinstance(TRACE_SETTINGS.get(name), list)
        update[name] = None if not values else values if is_list else values[0]
    check_update(TRACE_SETTINGS, update)
    response = pb.TraceSettingResponse()
    for name, value in TRACE_SETTINGS.items():
        response.settings[name].value.extend(value if isinstance(value, list) else [value])
    return response


def _log(request: Any) -> Any:
    update = {}
    for name, setting in request.settings.items():
        kind = setting.WhichOneof("parameter_choice")
        update[name] = getattr(setting, kind) if kind else None
    check_update(LOG_SETTINGS, update)
    response = pb.LogSettingsResponse()
    for name, value in LOG_SETTINGS.items():
        kind = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]
        setattr(response.settings[name], kind, value)
    return response
