// Keeps a page fresh: fetches it again when the event stream says that something happened, and now and then for the
// ages, and takes over what is marked with data-live. Focus, selection, open details and scroll stay as they are.

const LEAST_BETWEEN_MS = 1_000;
const MOST_BETWEEN_MS = 10_000;
const BETWEEN_TRIES_MS = 5_000;
const LONGEST_FETCH_MS = 10_000;
const KINDS = ["snapshot", "transition", "progress", "event", "log", "output", "gap", "lagged", "draining", "problem"];

let fetched_at = performance.now();
// When the server last showed what is on the page.
let shown_at = new Date();
let fetching = false;
let wanted = null;
let source = null;
let last_id = "";
// Whether somebody has touched the page since it was last fetched: only then is that a use of the sign-in.
let attended = false;

// The one place where text becomes markup: the console's own page, which escapes what comes from outside.
const markup = window.trustedTypes?.createPolicy("frontdesk-page", { createHTML: (text) => text });

export function start() {
  for (const touch of ["pointerdown", "keydown"]) {
    addEventListener(touch, () => { attended = true; }, { passive: true });
  }
  setInterval(() => {
    if (!document.hidden && performance.now() - fetched_at >= MOST_BETWEEN_MS) refresh();
  }, 1_000);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return hang_up();
    listen();
    refresh();
  });
  addEventListener("pagehide", hang_up);
  addEventListener("pageshow", (event) => { if (event.persisted) { listen(); refresh(); } });
  listen();
}

// Says something to whoever looks or listens.
export function say(text, is_bad = false) {
  const said = document.querySelector("#said");
  if (!said) return;
  said.textContent = text;
  said.classList.toggle("bad", is_bad);
}

// Headers of a call that the page makes by itself.
export function unattended() {
  return attended ? {} : { "X-Frontdesk-Unattended": "true" };
}

// Fetches the page again, soon, however often it is asked for.
export function refresh() {
  if (wanted || fetching) {
    wanted ??= fetching ? 0 : wanted;
    return;
  }
  const wait = Math.max(0, fetched_at + LEAST_BETWEEN_MS - performance.now());
  wanted = setTimeout(fetch_again, wait);
}

async function fetch_again() {
  wanted = null;
  fetching = true;
  try {
    const headers = { Accept: "text/html", ...unattended() };
    attended = false;
    const signal = AbortSignal.timeout(LONGEST_FETCH_MS);
    const response = await fetch(location.href, { headers, signal, cache: "no-store" });
    const text = await response.text();
    // Whoever is not signed in any more was sent to the sign-in.
    if (response.redirected) return location.assign(response.url);
    if (response.ok) take_over(new DOMParser().parseFromString(markup?.createHTML(text) ?? text, "text/html"));
    else if (response.status === 404) { hang_up(); pulse("This page is gone", true); }
    else pulse(`The server can't show this page at the moment; ${what_is_seen()}`, true);
  } catch {
    pulse(`The server does not answer; ${what_is_seen()}`, true);
  } finally {
    fetched_at = performance.now();
    fetching = false;
    if (wanted === 0) { wanted = null; refresh(); }
  }
}

function take_over(fresh) {
  const script = (page) => page.querySelector("script[src]")?.getAttribute("src");
  // Another version of the server answers: its scripts go with its pages.
  if (script(fresh) !== script(document)) return location.reload();
  const focused = document.activeElement;
  for (const theirs of fresh.querySelectorAll("[data-live]")) {
    const ours = document.getElementById(theirs.id);
    if (ours) morph(ours, theirs);
  }
  if (document.title !== fresh.title) announce(fresh.title);
  document.title = fresh.title;
  if (focused && focused !== document.body && !focused.isConnected) document.querySelector("#main").focus();
  shown_at = new Date();
  pulse(source?.readyState === EventSource.OPEN ? "Live" : "Refreshes every 10 s");
  document.dispatchEvent(new Event("frontdesk:fresh"));
}

// The title says what matters most; whoever does not see the page hears of it.
function announce(title) {
  const place = document.querySelector("#announced");
  if (place) place.textContent = title.split(" · ")[0];
}

// Makes an element what another one is, keeping all of it that can be kept.
export function morph(ours, theirs) {
  if (ours.isEqualNode(theirs)) return;
  // Somebody is filling it in.
  if (ours.matches("details.form[open]")) return;
  for (const { name } of [...ours.attributes]) {
    if (!theirs.hasAttribute(name) && !belongs_to_the_user(ours, name)) ours.removeAttribute(name);
  }
  for (const { name, value } of theirs.attributes) {
    if (ours.getAttribute(name) !== value && !belongs_to_the_user(ours, name)) ours.setAttribute(name, value);
  }
  // What is gone goes first, so that nothing that stays has to move and lose the focus.
  const staying = new Set([...theirs.children].map((child) => child.id));
  for (const child of [...ours.children]) if (child.id && !staying.has(child.id)) child.remove();
  let place = ours.firstChild;
  for (const child of [...theirs.childNodes]) {
    const match = counterpart(ours, place, child);
    if (!match) {
      ours.insertBefore(document.importNode(child, true), place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else ours.insertBefore(match, place);
    if (match.nodeType === Node.ELEMENT_NODE) morph(match, child);
    else if (match.data !== child.data) match.data = child.data;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function belongs_to_the_user(element, name) {
  return (name === "open" && element.tagName === "DETAILS") || (name === "checked" && element.tagName === "INPUT");
}

// Which of the children from here on becomes this one: the one of the same id, or the next of the same kind.
function counterpart(ours, place, child) {
  if (child.id) {
    const named = document.getElementById(child.id);
    return named?.parentNode === ours && named.nodeName === child.nodeName ? named : null;
  }
  return place && place.nodeName === child.nodeName && !place.id ? place : null;
}

function listen() {
  const stream = document.body.dataset.stream;
  if (!stream || source) return;
  const address = new URL(stream, location.origin);
  if (last_id) address.searchParams.set("after", last_id);
  const own = source = new EventSource(address);
  // What is on a page that was out of date becomes live only with what is fetched now.
  own.onopen = () => { if (is_stale()) refresh(); else pulse("Live"); };
  own.onerror = () => {
    if (!is_stale()) pulse(`Reconnecting; ${what_is_seen()}`, true);
    if (!document.hidden) refresh();
    if (own.readyState !== EventSource.CLOSED || source !== own) return;
    source = null;
    if (ended) return pulse("It has ended");
    setTimeout(() => { if (!document.hidden) { refresh(); listen(); } }, BETWEEN_TRIES_MS);
  };
  for (const kind of KINDS) {
    own.addEventListener(kind, (event) => {
      if (event.lastEventId) last_id = event.lastEventId;
      heard(kind, JSON.parse(event.data));
      refresh();
    });
  }
}

let ended = false;

function heard(kind, data) {
  document.dispatchEvent(new CustomEvent("frontdesk:event", { detail: { kind, data } }));
  const is_of_one = kind === "transition" && !data.session;
  if (is_of_one && data.body.phase === "ENDED") {
    ended = true;
    hang_up();
    pulse("It has ended");
  }
}

function hang_up() {
  source?.close();
  source = null;
}

// Says how fresh the page is. What is bad stays in sight, and takes the colours from all that may be out of date.
function pulse(text, is_bad = false) {
  const place = document.querySelector("#pulse");
  if (!place || place.textContent === text) return;
  if (is_bad && !is_stale()) announce(text);
  place.textContent = text;
  place.classList.toggle("bad", is_bad);
  document.body.classList.toggle("stale", is_bad);
}

const is_stale = () => document.body.classList.contains("stale");
const what_is_seen = () => `what you see is of ${shown_at.toLocaleTimeString("en-GB")}`;
