// The page: the parts, the connection, keys, theme and the dialog for notes.

import { $, cause, duration, el } from "./words.js";
import { Alarms } from "./alarms.js";
import { Evidence } from "./evidence.js";
import { Journal } from "./journal.js";
import { Tiles } from "./tiles.js";
import { Trends } from "./trend.js";

const journal = new Journal();
const evidence = new Evidence(journal, { note: (action, block) => ask(action, block) });
const trends = new Trends(journal, (block) => show(block));
const alarms = new Alarms(journal, {
  open: (block) => show(block),
  acknowledge: (entry) => ask("acknowledge", entry.last),
  announce: (text) => said.push(text),
});
const tiles = new Tiles(journal, (region) => choose(region));
const said = [];
let region = null;
let pending = false;

// --- what comes from the monitor

journal.addEventListener("loaded", () => {
  $("stream").textContent = journal.stream || "tamis monitor";
  $("model").textContent = journal.model ? `model ${journal.model}` : "";
  $("sign-in").hidden = !journal.writable;
  tiles.load();
  alarms.load();
  said.length = 0;
  drawRegions();
  drawLegend();
  const last = journal.blocks.at(-1);
  const worst = last?.state === "bad" && journal.regions.includes(last.region) ? last.region : journal.regions[0];
  choose(journal.regions.includes(region) ? region : worst ?? "");
  redraw();
});
journal.addEventListener("block", ({ detail }) => {
  trends.add(detail);
  alarms.add(detail);
  evidence.judge(detail.block);
  if (!detail.inOrder) trends.load();
  redraw();
});
journal.addEventListener("raised", ({ detail }) => {
  alarms.raise(detail);
  if (evidence.block?.state === "alarm") evidence.draw();
  redraw();
});
journal.addEventListener("note", ({ detail }) => {
  alarms.note(detail);
  trends.change();
  if (evidence.block?.run === detail.run && evidence.block?.block === detail.block) evidence.draw();
  redraw();
});
journal.addEventListener("link", () => drawLink());

/** Draw what has changed, once for all that came since the last frame. */
function redraw() {
  if (pending) return;
  pending = true;
  const draw = () => {
    pending = false;
    tiles.draw();
    alarms.draw();
    trends.draw();
    drawHead();
    announce();
  };
  // A hidden tab has no frames, but its title counts the alarms.
  if (document.hidden) setTimeout(draw, 200);
  else requestAnimationFrame(draw);
}

function announce() {
  if (!said.length) return;
  const text = said.length > 3 ? `${said.length} new alarms, the last one: ${said.at(-1)}` : said.join(". ");
  said.length = 0;
  const spoken = $("spoken");
  spoken.append(el("p", {}, text));
  while (spoken.children.length > 5) spoken.firstChild.remove();
}

function drawHead() {
  const last = journal.blocks.at(-1);
  $("run").textContent = last?.run ?? "–";
  $("block").textContent = last?.block ?? "–";
  drawLink();
}

function drawLink() {
  const { age } = journal;
  $("age").textContent = age === null ? "–" : `${duration(age)} ago`;
  const lost = journal.link === "lost";
  const waiting = journal.link === "waiting" || (!lost && age === null);
  const link = lost ? "lost" : waiting ? "waiting" : journal.stale || journal.problem ? "stale" : "live";
  $("link").dataset.link = link;
  $("link-words").textContent = { lost: "disconnected", waiting: journal.link === "waiting" ? "connecting" : "waiting for blocks", stale: "stale", live: "live" }[link];
  document.body.classList.toggle("old", link === "lost" || link === "stale");
  const text = lost ? "Disconnected from the monitor: this is not the state now. Trying again." : journal.problem || (link === "stale" ? `Stale: no block for ${duration(age)}. This is not the state now.` : "");
  if ($("banner").textContent !== text) $("banner").textContent = text;
  $("banner").dataset.link = link;
  $("banner").hidden = !text;
}

setInterval(() => {
  journal.check();
  drawLink();
}, 1000);

function drawRegions() {
  const group = $("regions");
  group.replaceChildren();
  journal.regions.forEach((name, k) => {
    const button = el("button", { type: "button", role: "radio", "aria-checked": "false", title: k < 9 ? `Key ${k + 1}` : "" }, name);
    button.addEventListener("click", () => choose(name));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = journal.regions[(k + step + journal.regions.length) % journal.regions.length];
      choose(next);
      [...group.children].find((one) => one.textContent === next).focus();
    });
    group.append(button);
  });
}

function drawLegend() {
  const band = el("span", {}, el("i"), "expected, ± 3 standard deviations of good blocks");
  const good = el("span", { className: "good" }, "● good");
  const bad = el("span", { className: "bad" }, "✕ bad");
  const rest = el("span", {}, "● not judged, or bad elsewhere");
  $("legend").replaceChildren(good, bad, rest, band);
}

function choose(name) {
  region = name;
  for (const button of $("regions").children) {
    const own = button.textContent === name;
    button.setAttribute("aria-checked", String(own));
    button.tabIndex = own ? 0 : -1;
  }
  tiles.mark(name);
  trends.choose(name);
}

function show(block) {
  const entry = alarms.of(block);
  if (entry) alarms.pick(entry, false);
  if (block.region && journal.regions.includes(block.region) && block.region !== region) choose(block.region);
  const known = journal.byKey.get(`${block.run}:${block.block}`);
  if (known) trends.select(journal.blocks.indexOf(known));
  evidence.open(block);
}

// --- notes

let asked = null;

function ask(action, block) {
  if (!journal.writable) return;
  asked = { action, block };
  const words = { acknowledge: "Acknowledge", comment: "Comment", good: "Declare good", bad: "Declare bad", "": "Sign in" }[action];
  $("note-title").textContent = $("note-send").textContent = words;
  $("note-what").textContent = block ? `Run ${block.run}, block ${block.block}: ${cause(block)}` : "";
  $("note-person").value = sessionStorage.getItem("person") ?? "";
  $("note-token").value = sessionStorage.getItem("token") ?? "";
  $("note-text").value = "";
  $("note-text").parentElement.hidden = !block;
  $("note-text").required = Boolean(block) && action !== "acknowledge";
  $("note-text-label").textContent = action === "acknowledge" ? "Comment (optional)" : action === "comment" ? "Comment" : "Reason";
  showToken(!sessionStorage.getItem("token"));
  $("note-error").textContent = "";
  $("note").showModal();
  (sessionStorage.getItem("person") ? (block ? $("note-text") : $("note-token")) : $("note-person")).focus();
}

function showToken(needed) {
  $("note-token-field").hidden = $("note-hint").hidden = !needed;
}

$("note-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [person, token] = [$("note-person").value.trim(), $("note-token").value.trim()];
  sessionStorage.setItem("person", person);
  const { action, block } = asked;
  try {
    if (block) await journal.send({ run: block.run, block: block.block, action, person, text: $("note-text").value }, token);
    sessionStorage.setItem("token", token);
    $("sign-in").textContent = person;
    $("note").close();
  } catch (error) {
    if (error.status === 401) {
      sessionStorage.removeItem("token");
      showToken(true);
      $("note-token").focus();
    }
    $("note-error").textContent = error.status ? error.message : "The monitor does not answer: try again.";
  }
});
$("note-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("note-form").requestSubmit();
});
$("note-cancel").addEventListener("click", () => $("note").close());
$("sign-in").addEventListener("click", () => {
  sessionStorage.removeItem("token");
  ask("", null);
});
if (sessionStorage.getItem("person")) $("sign-in").textContent = sessionStorage.getItem("person");

// --- theme and keys

const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
  redraw();
}

function switchTheme() {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  theme();
}

dark.addEventListener("change", theme);
$("theme").addEventListener("click", switchTheme);
$("help-button").addEventListener("click", () => $("help").showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  const keys = {
    "?": () => $("help").showModal(),
    a: () => {
      const block = evidence.block ?? alarms.current?.last;
      if (block && block.state !== "alarm") ask("acknowledge", block);
    },
    u: () => $("only-open").click(),
    t: switchTheme,
    Escape: () => evidence.close(),
    ArrowDown: () => event.target === document.body && alarms.focus(),
    ArrowLeft: () => event.target === document.body && $("score-trend")?.focus(),
    ArrowRight: () => event.target === document.body && $("score-trend")?.focus(),
  };
  const act = /^[1-9]$/.test(event.key) ? () => journal.regions[event.key - 1] && choose(journal.regions[event.key - 1]) : keys[event.key];
  if (!act || event.defaultPrevented) return;
  if (event.key.length === 1) event.preventDefault();
  act();
});

theme();
journal.open();
