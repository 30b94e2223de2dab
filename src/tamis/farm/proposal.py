"""A study as a table that can be put into a proposal: what, how much, and where it comes from."""

from __future__ import annotations

from tamis.records import FarmCosts, FarmRecord, PublishedRecord

Line = tuple[str, str, str]
ASSUMED = "assumed"


def table(record: FarmRecord) -> list[Line]:
    """Return what was found: the quantity, its value, and whether it was asked for, measured, simulated or assumed."""
    at, assumed = record.at_work, record.assumptions
    cut, silent = record.deaths
    latency = at.latency
    return [
        ("rate", f"{record.rate_hz:g} requests/s of {record.rows} rows", "asked for"),
        ("p99 wanted", f"{record.p99_ms:g} ms", "asked for"),
        ("model", f"{record.model} on {record.server}", "measured"),
        ("one server saturated", f"{record.capacity_hz:.4g} requests/s", "measured"),
        ("servers", f"{record.servers}", "simulated"),
        ("with one to spare", f"{record.servers_with_spare}", "simulated"),
        ("batching delay", f"{record.delay_ms:g} ms, up to {record.rows_most} rows", "simulated"),
        ("latency p50 / p99 / p99.9", f"{latency.p50_us / 1e3:.3g} / {latency.p99_us / 1e3:.3g} / {latency.p999_us / 1e3:.3g} ms", "simulated"),
        ("of the mean: wait / compute / transport", f"{at.wait_us / 1e3:.3g} / {at.compute_us / 1e3:.3g} / {at.transport_us / 1e3:.3g} ms", "simulated"),
        ("servers compute", f"{100 * at.utilisation:.0f} % of the time, {at.rows_per_batch:.3g} rows a batch", "simulated"),
        ("p99 when one has died", f"{cut.p99_after_us / 1e3:.3g} ms", "simulated"),
        (f"it is cut off ({cut.simulated_servers} servers simulated)", _death(cut.asked_again, cut.fell_back, cut.lost, cut.requests), "simulated"),
        ("it falls silent", _death(silent.asked_again, silent.fell_back, silent.lost, silent.requests), "simulated"),
        ("clients", f"{record.farm.client_cores} cores, {assumed.client_ms:g} ms of their own per event", ASSUMED),
        ("cost", _cost(record.farm), f"{ASSUMED}: {assumed.server_cost:g} a server, {assumed.client_cost:g} a client core, {assumed.years:g} years"),
        ("power", _power(record.farm), f"{ASSUMED}: {assumed.server_power_w:g} W a server, {assumed.client_power_w:g} W a client core"),
        ("without servers, on the clients", f"{record.in_process.client_cores} cores; {_cost(record.in_process)}; {_power(record.in_process)}", f"measured times, {ASSUMED} prices"),
        ("a server is full at", f"{record.knee.knee:.3g} clients", "closed formula"),
        ("network", f"{assumed.travel_ms:g} ms one way, {assumed.gbit_per_s:g} Gbit/s to each server", ASSUMED),
    ]  # fmt: skip


def _death(again: int, fell_back: int, lost: int, requests: int) -> str:
    return f"of {requests} requests {again} were asked again, {fell_back} fell back, {lost} were lost"


def _cost(costs: FarmCosts) -> str:
    return f"{costs.cost:.4g}, {costs.cost_per_million_events:.3g} per million events"


def _power(costs: FarmCosts) -> str:
    return f"{costs.power_w / 1e3:.4g} kW, {costs.joules_per_event:.3g} J per event"


def published_table(record: PublishedRecord) -> list[Line]:
    """Return the published knee as it can be read, and the shared line that nobody asked about."""
    lines = [
        (f"knee: {name}", f"{knee:.1f} clients", "closed formula") for name, knee in record.readings.items()
    ]
    knee = record.knee
    return [
        *lines,
        ("published", f"{record.published_clients} clients", "M. Wang et al. 2021"),
        ("knee, all clients alike", f"{simulated_knee(record, 'fixed_s'):.1f} clients", "simulated"),
        ("gain of the chain", f"{knee.gain:.2f} times", "closed formula; published: 2.7"),
        ("if all shared one line of 2 Gbit/s", f"it is full at {record.shared_line_knee:.1f} clients, before the server", "simulated"),
    ]  # fmt: skip


def simulated_knee(record: PublishedRecord, kind: str) -> float:
    """Return where the straight line of a saturated server meets the time of an idle one."""
    points = record.knee.points
    last, idle_s = points[-1], float(getattr(points[0], kind))
    slope_s = (float(getattr(last, kind)) - float(getattr(points[-2], kind))) / (
        last.clients - points[-2].clients
    )
    return last.clients - (float(getattr(last, kind)) - idle_s) / slope_s


def markdown(lines: list[Line], title: str) -> str:
    """Return a table in markdown."""
    rows = "\n".join(f"| {what} | {value} | {source} |" for what, value, source in lines)
    return f"# {title}\n\n| | | |\n|---|---|---|\n{rows}\n"
