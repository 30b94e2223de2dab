// The evidence of one block: why it was declared what it is.

import { keyOf } from "./journal.js";
import { $, STATES, cause, clock, el, featureName, moved, number, seconds, symbol } from "./words.js";

const MOST = 10; // features in the table
const FAR = 5; // standard deviations

export class Evidence {
  block = null;
  #back = null;
  #request = 0;

  constructor(journal, { note }) {
    this.journal = journal;
    this.note = note;
    $("evidence-close").addEventListener("click", () => this.close());
  }

  async open(block) {
    if ($("evidence").hidden) this.#back = document.activeElement;
    this.block = block;
    $("evidence").hidden = false;
    $("evidence-title").textContent = `Run ${block.run}, block ${block.block}`;
    await this.draw();
    $("evidence-title").focus({ preventScroll: true });
  }

  close() {
    if ($("evidence").hidden) return false;
    $("evidence").hidden = true;
    this.block = null;
    if (this.#back?.isConnected) this.#back.focus();
    return true;
  }

  /** Take the verdict on a block whose alarms are shown. */
  judge(block) {
    if (this.block?.state !== "alarm" || keyOf(this.block) !== keyOf(block)) return;
    this.block = block;
    this.draw();
  }

  async draw() {
    const { block } = this;
    if (!block) return;
    const request = ++this.#request;
    if (block.state === "alarm") {
      const own = this.journal.raised.filter((one) => keyOf(one) === keyOf(block));
      const words = el("p", {}, "This block is not complete: its evidence comes with the verdict.");
      $("evidence-body").replaceChildren(el("p", { className: "verdict bad" }, symbol("alarm"), "alarm"), words, ...alarmTable(own));
      return;
    }
    const answer = await fetch(`api/block?run=${block.run}&block=${block.block}`).catch(() => null);
    if (request !== this.#request) return;
    if (!answer?.ok) {
      $("evidence-body").replaceChildren(el("p", { className: "error" }, "The evidence cannot be loaded: the monitor does not answer."));
      return;
    }
    const told = await answer.json();
    $("evidence-body").replaceChildren(...this.#verdict(told), ...this.#buttons(told), ...alarmTable(told.alarms), ...(told.score > 1 ? [...pulls(told), ...bursts(told)] : [...bursts(told), ...pulls(told)]), ...notes(told));
    for (const canvas of $("evidence-body").querySelectorAll("canvas")) drawSeconds(canvas, told);
  }

  #verdict(told) {
    const { state, by } = this.journal.decided(told);
    const words = STATES[state]?.words ?? state;
    const kind = state === "good" || state === "bad" ? state : "none";
    const facts = [
      ["Score", told.score ? `${number(told.score)} × its limit` : null],
      ["Region", told.region === "all" ? "all" : told.region],
      ["Quantity", told.quantity && `${told.quantity} ${told.direction === "unrest" ? "changes within the block" : told.direction}`],
      ["Likely", told.kinds.join(", ")],
      ["Events", told.events?.toLocaleString("en")],
      [this.journal.condition || "Condition", told.condition === undefined ? null : number(told.condition, 4)],
      ["Luminosity", told.luminosity ? number(told.luminosity, 4) : null],
      ["Beam mode", told.mode || null],
      ["Judged", told.time ? `${clock(told.time)}${told.judging_s ? `, in ${number(told.judging_s * 1000, 2)} ms` : ""}` : null],
    ];
    return [
      el("p", { className: `verdict ${kind}` }, symbol(state), by ? `${words}, says ${by}` : words),
      el("p", {}, by ? `The monitor says ${told.state}: ${cause(told)}` : told.state === "bad" ? cause(told) : told.reason || "All quantities are as expected."),
      el("dl", { className: "pairs" }, ...facts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    ];
  }

  #buttons(told) {
    if (!this.journal.writable) return [el("p", { className: "hint" }, "This page is read-only: nothing can be acknowledged here.")];
    const button = (action, words) => {
      const made = el("button", { type: "button" }, words);
      made.addEventListener("click", () => this.note(action, told));
      return made;
    };
    const judged = told.state === "good" || told.state === "bad";
    const other = this.journal.decided(told).state === "bad" ? "good" : "bad";
    return [el("div", { className: "buttons" }, button("acknowledge", "Acknowledge"), button("comment", "Comment"), ...(judged ? [button(other, `Declare ${other}`)] : []))];
  }
}

function alarmTable(alarms) {
  if (!alarms.length) return [];
  const rows = alarms.slice(0, 12).map((one) => el("tr", {},
    el("td", {}, seconds(one).replace(/^seconds? /, "") + (one.lasts ? ", from before" : "")),
    el("td", {}, moved(one)),
    el("td", {}, one.kinds.slice(0, 2).join(" or ")),
    el("td", {}, number(one.score))));
  const head = ["Second", "What moved", "Likely", "× limit"].map((name) => el("th", { scope: "col" }, name));
  return [el("h3", {}, "Alarms"), el("table", { className: "seconds" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))];
}

function pulls(told) {
  const known = told.features.filter((one) => one.value !== null);
  if (!known.some((one) => one.expected !== null)) return [];
  const own = (one) => (one.spread ? (one.value - one.expected) / one.spread : null);
  const size = (one) => Math.abs(one.pull ?? own(one) ?? 0);
  const most = known.sort((a, b) => size(b) - size(a)).slice(0, MOST);
  const largest = Math.max(FAR, ...most.map(size));
  const rows = most.map((one) => {
    const pull = one.pull ?? own(one);
    return el("tr", {},
      el("td", {}, `${one.region} ${featureName(one)}`),
      el("td", {}, number(one.value, 4)),
      el("td", {}, `${number(one.expected, 4)}${one.spread ? ` ± ${number(one.spread, 2)}` : ""}`),
      el("td", {}, pull === null ? "–" : `${pull > 0 ? "+" : "−"}${number(Math.abs(pull), 3)}`),
      el("td", { className: "pull" }, bar(pull, largest)));
  });
  const head = ["Feature", "Found", "Expected", "Pull", ""].map((one) => el("th", { scope: "col" }, one));
  return [
    el("h3", {}, "What moved most"),
    el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
    el("p", { className: "hint" }, `The pull is found less expected, in standard deviations of good blocks${told.score > 1 ? "; in the region of the fault, only what goes beyond the other regions" : ""}. The bars are logarithmic.`),
  ];
}

function bar(pull, largest) {
  const drawn = el("i");
  const part = pull === null ? 0 : (50 * Math.log1p(Math.abs(pull))) / Math.log1p(largest);
  drawn.style.width = `${part}%`;
  drawn.style.left = pull < 0 ? `${50 - part}%` : "50%";
  return el("span", { className: Math.abs(pull ?? 0) > FAR ? "pull-bar far" : "pull-bar", "aria-hidden": "true" }, drawn);
}

function bursts(told) {
  if (!told.bursts.length) return [];
  const names = [...new Set(told.bursts.map((one) => `${one.region} ${one.name}`))];
  const rows = told.bursts.slice(0, 12).map((one) => el("tr", {}, el("td", {}, `${one.region} ${one.name}`), el("td", {}, one.second), el("td", {}, one.number)));
  const head = ["Count", "Second", "Largest in an event"].map((one) => el("th", { scope: "col" }, one));
  const plots = names.filter((name) => told.most[name]).flatMap((name) => {
    const canvas = el("canvas", { role: "img", "aria-label": `Largest ${name} in an event, for each second of the block: at most ${Math.max(...told.most[name])}` });
    canvas.dataset.name = name;
    return [el("p", { className: "hint" }, `Largest ${name} in an event, by second`), canvas];
  });
  return [el("h3", {}, "Bursts"), el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)), ...plots];
}

function drawSeconds(canvas, told) {
  const values = told.most[canvas.dataset.name];
  const hot = new Set(told.bursts.filter((one) => `${one.region} ${one.name}` === canvas.dataset.name).map((one) => one.second));
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const last = Math.max(...told.second) + 1;
  const top = Math.max(1, ...values);
  values.forEach((value, k) => {
    const second = told.second[k];
    c.fillStyle = style.getPropertyValue(hot.has(second) ? "--bad" : "--band-line");
    const tall = Math.max(1, (value / top) * (height - 16));
    c.fillRect((second / last) * width, height - 14 - tall, Math.max(1, width / last - 1), tall);
  });
  c.fillStyle = style.getPropertyValue("--soft");
  c.font = "11px system-ui, sans-serif";
  for (let second = 0; second < last; second += Math.max(1, Math.ceil(last / 60) * 10)) c.fillText(`${second} s`, (second / last) * width, height - 2);
}

function notes(told) {
  const items = told.notes.map((one) => el("li", {}, el("b", {}, one.person), ` ${{ acknowledge: "acknowledged", comment: "comments" }[one.action] ?? `declares it ${one.action}`}${one.text ? `: ${one.text}` : ""} `, el("time", { dateTime: one.time }, clock(one.time))));
  return [el("h3", {}, "Notes"), items.length ? el("ul", { className: "notes" }, ...items) : el("p", { className: "hint" }, "Nobody has said anything of this block.")];
}

