// Words, symbols and small elements that all parts of the page use.

export const STATES = {
  good: { symbol: "good", words: "good" },
  bad: { symbol: "bad", words: "bad" },
  alarm: { symbol: "bad", words: "alarm" },
  quiet: { symbol: "quiet", words: "not the cause" },
  unscored: { symbol: "unscored", words: "unscored" },
  "no data": { symbol: "no-data", words: "no data" },
  "no beam": { symbol: "no-beam", words: "no beam" },
  "unknown mode": { symbol: "unknown-mode", words: "unknown mode" },
};

/** Return an element with properties, attributes (names with a hyphen) and children. */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((one) => one !== "" && one !== null && one !== undefined));
  return made;
}

/** Return the symbol of a state. */
export function symbol(state) {
  const space = "http://www.w3.org/2000/svg";
  const drawn = document.createElementNS(space, "svg");
  drawn.setAttribute("class", "symbol");
  drawn.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#symbol-${STATES[state]?.symbol ?? "unscored"}`);
  drawn.append(use);
  return drawn;
}

export const $ = (id) => document.getElementById(id);

export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(digits - 1).replace("e+", "e");
  return String(Number(value.toPrecision(digits)));
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.round(s / 360) / 10} h`;
  return `${Math.round(s / 8640) / 10} days`;
}

export function clock(time) {
  const date = typeof time === "number" ? new Date(time * 1000) : new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** Return what a bad block shows, such as "tau in EMBC up". */
export function cause(block) {
  if (block.state !== "bad") return block.reason || block.state;
  if (block.bursts.length && !(block.score > 1)) {
    const most = block.bursts.reduce((a, b) => (b.number > a.number ? b : a));
    return `burst in ${most.region}`;
  }
  return moved(block);
}

/** Return what moved in a block or an alarm, such as "tau in EMBC up". */
export function moved(one) {
  const where = one.region === "all" ? "all regions" : one.region;
  return one.direction === "unrest" ? `${one.quantity} in ${where} unsteady` : `${one.quantity} in ${where} ${one.direction}`;
}

/** Return the seconds of an alarm in words. */
export function seconds(alarm) {
  return alarm.last > alarm.second ? `seconds ${alarm.second}–${alarm.last}` : `second ${alarm.second}`;
}

/** Return the largest burst of a bad block, or of one of its regions; nothing for other blocks. */
export function burst(block, region = null) {
  const bursts = block.state === "bad" ? block.bursts.filter((one) => region === null || one.region === region) : [];
  if (!bursts.length) return "";
  const most = bursts.reduce((a, b) => (b.number > a.number ? b : a));
  return `burst in ${most.region}, second ${most.second} (${most.number} ${most.name})`;
}

export function score(value) {
  return value === null || value === undefined ? "" : `score ${number(value)} × limit`;
}

export const FEATURES = { number: "per event", mean: "mean", width: "width", unrest: "unrest" };

export function featureName(feature) {
  return feature.of === "number" ? "number per event" : `${feature.quantity} ${FEATURES[feature.of] ?? feature.of}`;
}
