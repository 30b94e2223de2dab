// Trends against block, drawn on canvas: each pixel column shows the range of its blocks, so that ten thousand stay smooth.

import { $, cause, el, featureName, number, score } from "./words.js";
import { keyOf } from "./journal.js";
import { regionState } from "./tiles.js";

const PAD = { left: 52, right: 8, top: 8, bottom: 20 };
const SIGMAS = 3; // of the band
const AGAIN_MS = 2000;
const LOWEST_SCORE = 0.01;

export class Trends {
  chosen = null; // index of the block under the cursor
  #charts = [];
  #view = null; // indices that were zoomed to, or none: the newest blocks
  #series = null; // of the region
  #request = 0;
  #made = new Map(); // states, by region
  #version = 0; // of all that is drawn, without the cursor
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
    this.#series = series && { ...series, last: series.run.length };
    for (const block of this.journal.blocks) block.place = -1;
    series?.run.forEach((run, k) => {
      const block = this.journal.byKey.get(`${run}:${series.block[k]}`);
      if (block) block.place = k;
    });
    this.#build();
    this.change();
    this.draw();
    // The server may answer with what it had a moment ago: then some blocks are missing still.
    if (series && this.journal.blocks.at(-1)?.place === -1) setTimeout(() => request === this.#request && this.load(), AGAIN_MS);
  }

  add({ block, numbers, inOrder }) {
    if (!inOrder) this.chosen = null;
    this.change();
    const series = this.#series;
    block.place = -1;
    if (!series) return;
    block.place = series.last++;
    const own = this.journal.features.map((one, k) => [one, k]).filter(([one]) => one.region === series.region);
    series.features.forEach((feature, j) => {
      for (const name of ["value", "expected", "spread"]) feature[name].push(numbers[name][own[j][1]] ?? null);
    });
  }

  /** Note that what is drawn has changed. */
  change() {
    this.#version++;
  }

  #build() {
    this.#charts = [];
    const charts = $("charts");
    charts.replaceChildren();
    const add = (title, feature) => {
      const readout = el("span");
      const canvas = el("canvas");
      const cursor = el("i", { className: "cursor", hidden: true });
      const zoom = el("i", { className: "zoom", hidden: true });
      const plot = el("div", { className: "plot" }, canvas, zoom, cursor);
      if (feature) plot.setAttribute("role", "img");
      else {
        plot.id = "score-trend";
        plot.tabIndex = 0;
        plot.setAttribute("role", "slider");
        plot.setAttribute("aria-label", "Block in the trend of the score");
        plot.addEventListener("keydown", (event) => this.#key(event));
      }
      charts.append(el("div", { className: feature ? "chart" : "chart wide" }, el("h3", {}, title, readout), plot));
      this.#charts.push({ canvas, plot, cursor, zoom, readout, feature, title });
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
    const colour = Object.fromEntries(["ink", "soft", "grid", "good", "bad", "none", "band", "band-line", "page"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
    const size = Math.max(11, 0.72 * parseFloat(style.fontSize)); // of the text in a chart, which grows with the screen
    colour.font = `${size}px system-ui, sans-serif`;
    PAD.left = Math.round(4.7 * size);
    PAD.bottom = Math.round(1.8 * size);
    const [from, to] = this.range;
    const relative = $("show").value === "pulls";
    const shown = blocks.slice(from, to);
    for (const chart of this.#charts) {
      this.#tell(chart);
      this.#drawChart(chart, shown, from, relative, colour);
      this.#mark(chart, from, shown.length);
    }
    const block = this.chosen === null ? null : blocks[this.chosen];
    const parts = block ? [el("b", {}, `Run ${block.run}, block ${block.block}`), ` ${block.state}`, block.state === "bad" || block.reason ? `, ${cause(block)}` : "", block.score ? `, ${score(block.score)}` : ""] : ["Point at a block to read its values; click for the evidence; drag to zoom, double-click to go back."];
    $("readout").replaceChildren(...parts.filter(Boolean));
  }

  #tell(chart) {
    const block = this.journal.blocks[this.chosen ?? this.journal.blocks.length - 1];
    const [value, likely, spread] = block ? this.#numbers(chart, block) : [null, null, null];
    const told = value === null ? "" : likely === null ? number(value) : `${number(value, 4)}, expected ${number(likely, 4)}${spread === null ? "" : ` ± ${number(spread, 2)}`}`;
    chart.readout.textContent = told;
    if (chart.feature) chart.plot.setAttribute("aria-label", `${chart.title} of ${this.region} against block: ${told || "no value"}`);
  }

  /** Return value, expectation and spread of a block in a chart. */
  #numbers({ feature }, block) {
    if (!feature) return [block.score > 0 ? block.score : null, null, null];
    const k = block.place ?? -1;
    return k < 0 ? [null, null, null] : [feature.value[k] ?? null, feature.expected[k] ?? null, feature.spread[k] ?? null];
  }

  /** Return what a chart draws in each column of pixels; made again only if something has changed. */
  #columns(chart, shown, from, columns, relative) {
    const made = [this.#version, from, shown.length, columns, relative].join();
    if (chart.made === made) return chart.packed;
    chart.made = made;
    const states = this.#states(shown, from, chart.feature ? this.region : null);
    const packed = newColumns(columns, shown, states);
    shown.forEach((block, k) => {
      const p = Math.floor((k * columns) / shown.length);
      if (!chart.feature) {
        if (block.score > 0) spread(packed, p, Math.max(LOWEST_SCORE, block.score), null, null);
        return;
      }
      const place = block.place ?? -1;
      if (place < 0) return;
      const value = chart.feature.value[place];
      const likely = chart.feature.expected[place];
      const sigma = chart.feature.spread[place];
      if (!relative) spread(packed, p, value, likely, sigma);
      else if (value !== null && likely !== null && sigma) spread(packed, p, (value - likely) / sigma, 0, 1);
    });
    chart.packed = packed;
    return packed;
  }

  /** Return the states of blocks, of a region or as a whole, for all charts that show the same blocks. */
  #states(shown, from, region) {
    const made = [this.#version, from, shown.length, region].join();
    if (this.#made.get(region)?.made !== made) {
      const states = shown.map((block) => (region === null ? this.journal.decided(block).state : regionState(this.journal, block, region)));
      this.#made = new Map([...this.#made].filter(([name]) => name === null || name === region).concat([[region, { made, states }]]));
    }
    return this.#made.get(region).states;
  }

  #drawChart(chart, shown, from, relative, colour) {
    const { canvas } = chart;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const drawn = [this.#version, from, shown.length, relative, width, height, ratio, colour.page].join();
    if (!width || chart.drawn === drawn) return;
    chart.drawn = drawn;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = colour.font;
    const count = Math.max(1, shown.length);
    const inner = width - PAD.left - PAD.right;
    const X = (k) => PAD.left + ((k + 0.5) / count) * inner;
    const columns = Math.max(1, Math.min(count, Math.floor(inner)));
    const packed = this.#columns(chart, shown, from, columns, relative);
    const log = !chart.feature;
    const limits = log ? [LOWEST_SCORE, Math.max(10, ...packed.high.filter((one) => one !== null)) * 1.5] : extent(packed);
    const [low, high] = log ? limits.map(Math.log10) : limits;
    const Y = (value) => height - PAD.bottom - (((log ? Math.log10(value) : value) - low) / (high - low || 1)) * (height - PAD.top - PAD.bottom);
    drawAxes(c, { shown, packed, width, height, X, Y, low, high, log, colour });
    const P = (p) => PAD.left + ((p + 0.5) / columns) * inner;
    if (chart.feature) drawBand(c, packed, P, Y, colour);
    else drawLimit(c, Y(1), width, colour);
    drawStates(c, { packed, height, step: inner / columns, P, colour });
    drawValues(c, { packed, P, Y, step: inner / columns, colour });
  }

  /** Move the line of the chosen block, and the range that is being dragged: elements above the canvas, which stays as it is. */
  #mark(chart, from, count) {
    const inner = chart.canvas.clientWidth - PAD.left - PAD.right;
    const X = (index) => PAD.left + ((index - from + 0.5) / Math.max(1, count)) * inner;
    chart.cursor.hidden = this.chosen === null || this.chosen < from || this.chosen >= from + count;
    if (!chart.cursor.hidden) chart.cursor.style.transform = `translateX(${X(this.chosen)}px)`;
    chart.zoom.hidden = !this.dragged;
    if (!this.dragged) return;
    const [a, b] = this.dragged.map(X).sort((x, y) => x - y);
    chart.zoom.style.left = `${a}px`;
    chart.zoom.style.width = `${b - a}px`;
  }
}

/** Return empty columns of pixels with the worst state of each, and where runs begin. */
function newColumns(columns, blocks, states) {
  const empty = () => Array(columns).fill(null);
  const packed = { low: empty(), high: empty(), bottom: empty(), top: empty(), centre: empty(), worst: Array(columns).fill("quiet"), runs: [] };
  const rank = { quiet: 0, good: 1, bad: 3 };
  states.forEach((state, k) => {
    const p = Math.floor((k * columns) / blocks.length);
    if ((rank[state] ?? 2) > (rank[packed.worst[p]] ?? 2)) packed.worst[p] = state;
    if (k && blocks[k].run !== blocks[k - 1].run) packed.runs.push(k);
  });
  return packed;
}

/** Add a block to the range of its column. */
function spread(packed, p, value, likely, sigma) {
  if (value !== null) {
    if (packed.low[p] === null || value < packed.low[p]) packed.low[p] = value;
    if (packed.high[p] === null || value > packed.high[p]) packed.high[p] = value;
  }
  if (likely === null) return;
  packed.centre[p] = likely;
  if (sigma === null) return;
  const [bottom, top] = [likely - SIGMAS * sigma, likely + SIGMAS * sigma];
  if (packed.bottom[p] === null || bottom < packed.bottom[p]) packed.bottom[p] = bottom;
  if (packed.top[p] === null || top > packed.top[p]) packed.top[p] = top;
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

function drawAxes(c, { shown, packed, width, height, X, Y, low, high, log, colour }) {
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
  const every = Math.max(1, Math.ceil(shown.length / (width / 75)));
  const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((one) => one >= every) ?? every;
  const taken = [];
  const label = (text, x, room, ink) => {
    if (x < PAD.left + 8 || x > width - 24 || taken.some((one) => Math.abs(one - x) < room)) return;
    c.fillStyle = ink;
    c.fillText(text, x, bottom);
    taken.push(x);
  };
  for (const k of packed.runs) {
    c.strokeStyle = colour.soft;
    c.setLineDash([2, 3]);
    line(c, X(k - 0.5), PAD.top, X(k - 0.5), height - PAD.bottom);
    c.setLineDash([]);
    label(`run ${shown[k].run}`, X(k), 84, colour.ink);
  }
  if (packed.runs.length > width / 150) return;
  for (let k = 0; k < shown.length; k++) if (shown[k].block % nice === 0) label(String(shown[k].block), X(k), 56, colour.soft);
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
function drawStates(c, { packed, height, step, P, colour }) {
  const size = Math.max(1, step);
  packed.worst.forEach((state, p) => {
    if (state === "good" || state === "quiet") return;
    const tall = state === "bad" ? 4 : 2;
    c.fillStyle = state === "bad" ? colour.bad : colour.none;
    c.fillRect(P(p) - size / 2, height - PAD.bottom - tall, size, tall);
  });
}

function drawValues(c, { packed, P, Y, step, colour }) {
  const size = step >= 6 ? 3 : step >= 3 ? 2.2 : 1.6;
  const groups = { quiet: [], good: [], other: [], bad: [] }; // drawn in this order, so that nothing bad is covered
  packed.worst.forEach((state, p) => packed.low[p] !== null && (groups[state] ?? groups.other).push(p));
  for (const [state, columns] of Object.entries(groups)) {
    c.fillStyle = c.strokeStyle = colour[state] ?? colour.none;
    c.lineWidth = Math.min(2, Math.max(1, step));
    c.beginPath();
    for (const p of columns) {
      const [x, top, bottom] = [P(p), Y(packed.high[p]), Y(packed.low[p])];
      if (bottom - top > 2) {
        c.moveTo(x, top);
        c.lineTo(x, bottom);
      }
      if (state !== "bad") c.fillRect(x - size * 0.7, top - size * 0.7, size * 1.4, size * 1.4);
    }
    c.stroke();
    if (state !== "bad") continue;
    c.lineWidth = step >= 3 ? 1.8 : 1.2;
    c.beginPath();
    for (const p of columns) {
      const [x, y] = [P(p), Y(packed.high[p])];
      c.moveTo(x - size, y - size);
      c.lineTo(x + size, y + size);
      c.moveTo(x - size, y + size);
      c.lineTo(x + size, y - size);
    }
    c.stroke();
  }
}
