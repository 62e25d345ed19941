// The page of one session: its events and its log as they come, and a request by hand.

import { call, save } from "./acts.js";
import { say, unattended } from "./live.js";

const MOST_EVENTS = 2_000;
const MOST_LINES = 5_000;
const TAIL = 500;

const path = `/v1${location.pathname.replace("/console", "")}`;
const at = (id) => document.getElementById(id);

// Shows what does not print, or would turn around what stands beside it, as words.code does in the server.
const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const visible = (text) => text.replace(HIDDEN, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);

export function start() {
  // A narrow screen shows the end of the story first.
  const story = document.querySelector("#timeline .scroll");
  if (story) story.scrollLeft = story.scrollWidth;
  follow_events();
  if (at("log-text")) follow_log();
  if (at("request")) ask_by_hand();
}

function follow_events() {
  const [list, search, follow] = [at("events-list"), at("events-search"), at("events-follow")];
  const matches = (item) => item.textContent.toLowerCase().includes(search.value.toLowerCase());
  const to_the_end = () => { if (follow.checked) list.scrollTop = list.scrollHeight; };
  const filter = () => { for (const item of list.children) item.hidden = !matches(item); to_the_end(); };
  let last = Number(list.dataset.last);
  document.addEventListener("frontdesk:event", ({ detail: { kind, data } }) => {
    if (kind === "gap") return append(list, gap(data));
    if (data.number === undefined || data.number <= last) return;
    last = data.number;
    const item = line(data);
    item.hidden = !matches(item);
    append(list, item);
    to_the_end();
  });
  search.addEventListener("input", filter);
  follow.addEventListener("change", to_the_end);
  at("events-download").addEventListener("click", () => download_events());
  filter();
}

function line({ number, kind, at: time, epoch, body }) {
  const item = at("event-line").content.firstElementChild.cloneNode(true);
  const put = (part, text) => { item.querySelector(part).textContent = text; };
  put(".number", number);
  put("time", time);
  put(".kind", kind);
  put(".epoch", `epoch ${epoch}`);
  put("code", visible(JSON.stringify(body)));
  item.querySelector("time").dateTime = time;
  return item;
}

function gap({ first }) {
  return Object.assign(document.createElement("li"), { textContent: `Older events had to go; on from number ${first}.` });
}

function append(list, item) {
  list.append(item);
  while (list.children.length > MOST_EVENTS) list.firstElementChild.remove();
}

async function download_events() {
  const parts = [];
  let after = 0;
  for (;;) {
    const { ok, answer, detail } = await call("GET", `${path}/events?limit=1000&after=${after}`);
    if (!ok) return say(`Not downloaded: ${detail}`, true);
    if (answer.items.length === 0) break;
    parts.push(...answer.items.map((event) => `${JSON.stringify(event)}\n`));
    after = answer.items.at(-1).number;
  }
  save("events.ndjson", parts, "application/x-ndjson");
}

function follow_log() {
  const [text, search, follow] = [at("log-text"), at("log-search"), at("log-follow")];
  let lines = [];
  let rest = "";
  let reading = null;
  let due = false;
  const draw = () => {
    due = false;
    const wanted = search.value.toLowerCase();
    const all = rest ? [...lines, rest] : lines;
    text.textContent = all.filter((line) => line.toLowerCase().includes(wanted)).join("\n");
    if (follow.checked) text.scrollTop = text.scrollHeight;
  };
  const soon = () => { if (!due) { due = true; requestAnimationFrame(draw); } };
  const take = (piece) => {
    const parts = (rest + visible(piece)).split("\n");
    rest = parts.pop();
    lines = lines.concat(parts).slice(-MOST_LINES);
    soon();
  };
  const read = async () => {
    if (reading) return;
    reading = new AbortController();
    [lines, rest] = [[], ""];
    try {
      const { signal } = reading;
      const response = await fetch(`${path}/logs?follow=true&tail=${TAIL}`, { headers: unattended(), signal });
      if (!response.ok) return;
      for await (const piece of response.body.pipeThrough(new TextDecoderStream())) take(piece);
    } catch {
      // It is read anew when the page is looked at again.
    } finally {
      reading = null;
      soon();
    }
  };
  document.addEventListener("visibilitychange", () => { if (document.hidden) reading?.abort(); else read(); });
  document.addEventListener("frontdesk:event", ({ detail: { kind } }) => { if (kind === "transition") read(); });
  search.addEventListener("input", draw);
  follow.addEventListener("change", draw);
  at("log-download").addEventListener("click", async () => {
    const response = await fetch(`${path}/logs?tail=100000`).catch(() => null);
    if (response?.ok) save("agent.log", [await response.blob()], "text/plain");
    else say("Not downloaded: the log has gone with the session.", true);
  });
  read();
}

function ask_by_hand() {
  const [form, answer, cancel] = [at("request"), at("request-answer"), at("request-cancel")];
  const [send, refusal] = [form.querySelector("[type=submit]"), form.querySelector("[role=alert]")];
  let asking = null;
  cancel.addEventListener("click", () => asking?.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    const request = form.elements.request.value;
    refusal.hidden = true;
    const refuse = (why) => { refusal.textContent = why; refusal.hidden = false; };
    try {
      JSON.parse(request);
    } catch (error) {
      return refuse(`This is not JSON: ${error.message}.`);
    }
    asking = new AbortController();
    send.disabled = true;
    cancel.hidden = answer.hidden = false;
    answer.textContent = "";
    try {
      await stream(`{"request":${request}}`, asking.signal, (name, data) => {
        if (name === "problem") return refuse(data.detail);
        if (name === "gap") return answer.append("… some parts are missing …\n");
        if (name === "response") return answer.append(`${visible(JSON.stringify(data.response, null, 2))}\n`);
        for (const part of [data].flat()) answer.append(`${visible(JSON.stringify(part))}\n`);
      });
    } catch (error) {
      refuse(error.name === "AbortError" ? "Cancelled." : error.message);
    }
    if (answer.textContent === "") answer.hidden = true;
    asking = null;
    send.disabled = false;
    cancel.hidden = true;
  });
}

// Sends a request and tells of each event of its answer.
async function stream(body, signal, told) {
  const headers = { Accept: "text/event-stream", "Content-Type": "application/json" };
  const response = await fetch(`${path}/requests`, { method: "POST", headers, body, signal });
  if (response.status === 401) return location.reload();
  if (!response.ok) throw new Error((await response.json()).detail);
  let text = "";
  for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (text + piece).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const field = (name) => event.split("\n").filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
      const data = field("data").join("\n");
      if (data) told(field("event")[0], JSON.parse(data));
    }
  }
}
