"""A farm study as a table for a proposal: quantity, value, and source."""

from __future__ import annotations

from tamis.records import FarmCosts, FarmRecord, PublishedRecord

Line = tuple[str, str, str]
ASSUMED = "assumed"


def table(record: FarmRecord) -> list[Line]:
    """Return each quantity with its value and source: required, measured, simulated or assumed."""
    at, assumed = record.at_work, record.assumptions
    cut, silent = record.deaths
    latency = at.latency
    return [
        ("rate", f"{record.rate_hz:g} requests/s of {record.rows} rows", "required"),
        ("p99", f"{record.p99_ms:g} ms", "required"),
        ("model", f"{record.model} on {record.server}", "measured"),
        ("capacity of one server", f"{record.capacity_hz:.4g} requests/s", "measured"),
        ("servers", f"{record.servers}", "simulated"),
        ("servers with one spare", f"{record.servers_with_spare}", "simulated"),
        ("batching delay", f"{record.delay_ms:g} ms, up to {record.rows_most} rows", "simulated"),
        ("latency p50 / p99 / p99.9", f"{latency.p50_us / 1e3:.3g} / {latency.p99_us / 1e3:.3g} / {latency.p999_us / 1e3:.3g} ms", "simulated"),
        ("mean wait / compute / transport", f"{at.wait_us / 1e3:.3g} / {at.compute_us / 1e3:.3g} / {at.transport_us / 1e3:.3g} ms", "simulated"),
        ("utilisation of the servers", f"{100 * at.utilisation:.0f} %, {at.rows_per_batch:.3g} rows per batch", "simulated"),
        ("p99 after one server died", f"{cut.p99_after_us / 1e3:.3g} ms", "simulated"),
        (f"one server dies, connections closed ({cut.simulated_servers} servers simulated)", _death(cut.asked_again, cut.fell_back, cut.lost, cut.requests), "simulated"),
        ("one server dies silently", _death(silent.asked_again, silent.fell_back, silent.lost, silent.requests), "simulated"),
        ("clients", f"{record.farm.client_cores} cores, {assumed.client_ms:g} ms of own work per event", ASSUMED),
        ("cost", _cost(record.farm), f"{ASSUMED}: {assumed.server_cost:g} per server, {assumed.client_cost:g} per client core, {assumed.years:g} years"),
        ("power", _power(record.farm), f"{ASSUMED}: {assumed.server_power_w:g} W per server, {assumed.client_power_w:g} W per client core"),
        ("without servers, on the clients", f"{record.in_process.client_cores} cores; {_cost(record.in_process)}; {_power(record.in_process)}", f"measured times, {ASSUMED} prices"),
        ("a server saturates at", f"{record.knee.knee:.3g} clients", "closed formula"),
        ("network", f"{assumed.travel_ms:g} ms one way, {assumed.gbit_per_s:g} Gbit/s to each server", ASSUMED),
    ]  # fmt: skip


def _death(retried: int, fell_back: int, lost: int, requests: int) -> str:
    return f"of {requests} requests {retried} were retried, {fell_back} fell back to the client, {lost} were lost"


def _cost(costs: FarmCosts) -> str:
    return f"{costs.cost:.4g}, {costs.cost_per_million_events:.3g} per million events"


def _power(costs: FarmCosts) -> str:
    return f"{costs.power_w / 1e3:.4g} kW, {costs.joules_per_event:.3g} J per event"


def published_table(record: PublishedRecord) -> list[Line]:
    """Return the published knee for each interpretation, the simulated one, and the limit of a shared link."""
    lines = [
        (f"knee: {name}", f"{knee:.1f} clients", "closed formula") for name, knee in record.readings.items()
    ]
    knee = record.knee
    return [
        *lines,
        ("published", f"{record.published_clients} clients", "M. Wang et al. 2021"),
        ("knee, identical clients", f"{simulated_knee(record, 'fixed_s'):.1f} clients", "simulated"),
        ("speed-up of the chain", f"{knee.gain:.2f}×", "closed formula; published: 2.7"),
        ("if all clients shared one link of 2 Gbit/s", f"the link saturates at {record.shared_line_knee:.1f} clients, before the server", "simulated"),
    ]  # fmt: skip


def simulated_knee(record: PublishedRecord, kind: str) -> float:
    """Return the number of clients at which the line of a saturated server meets the time of an idle one."""
    points = record.knee.points
    last, idle_s = points[-1], float(getattr(points[0], kind))
    slope_s = (float(getattr(last, kind)) - float(getattr(points[-2], kind))) / (
        last.clients - points[-2].clients
    )
    return last.clients - (float(getattr(last, kind)) - idle_s) / slope_s


def markdown(lines: list[Line], title: str) -> str:
    """Return a table in Markdown."""
    rows = "\n".join(f"| {what} | {value} | {source} |" for what, value, source in lines)
    return f"# {title}\n\n| | | |\n|---|---|---|\n{rows}\n"
