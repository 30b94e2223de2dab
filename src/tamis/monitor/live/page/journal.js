// The journal as this page knows it: blocks in order, notes, and the connection that brings new ones.

const COMPARE = (a, b) => a.run - b.run || a.block - b.block;
const SILENCE_MS = 25_000; // without a sign of life the connection is lost
const RETRY_MS = [1000, 2000, 5000, 10_000];

export const keyOf = (one) => `${one.run}:${one.block}`;
const nameOf = (alarm) => [keyOf(alarm), alarm.region, alarm.quantity].join();

export class Journal extends EventTarget {
  blocks = [];
  byKey = new Map();
  notes = [];
  notesOf = new Map();
  overrides = new Map(); // the last one of each block
  raised = []; // alarms of blocks that have no verdict yet
  link = "waiting"; // live, lost
  problem = "";
  written = null; // when the last block was written, by the clock of the server
  ahead = 0; // of the clock of the server
  #cursor = "";
  #source = null;
  #heard = 0;
  #tries = 0;

  async open() {
    try {
      const answer = await fetch("api/state");
      if (!answer.ok) throw new Error(String(answer.status));
      this.#take(await answer.json());
      this.#listen();
    } catch {
      this.#lost();
    }
  }

  #take(state) {
    const { blocks, notes, cursor, ...rest } = state;
    Object.assign(this, rest);
    this.#cursor = cursor;
    const names = Object.keys(blocks);
    this.blocks = blocks.run.map((_, k) => Object.fromEntries(names.map((name) => [name, blocks[name][k]])));
    this.byKey = new Map(this.blocks.map((one) => [keyOf(one), one]));
    this.notes = [];
    this.notesOf = new Map();
    this.overrides = new Map();
    notes.forEach((one) => this.#addNote(one));
    this.dispatchEvent(new Event("loaded"));
  }

  #addNote(note) {
    this.notes.push(note);
    const key = keyOf(note);
    if (note.action === "good" || note.action === "bad") this.overrides.set(key, note);
    if (!this.notesOf.has(key)) this.notesOf.set(key, []);
    this.notesOf.get(key).push(note);
  }

  #listen() {
    this.#source?.close();
    const source = (this.#source = new EventSource(`api/events?cursor=${encodeURIComponent(this.#cursor)}`));
    this.#heard = Date.now();
    const on = (name, take) =>
      source.addEventListener(name, (event) => {
        if (source !== this.#source) return;
        this.#heard = Date.now();
        this.#tries = 0;
        if (event.lastEventId) this.#cursor = event.lastEventId;
        take(JSON.parse(event.data));
      });
    on("block", (block) => this.#block(block));
    on("note", (note) => {
      this.#addNote(note);
      this.dispatchEvent(new CustomEvent("note", { detail: note }));
    });
    on("raised", (alarms) => {
      const known = new Set(this.raised.map(nameOf));
      this.raised = alarms;
      this.dispatchEvent(new CustomEvent("raised", { detail: alarms.filter((one) => !known.has(nameOf(one))) }));
    });
    on("beat", (beat) => {
      this.ahead = beat.now - Date.now() / 1000;
      this.written = beat.written;
      this.stale_s = beat.stale_s;
      this.problem = beat.problem;
      this.#set("live");
    });
    on("reset", () => {
      source.close();
      this.open();
    });
    source.onerror = () => source === this.#source && this.#lost();
  }

  #block(block) {
    const { value, expected, spread, ...facts } = block;
    const place = this.byKey.get(keyOf(facts));
    const last = this.blocks.at(-1);
    const inOrder = !place && (!last || COMPARE(facts, last) > 0);
    if (place) Object.assign(place, facts);
    else {
      this.blocks.push(facts);
      this.byKey.set(keyOf(facts), facts);
      if (!inOrder) this.blocks.sort(COMPARE);
    }
    this.raised = this.raised.filter((one) => keyOf(one) !== keyOf(facts));
    this.written = Math.max(this.written ?? 0, facts.time ?? 0) || null;
    this.dispatchEvent(new CustomEvent("block", { detail: { block: facts, numbers: { value, expected, spread }, inOrder } }));
  }

  #lost() {
    this.#source?.close();
    this.#source = null;
    this.#set("lost");
    const wait = RETRY_MS[Math.min(this.#tries++, RETRY_MS.length - 1)];
    setTimeout(() => (this.blocks.length || this.#cursor ? this.#listen() : this.open()), wait);
  }

  #set(link) {
    this.link = link;
    this.dispatchEvent(new Event("link"));
  }

  /** Look whether the server still speaks; a laptop that slept does not notice a broken connection. */
  check() {
    if (this.#source && Date.now() - this.#heard > SILENCE_MS) this.#lost();
  }

  get age() {
    return this.written === null ? null : Date.now() / 1000 + this.ahead - this.written;
  }

  get stale() {
    return this.age !== null && this.age > this.stale_s;
  }

  /** Return what a block was declared to be: the last override of a person, or the verdict. */
  decided(block) {
    const override = this.overrides.size ? this.overrides.get(keyOf(block)) : null;
    return { state: override?.action ?? block.state, by: override?.person ?? "" };
  }

  async send(note, token) {
    const answer = await fetch("api/notes", {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
      body: JSON.stringify(note),
    });
    if (answer.ok) return;
    const told = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(told.error ?? `status ${answer.status}`), { status: answer.status });
  }
}
