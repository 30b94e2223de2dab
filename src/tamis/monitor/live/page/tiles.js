// A tile for each region: its state now, since when, and the last blocks as a strip.

import { $, STATES, burst, cause, el, moved, symbol } from "./words.js";

const STRIP = 60; // blocks

/** Return the state of a region in a block: a bad block names the regions that are the cause. */
export function regionState(journal, block, region) {
  const { state } = journal.decided(block);
  if (state !== "bad" || block.state !== "bad") return state;
  const named = block.region === region || block.region === "all" || block.bursts.some((one) => one.region === region);
  return named ? "bad" : "quiet";
}

function causeIn(block, region) {
  const named = block.region === region || block.region === "all" || !region;
  return (named && block.score > 1) || !burst(block, region) ? cause(block) : burst(block, region);
}

export class Tiles {
  #tiles = new Map();

  constructor(journal, choose) {
    this.journal = journal;
    this.choose = choose;
  }

  load() {
    this.#tiles.clear();
    $("tiles").replaceChildren();
    const regions = this.journal.regions.length ? this.journal.regions : [""];
    for (const region of regions) {
      const parts = { state: el("span", { className: "state" }), since: el("span", { className: "since" }), strip: el("canvas", { "aria-hidden": "true" }) };
      const tile = el("button", { type: "button", className: "tile", "aria-pressed": "false" },
        el("span", { className: "name" }, region || "Block"), parts.state, parts.since, parts.strip);
      tile.addEventListener("click", () => this.choose(region));
      this.#tiles.set(region, { tile, ...parts });
      $("tiles").append(tile);
    }
    this.draw();
  }

  mark(region) {
    for (const [name, { tile }] of this.#tiles) tile.setAttribute("aria-pressed", String(name === region));
  }

  draw() {
    const { blocks } = this.journal;
    const last = blocks.at(-1);
    for (const [region, { tile, state, since, strip }] of this.#tiles) {
      const alarm = this.journal.raised.find((one) => !region || one.region === region || one.region === "all");
      const now = last ? regionState(this.journal, last, region) : "no data";
      const shown = alarm && now !== "bad" ? "alarm" : now;
      tile.dataset.state = shown.replace(" ", "-");
      state.replaceChildren(symbol(shown), STATES[shown]?.words ?? shown);
      let first = blocks.length - 1;
      while (first > 0 && regionState(this.journal, blocks[first - 1], region) === now) first--;
      const length = blocks.length - first;
      const by = last ? this.journal.decided(last).by : "";
      const why = !last ? "nothing has come yet" : now === "bad" && last.state === "bad" ? causeIn(last, region) : now === "quiet" ? `bad: ${cause(last)}` : last.reason;
      const count = length > 1 ? `${length.toLocaleString("en")} blocks` : "1 block";
      if (shown === "alarm") since.textContent = `second ${alarm.second} of block ${alarm.block}: ${moved(alarm)}`;
      else since.textContent = by ? `${by} says so` : why ? `${why}${last && now === "bad" ? ` · ${count}` : ""}` : `for ${count}`;
      since.title = since.textContent;
      this.#strip(strip, blocks.slice(-STRIP).map((one) => regionState(this.journal, one, region)));
    }
  }

  /** Draw the last blocks: a bad one is tall, a good one is low, what was not judged is an outline. */
  #strip(canvas, states) {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const c = canvas.getContext("2d");
    c.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const step = width / STRIP;
    states.forEach((state, k) => {
      const x = width - (states.length - k) * step;
      const tall = state === "bad" ? height : state === "good" ? height * 0.45 : height * 0.3;
      c.fillStyle = c.strokeStyle = style.getPropertyValue(state === "bad" ? "--bad" : state === "good" ? "--good" : "--none");
      if (state === "bad" || state === "good") c.fillRect(x, height - tall, Math.max(1, step - 1.5), tall);
      else c.strokeRect(x + 0.5, height - tall + 0.5, Math.max(1, step - 2.5), tall - 1);
    });
  }
}
