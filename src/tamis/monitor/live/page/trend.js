// Trends against block, drawn on canvas: each pixel column shows the range of its blocks, so that ten thousand stay smooth.

import { $, cause, el, featureName, number, score } from "./words.js";
import { keyOf } from "./journal.js";
import { regionState } from "./tiles.js";

const PAD = { left: 52, right: 8, top: 8, bottom: 20 };
const SIGMAS = 3; // of the band
const LOWEST_SCORE = 0.01;

export class Trends {
  chosen = null; // index of the block under the cursor
  #charts = [];
  #view = null; // indices that were zoomed to, or none: the newest blocks
  #series = null; // of the region
  #request = 0;
  #pending = false;

  constructor(journal, open) {
    this.journal = journal;
    this.open = open;
    $("range").addEventListener("change", () => {
      this.#view = null;
      this.draw();
    });
    $("show").addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe($("charts"));
  }

  async choose(region) {
    this.region = region;
    await this.load();
  }

  /** Load the trends of the region; those that have come meanwhile are added by `add`. */
  async load() {
    const request = ++this.#request;
    let series = null;
    if (this.region) {
      const answer = await fetch(`api/trend?region=${encodeURIComponent(this.region)}`).catch(() => null);
      if (answer?.ok) series = await answer.json();
    }
    if (request !== this.#request) return;
    this.#series = series && { ...series, place: new Map(series.run.map((run, k) => [`${run}:${series.block[k]}`, k])) };
    this.#build();
    this.draw();
  }

  add({ block, numbers, inOrder }) {
    if (!inOrder) this.chosen = null;
    const series = this.#series;
    if (!series || series.place.has(keyOf(block))) return;
    series.place.set(keyOf(block), series.run.length);
    series.run.push(block.run);
    series.block.push(block.block);
    const own = this.journal.features.map((one, k) => [one, k]).filter(([one]) => one.region === series.region);
    series.features.forEach((feature, j) => {
      for (const name of ["value", "expected", "spread"]) feature[name].push(numbers[name][own[j][1]] ?? null);
    });
  }

  #build() {
    this.#charts = [];
    const charts = $("charts");
    charts.replaceChildren();
    const add = (title, feature) => {
      const readout = el("span");
      const canvas = el("canvas");
      const plot = el("div", { className: "plot" }, canvas);
      if (feature) plot.setAttribute("role", "img");
      else {
        plot.id = "score-trend";
        plot.tabIndex = 0;
        plot.setAttribute("role", "slider");
        plot.setAttribute("aria-label", "Block in the trend of the score");
        plot.addEventListener("keydown", (event) => this.#key(event));
      }
      charts.append(el("div", { className: feature ? "chart" : "chart wide" }, el("h3", {}, title, readout), plot));
      this.#charts.push({ canvas, plot, readout, feature, title });
      this.#mouse(canvas);
    };
    add("Score over its limit", null);
    for (const feature of this.#series?.features ?? []) add(featureName(feature), feature);
  }

  get range() {
    const count = this.journal.blocks.length;
    if (this.#view) return this.#view;
    const wanted = Number($("range").value) || count;
    return [Math.max(0, count - wanted), count];
  }

  select(index, { speak = true } = {}) {
    const { blocks } = this.journal;
    if (!blocks.length) return;
    this.chosen = Math.max(0, Math.min(blocks.length - 1, index));
    const [from, to] = this.range;
    if (this.chosen < from || this.chosen >= to) {
      const width = to - from;
      const begin = Math.max(0, Math.min(blocks.length - width, this.chosen - Math.floor(width / 2)));
      this.#view = begin + width >= blocks.length ? null : [begin, begin + width];
    }
    if (speak) this.#speak();
    this.draw();
  }

  #speak() {
    const block = this.journal.blocks[this.chosen];
    const plot = $("score-trend");
    if (!plot || !block) return;
    plot.setAttribute("aria-valuemin", "1");
    plot.setAttribute("aria-valuemax", String(this.journal.blocks.length));
    plot.setAttribute("aria-valuenow", String(this.chosen + 1));
    plot.setAttribute("aria-valuetext", `run ${block.run}, block ${block.block}, ${block.state}, ${block.state === "bad" ? cause(block) : score(block.score)}`);
  }

  #key(event) {
    const { blocks } = this.journal;
    const at = this.chosen ?? blocks.length - 1;
    const bad = (step) => {
      let k = at + step;
      while (k >= 0 && k < blocks.length && blocks[k].state !== "bad") k += step;
      return k >= 0 && k < blocks.length ? k : at;
    };
    const moves = {
      ArrowLeft: () => (event.shiftKey ? bad(-1) : at - 1), ArrowRight: () => (event.shiftKey ? bad(1) : at + 1),
      PageUp: () => at - 10, PageDown: () => at + 10, Home: () => 0, End: () => blocks.length - 1,
    };
    if (moves[event.key]) {
      event.preventDefault();
      this.select(moves[event.key]());
    } else if (event.key === "Enter" && blocks[at]) {
      event.preventDefault();
      this.open(blocks[at]);
    }
  }

  #mouse(canvas) {
    let begin = null;
    const index = (event) => {
      const [from, to] = this.range;
      const box = canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - PAD.left) / (box.width - PAD.left - PAD.right);
      return Math.max(from, Math.min(to - 1, Math.floor(from + share * (to - from))));
    };
    canvas.addEventListener("pointerdown", (event) => {
      begin = index(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.chosen = index(event);
      this.dragged = begin !== null && begin !== this.chosen ? [begin, this.chosen] : null;
      this.draw();
    });
    canvas.addEventListener("pointerup", (event) => {
      const end = index(event);
      if (begin !== null && Math.abs(end - begin) > 3) this.#view = [Math.min(begin, end), Math.max(begin, end) + 1];
      else if (begin !== null && this.journal.blocks[end]) this.open(this.journal.blocks[end]);
      begin = this.dragged = null;
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => {
      begin = this.dragged = null;
      if (document.activeElement?.id !== "score-trend") this.chosen = null;
      this.draw();
    });
    canvas.addEventListener("dblclick", () => {
      this.#view = null;
      this.draw();
    });
  }

  /** Draw at the next frame, once for all that has changed. */
  draw() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#drawNow();
    });
  }

  #drawNow() {
    const { blocks } = this.journal;
    const style = getComputedStyle(document.documentElement);
    const colour = Object.fromEntries(["ink", "soft", "grid", "good", "bad", "none", "band", "band-line", "accent", "tint"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
    const [from, to] = this.range;
    const shown = blocks.slice(from, to);
    const places = this.#series ? shown.map((one) => this.#series.place.get(keyOf(one)) ?? -1) : [];
    const own = shown.map((one) => (this.#series ? regionState(this.journal, one, this.region) : one.state));
    const whole = shown.map((one) => this.journal.decided(one).state);
    const relative = $("show").value === "pulls";
    for (const chart of this.#charts) {
      const column = (name) => places.map((place) => (place < 0 ? null : chart.feature[name][place]));
      const data = chart.feature
        ? { value: column("value"), expected: column("expected"), spread: column("spread") }
        : { value: shown.map((one) => (one.score > 0 ? Math.max(LOWEST_SCORE, one.score) : null)) };
      this.#tell(chart, data, from);
      this.#drawChart(chart, shown, chart.feature ? own : whole, chart.feature && relative ? deviations(data) : data, from, colour);
    }
    const block = this.chosen === null ? null : blocks[this.chosen];
    const parts = block ? [el("b", {}, `Run ${block.run}, block ${block.block}`), ` ${block.state}`, block.state === "bad" || block.reason ? `, ${cause(block)}` : "", block.score ? `, ${score(block.score)}` : ""] : ["Point at a block to read its values; click for the evidence; drag to zoom, double-click to go back."];
    $("readout").replaceChildren(...parts.filter(Boolean));
  }

  #tell(chart, data, from) {
    const at = this.chosen === null ? data.value.length - 1 : this.chosen - from;
    const value = data.value[at];
    const likely = data.expected?.[at];
    const spread = data.spread?.[at];
    const told = value === null || value === undefined ? "" : likely === undefined || likely === null ? number(value) : `${number(value, 4)}, expected ${number(likely, 4)}${spread === null ? "" : ` ± ${number(spread, 2)}`}`;
    chart.readout.textContent = told;
    if (chart.feature) chart.plot.setAttribute("aria-label", `${chart.title} of ${this.region} against block: ${told || "no value"}`);
  }

  #drawChart(chart, shown, states, data, from, colour) {
    const { canvas } = chart;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = `${Math.max(11, 0.72 * parseFloat(getComputedStyle(document.documentElement).fontSize))}px system-ui, sans-serif`;
    const count = Math.max(1, shown.length);
    const inner = width - PAD.left - PAD.right;
    const X = (k) => PAD.left + ((k + 0.5) / count) * inner;
    const columns = Math.max(1, Math.min(count, Math.floor(inner)));
    const packed = pack(data, columns);
    const log = !chart.feature;
    const limits = log ? [LOWEST_SCORE, Math.max(10, ...packed.high.filter((one) => one !== null)) * 1.5] : extent(packed);
    const [low, high] = log ? limits.map(Math.log10) : limits;
    const Y = (value) => height - PAD.bottom - (((log ? Math.log10(value) : value) - low) / (high - low || 1)) * (height - PAD.top - PAD.bottom);
    drawAxes(c, { shown, width, height, X, Y, low, high, log, colour });
    const P = (p) => PAD.left + ((p + 0.5) / columns) * inner;
    if (chart.feature) drawBand(c, packed, P, Y, colour);
    else drawLimit(c, Y(1), width, colour);
    drawStates(c, states, { X, height, inner, columns, P, colour });
    drawValues(c, { packed, states, columns, P, Y, step: inner / columns, colour });
    if (this.dragged) {
      c.fillStyle = colour.band;
      const [a, b] = this.dragged.map((k) => X(k - from));
      c.fillRect(Math.min(a, b), PAD.top, Math.abs(b - a), height - PAD.top - PAD.bottom);
    }
    if (this.chosen !== null && this.chosen >= from && this.chosen < from + shown.length) {
      c.strokeStyle = colour.accent;
      c.lineWidth = 1.5;
      line(c, X(this.chosen - from), PAD.top, X(this.chosen - from), height - PAD.bottom);
    }
  }
}

/** Return values less what was expected, in standard deviations of good blocks. */
function deviations({ value, expected, spread }) {
  const known = value.map((one, k) => one !== null && expected[k] !== null && spread[k]);
  return {
    value: value.map((one, k) => (known[k] ? (one - expected[k]) / spread[k] : null)),
    expected: known.map((one) => (one ? 0 : null)),
    spread: known.map((one) => (one ? 1 : null)),
  };
}

/** Return the ranges of values and band in columns of pixels. */
function pack(data, columns) {
  const count = data.value.length;
  const packed = { low: Array(columns).fill(null), high: Array(columns).fill(null), bottom: Array(columns).fill(null), top: Array(columns).fill(null), centre: Array(columns).fill(null) };
  for (let k = 0; k < count; k++) {
    const p = Math.floor((k * columns) / count);
    const value = data.value[k];
    if (value !== null && value !== undefined) {
      packed.low[p] = packed.low[p] === null ? value : Math.min(packed.low[p], value);
      packed.high[p] = packed.high[p] === null ? value : Math.max(packed.high[p], value);
    }
    const likely = data.expected?.[k] ?? null;
    const spread = data.spread?.[k] ?? null;
    if (likely === null) continue;
    packed.centre[p] = likely;
    if (spread === null) continue;
    packed.bottom[p] = Math.min(packed.bottom[p] ?? Infinity, likely - SIGMAS * spread);
    packed.top[p] = Math.max(packed.top[p] ?? -Infinity, likely + SIGMAS * spread);
  }
  return packed;
}

function extent(packed) {
  const every = [packed.low, packed.high, packed.bottom, packed.top].flat().filter((one) => one !== null && Number.isFinite(one));
  if (!every.length) return [0, 1];
  const [low, high] = every.reduce(([a, b], one) => [Math.min(a, one), Math.max(b, one)], [Infinity, -Infinity]);
  const room = 0.06 * (high - low) || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

function line(c, x1, y1, x2, y2) {
  c.beginPath();
  c.moveTo(x1, y1);
  c.lineTo(x2, y2);
  c.stroke();
}

function drawAxes(c, { shown, width, height, X, Y, low, high, log, colour }) {
  c.lineWidth = 1;
  c.textBaseline = "middle";
  c.textAlign = "right";
  const ticks = log ? decades(low, high) : steps(low, high, 4);
  for (const tick of ticks) {
    c.strokeStyle = colour.grid;
    line(c, PAD.left, Y(tick), width - PAD.right, Y(tick));
    c.fillStyle = colour.soft;
    c.fillText(log ? (tick >= 1e4 ? `10${superscript(Math.round(Math.log10(tick)))}` : String(tick)) : number(tick, 4), PAD.left - 6, Y(tick));
  }
  c.textAlign = "center";
  c.textBaseline = "alphabetic";
  const bottom = height - 5;
  let free = PAD.left - 20;
  const every = Math.max(1, Math.ceil(shown.length / (width / 75)));
  const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((one) => one >= every) ?? every;
  shown.forEach((block, k) => {
    const begins = k > 0 && block.run !== shown[k - 1].run;
    if (begins) {
      c.strokeStyle = colour.soft;
      c.setLineDash([2, 3]);
      line(c, X(k - 0.5), PAD.top, X(k - 0.5), height - PAD.bottom);
      c.setLineDash([]);
    }
    const x = X(k);
    if ((begins || block.block % nice === 0) && x - free > (begins ? 62 : 44) && x < width - 24) {
      c.fillStyle = begins ? colour.ink : colour.soft;
      c.fillText(begins ? `run ${block.run}` : String(block.block), x, bottom);
      free = x + (begins ? 20 : 0);
    }
  });
}

function decades(low, high) {
  const every = Math.ceil((high - low) / 5);
  return Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, k) => Math.ceil(low) + k).filter((one) => one % every === 0).map((one) => 10 ** one);
}

function steps(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= raw);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function superscript(value) {
  return String(value).split("").map((one) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(one)] ?? "⁻").join("");
}

function drawLimit(c, y, width, colour) {
  c.strokeStyle = c.fillStyle = colour.bad;
  c.lineWidth = 1.5;
  c.setLineDash([6, 4]);
  line(c, PAD.left, y, width - PAD.right, y);
  c.setLineDash([]);
  c.textAlign = "right";
  c.textBaseline = "bottom";
  c.fillText("limit", width - PAD.right - 2, y - 2);
}

function drawBand(c, packed, P, Y, colour) {
  c.fillStyle = colour.band;
  const count = packed.top.length;
  for (let p = 0; p < count; p++) {
    if (packed.top[p] === null) continue;
    let end = p;
    while (end + 1 < count && packed.top[end + 1] !== null) end++;
    c.beginPath();
    for (let k = p; k <= end; k++) c.lineTo(P(k) + (k === p && p === end ? -2 : 0), Y(packed.top[k]));
    for (let k = end; k >= p; k--) c.lineTo(P(k) + (k === p && p === end ? 2 : 0), Y(packed.bottom[k]));
    c.fill();
    p = end;
  }
  c.strokeStyle = colour["band-line"];
  c.lineWidth = 1;
  c.beginPath();
  packed.centre.forEach((value, p) => (value === null || packed.centre[p - 1] === null || p === 0 ? value !== null && c.moveTo(P(p), Y(value)) : c.lineTo(P(p), Y(value))));
  c.stroke();
}

/** Mark along the axis what was not judged, and bad blocks. */
function drawStates(c, states, { height, inner, columns, P, colour }) {
  const size = Math.max(1, inner / columns);
  const y = height - PAD.bottom;
  let done = "";
  states.forEach((state, k) => {
    if (state === "good" || state === "quiet") return;
    const p = Math.floor((k * columns) / states.length);
    const name = `${p}${state === "bad"}`;
    if (name === done) return;
    done = name;
    c.fillStyle = state === "bad" ? colour.bad : colour.none;
    c.fillRect(P(p) - size / 2, state === "bad" ? y - 4 : y - 2, size, state === "bad" ? 4 : 2);
  });
}

function drawValues(c, { packed, states, columns, P, Y, step, colour }) {
  const worst = Array(columns).fill("good");
  states.forEach((state, k) => {
    const p = Math.floor((k * columns) / states.length);
    if (state === "bad") worst[p] = "bad";
    else if (state !== "good" && worst[p] === "good") worst[p] = "none";
  });
  const size = step >= 6 ? 3 : step >= 3 ? 2.2 : 1.6;
  for (let p = 0; p < columns; p++) {
    if (packed.low[p] === null) continue;
    const [x, top, bottom] = [P(p), Y(packed.high[p]), Y(packed.low[p])];
    c.fillStyle = c.strokeStyle = colour[worst[p]];
    if (bottom - top > 2) {
      c.lineWidth = Math.min(2, Math.max(1, step));
      line(c, x, top, x, bottom);
    }
    if (worst[p] === "bad") {
      c.lineWidth = 1.8;
      line(c, x - size, top - size, x + size, top + size);
      line(c, x - size, top + size, x + size, top - size);
    } else {
      c.beginPath();
      c.arc(x, top, size * 0.75, 0, 7);
      c.fill();
    }
  }
}
