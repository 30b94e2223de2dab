// The list of alarms: bad blocks that follow each other with the same cause are one entry, and so are the alarms of a block that has no verdict yet.

import { $, burst, cause, clock, el, moved, number, seconds, symbol } from "./words.js";
import { keyOf } from "./journal.js";

const PAGE = 60; // entries that are shown at a time

// What an entry of each kind is called and where it is.
const KINDS = {
  block: {
    title: (entry) => cause(entry.last),
    where: ({ first, last }) => {
      const [alarm] = burst(first) ? [] : first.alarms;
      if (first === last) return `Run ${last.run}, block ${last.block}${alarm ? `, ${seconds(alarm)}` : ""}`;
      return `Run ${last.run}, blocks ${first.block}–${last.block}${alarm ? `, from second ${alarm.second}` : ""}`;
    },
    detail: (entry) => [entry.worst.kinds.slice(0, 2).join(" or "), burst(entry.worst).replace(cause(entry.worst) + ", ", "")],
  },
  raised: {
    title: ({ last }) => moved(last.alarms[0]) + (last.alarms.length > 1 ? ` and ${last.alarms.length - 1} more` : ""),
    where: ({ last }) => `Run ${last.run}, block ${last.block}, second ${Math.min(...last.alarms.map((one) => one.second))}`,
    detail: ({ last }) => [last.alarms[0].kinds.slice(0, 2).join(" or "), "no verdict yet"],
  },
};

export class Alarms {
  entries = []; // of bad blocks, the oldest first
  raised = []; // of blocks that have no verdict yet
  chosen = null;
  #items = new Map();
  #shown = PAGE;
  #keys = new Map(); // the entry of each bad block

  constructor(journal, { open, acknowledge, announce }) {
    this.journal = journal;
    this.open = open;
    this.acknowledge = acknowledge;
    this.announce = announce;
    $("only-open").addEventListener("change", () => this.draw());
    $("more").addEventListener("click", () => {
      this.#shown += PAGE;
      this.draw();
    });
    $("alarm-list").addEventListener("keydown", (event) => this.#key(event));
  }

  load() {
    this.entries = [];
    this.#keys.clear();
    this.journal.blocks.forEach((block, k) => this.#add(block, this.journal.blocks[k - 1]));
    this.journal.notes.forEach((note) => this.note(note));
    this.#group();
    this.#items.clear();
    $("alarm-list").replaceChildren();
    this.draw();
  }

  /** Take a new block; return whether it begins an alarm. */
  add({ block, inOrder }) {
    const told = this.raised.find((one) => one.id === keyOf(block));
    this.#group();
    if (told && block.state !== "bad") this.announce(`The alarm of run ${block.run}, block ${block.block} has gone: the block is ${block.state}`);
    if (!inOrder) {
      this.load();
      return block.state === "bad";
    }
    const entry = this.#add(block, this.journal.blocks.at(-2));
    if (told && this.chosen === told.id) this.chosen = entry?.id ?? null;
    if (entry?.first === block && !told) {
      entry.fresh = true;
      this.announce(`Alarm: run ${block.run}, block ${block.block}, ${cause(block)}`);
    }
    return entry?.first === block;
  }

  /** Take alarms of blocks that have no verdict yet. */
  raise(alarms) {
    this.#group();
    for (const one of alarms) this.announce(`Alarm: run ${one.run}, block ${one.block}, second ${one.second}, ${moved(one)}`);
    for (const entry of this.raised) entry.fresh = alarms.some((one) => keyOf(one) === entry.id);
  }

  /** Make one entry of the alarms of each block that has no verdict yet, the largest first. */
  #group() {
    const groups = new Map();
    for (const one of this.journal.raised) groups.set(keyOf(one), [...(groups.get(keyOf(one)) ?? []), one]);
    this.raised = [...groups].map(([id, alarms]) => {
      alarms.sort((a, b) => b.score - a.score);
      const [{ run, block, region, score }] = alarms;
      const open = { run, block, region, score, state: "alarm", reason: moved(alarms[0]), alarms };
      return { kind: "raised", id, first: open, last: open, worst: open, note: null };
    });
  }

  #add(block, before) {
    if (block.state !== "bad") return null;
    const same = ["run", "region", "quantity", "direction"].every((name) => before?.[name] === block[name]);
    const last = this.entries.at(-1);
    let entry = last;
    if (last && last.last === before && same) last.last = block;
    else {
      entry = { kind: "block", id: keyOf(block), first: block, last: block, worst: block, note: null };
      this.entries.push(entry);
    }
    if (block.score > entry.worst.score) entry.worst = block;
    this.#keys.set(keyOf(block), entry);
    return entry;
  }

  /** Return the entry of a block. */
  of(block) {
    return this.#keys.get(keyOf(block)) ?? this.raised.find((one) => one.id === keyOf(block)) ?? null;
  }

  /** Take a note: an entry counts as seen once any of its blocks is acknowledged, or overridden. */
  note(note) {
    const entry = this.of(note);
    if (entry && note.action !== "comment") entry.note = note;
  }

  get open_entries() {
    return [...this.entries.filter((one) => !one.note), ...this.raised];
  }

  draw() {
    const unseen = this.open_entries;
    const wanted = ($("only-open").checked ? unseen : [...this.entries, ...this.raised]).slice().reverse();
    const shown = wanted.slice(0, this.#shown);
    const list = $("alarm-list");
    const items = shown.map((entry) => this.#item(entry));
    const keep = new Set(items);
    for (const child of [...list.children]) if (!keep.has(child)) child.remove();
    items.forEach((item, k) => list.children[k] !== item && list.insertBefore(item, list.children[k] ?? null));
    if (this.#items.size > 4 * PAGE) for (const [id, { item }] of this.#items) if (!keep.has(item)) this.#items.delete(id);
    $("no-alarms").hidden = wanted.length > 0;
    $("no-alarms").textContent = this.entries.length ? "All alarms are acknowledged." : "No alarms.";
    $("more").hidden = wanted.length <= this.#shown;
    $("open-count").textContent = unseen.length.toLocaleString("en");
    $("open-count").title = "not acknowledged";
    $("open-count").className = unseen.length ? "count open" : "count";
    document.title = `${unseen.length ? `(${unseen.length}) ` : ""}${this.journal.stream || "monitor"} · tamis`;
  }

  #item(entry) {
    let parts = this.#items.get(entry.id);
    if (!parts) {
      const open = el("button", { type: "button", className: "open" });
      const act = el("button", { type: "button", className: "act" }, "Acknowledge");
      const item = el("li", { className: "alarm" }, open, act);
      item.dataset.alarm = entry.id;
      open.addEventListener("click", () => this.pick(this.#items.get(entry.id).entry, true));
      act.addEventListener("click", () => this.acknowledge(this.#items.get(entry.id).entry));
      open.addEventListener("focus", () => this.pick(this.#items.get(entry.id).entry, false));
      parts = { item, open, act, text: "" };
      this.#items.set(entry.id, parts);
      if (entry.fresh) item.classList.add("fresh");
    }
    parts.entry = entry;
    const { note } = entry;
    const { title, where, detail } = KINDS[entry.kind];
    const running = this.#isRunning(entry);
    const judged = entry.kind === "block";
    const top = entry.worst.score ?? 0;
    const text = [entry.kind, title(entry), where(entry), note?.time, running, top].join("|");
    if (text !== parts.text) {
      parts.text = text;
      const more = [...detail(entry), top > 1 ? `score up to ${number(top)}` : ""].filter(Boolean).join(" · ");
      const who = note ? (note.action === "acknowledge" ? `acknowledged by ${note.person}, ${clock(note.time)}` : `${note.person} says ${note.action}, ${clock(note.time)}`) : "";
      parts.open.replaceChildren(
        el("span", { className: "title" }, symbol("bad"), title(entry)),
        el("div", { className: "where" }, where(entry), ...(running ? [" · ", el("span", { className: "running" }, "now")] : [])),
        el("div", { className: "where" }, more),
        who ? el("div", { className: "who" }, `✓ ${who}${note.text ? `: ${note.text}` : ""}`) : "",
      );
      parts.item.classList.toggle("acknowledged", Boolean(note));
      parts.item.classList.toggle("raised", !judged);
      parts.act.hidden = Boolean(note) || !this.journal.writable || !judged;
      parts.act.setAttribute("aria-label", `Acknowledge ${title(entry)}, ${where(entry)}`);
    }
    parts.item.classList.toggle("chosen", this.chosen === entry.id); // apart: new content while the mouse is down would lose the click
    return parts.item;
  }

  #isRunning(entry) {
    return entry.kind === "raised" || entry.last === this.journal.blocks.at(-1);
  }

  pick(entry, show) {
    if (this.chosen !== entry.id) {
      this.chosen = entry.id;
      this.draw();
    }
    if (show) this.open(this.#isRunning(entry) ? entry.last : entry.worst);
  }

  /** Return the chosen entry, or the newest one that can be acknowledged. */
  get current() {
    const chosen = this.entries.find((one) => one.id === this.chosen);
    if (chosen || this.raised.some((one) => one.id === this.chosen)) return chosen ?? null;
    return this.open_entries.findLast((one) => one.kind === "block") ?? null;
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const items = [...$("alarm-list").children];
    const at = items.indexOf(document.activeElement.closest("li"));
    items[Math.max(0, Math.min(items.length - 1, at + step))]?.querySelector(".open").focus();
  }

  focus() {
    $("alarm-list").querySelector(".open")?.focus();
  }
}
