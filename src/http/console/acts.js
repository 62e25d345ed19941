// What operators do: each act is a call of /v1 with the console's cookie. Dangerous ones ask once, and a refusal is shown
// in the server's own words.

import { refresh, say } from "./live.js";

const AT_ONCE = 6;

export function start() {
  document.addEventListener("click", clicked);
  document.addEventListener("submit", submitted);
  document.addEventListener("change", count_selected);
  document.addEventListener("frontdesk:fresh", count_selected);
  if (document.querySelector("[data-sign-in]")) look_whether_signed_in();
}

// Makes a call; returns what came of it. Whoever is not signed in any more is sent to the sign-in.
export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(path, { method, headers, body, cache: "no-store" });
    const text = await response.text();
    const answer = text ? JSON.parse(text) : null;
    if (response.ok) return { ok: true, answer };
    if (response.status === 401 && !document.querySelector("[data-sign-in]")) location.reload();
    return { ok: false, detail: answer?.detail ?? response.statusText, code: answer?.code };
  } catch {
    return { ok: false, detail: "The server can't be reached." };
  }
}

// Asks before something is done. Escape and Cancel are a no.
export function ask(question, text, label, list = []) {
  const dialog = document.querySelector("#ask");
  dialog.querySelector("#ask-title").textContent = question;
  dialog.querySelector("#ask-text").textContent = text;
  dialog.querySelector("#ask-do").textContent = label;
  const items = dialog.querySelector("#ask-list");
  items.hidden = list.length === 0;
  items.replaceChildren(...list.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "do"), { once: true });
  });
}

// Gives the user a file.
export function save(name, parts, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function clicked(event) {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches("[data-act]")) await act(button);
  else if (button.matches("[data-many]")) await act_on_many(button.dataset.many);
  else if (button.matches("[data-sign-out]")) await sign_out();
  else if (button.matches("[data-download]")) await download(button);
}

async function act(button) {
  const { method, path, body, question, text, done } = button.dataset;
  const label = button.textContent;
  if (question && !(await ask(question, text, label))) return;
  button.disabled = true;
  const { ok, detail } = await call(method, path, body);
  button.disabled = false;
  say(ok ? done : `Not done: ${detail}`, !ok);
  refresh();
}

async function submitted(event) {
  const form = event.target;
  if (form.matches("[data-sign-in]")) {
    event.preventDefault();
    await sign_in(form);
  } else if (form.matches("[data-path]")) {
    event.preventDefault();
    await send(form);
  }
}

async function send(form) {
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  const { ok, answer, detail } = await call(form.dataset.method, form.dataset.path, JSON.stringify(fields(form)));
  button.disabled = false;
  refuse(form, ok ? "" : detail);
  if (!ok) return;
  form.reset();
  show_secret(form, answer);
  if (!form.querySelector("output:not([hidden])")) form.closest("details")?.removeAttribute("open");
  say(form.dataset.done);
  refresh();
}

// A form's fields as an object: what is empty is left out, boxes are true or false, boxes of one name a list.
function fields(form) {
  const object = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    if (field.type === "checkbox" && field.hasAttribute("data-list")) {
      object[field.name] ??= [];
      if (field.checked) object[field.name].push(field.value);
    } else if (field.type === "checkbox") object[field.name] = field.checked;
    else if (field.hasAttribute("data-number")) object[field.name] = Number(field.value);
    else if (field.value !== "") object[field.name] = field.value;
  }
  return object;
}

// What is answered once and never again.
function show_secret(form, answer) {
  const output = form.querySelector("output[data-shows]");
  if (!output) return;
  output.textContent = answer?.[output.dataset.shows] ?? "";
  const place = output.closest("p");
  place.hidden = output.hidden = output.textContent === "";
  if (!place.hidden) { place.tabIndex = -1; place.focus(); }
}

function refuse(form, why) {
  const place = form.querySelector("[role=alert]");
  place.textContent = why;
  place.hidden = why === "";
}

async function sign_in(form) {
  const token = form.elements.token.value.trim();
  const { ok, detail, code } = await call("POST", "/v1/console/session", JSON.stringify({ token }));
  if (ok) return location.replace(form.dataset.next);
  const known = { token_required: "This is no operator's token that is valid: it may have a typing error, be expired or revoked." };
  refuse(form, known[code] ?? detail);
  form.elements.token.select();
}

// Whoever came by a link from elsewhere came without the cookie, and is perhaps signed in.
async function look_whether_signed_in() {
  if (new URLSearchParams(location.search).has("out")) return;
  const response = await fetch(location.href, { cache: "no-store" });
  if (response.redirected) location.replace(response.url);
}

async function sign_out() {
  const { ok, detail } = await call("DELETE", "/v1/console/session");
  if (ok) location.assign("/console/sign-in?out=true");
  else say(`Not signed out: ${detail}`, true);
}

async function download(button) {
  const { download: path, type, name } = button.dataset;
  button.disabled = true;
  const response = await fetch(path, { headers: { Accept: type } }).catch(() => null);
  if (response?.ok) save(name, [await response.blob()], type);
  else say("Not downloaded: the server did not answer as it should.", true);
  button.disabled = false;
}

const boxes = () => [...document.querySelectorAll("input[data-session]")];
const selected = () => boxes().filter((box) => box.checked);

function count_selected(event) {
  const bar = document.querySelector("#selected");
  if (!bar) return;
  const all = document.querySelector("#select-all");
  if (event.target === all) boxes().forEach((box) => { box.checked = all.checked; });
  const count = selected().length;
  bar.hidden = count === 0;
  document.querySelector("#selected-count").textContent = count === 1 ? "1 session selected" : `${count} sessions selected`;
  if (all) { all.checked = count > 0 && count === boxes().length; all.indeterminate = count > 0 && !all.checked; }
}

const MANY = {
  stop: {
    verb: "Stop", method: "DELETE", query: () => "", done: "are ending",
    text: "Their agents are asked to finish, and are killed if they have not after their persona's grace. The sessions are over.",
  },
  kill: {
    verb: "Kill", method: "DELETE", query: () => "?force=true", done: "are killed",
    text: "Their agents are killed at once, with all that they have started; what they have not saved is lost. The sessions are over.",
  },
  restart: {
    verb: "Restart", method: "POST", query: ({ epoch }) => `/restart?epoch=${epoch}`, done: "are restarting",
    text: "Their agents are ended and started anew under the next epoch. The sessions go on; requests that are under way are lost.",
    fits: (box) => "mayRestart" in box.dataset,
  },
};

async function act_on_many(what) {
  const all = selected();
  if (what === "none") {
    all.forEach((box) => { box.checked = false; });
    count_selected({});
    return document.querySelector("#main").focus();
  }
  const { verb, method, query, done, text, fits = () => true } = MANY[what];
  const chosen = all.filter(fits);
  if (chosen.length === 0) return say("Nothing to restart: no agent of the selected sessions runs or waits to start again.", true);
  const others = all.length - chosen.length;
  const left_out = others === 0 ? "" : ` Left out ${others === 1 ? "is 1 selected session" : `are ${others} selected sessions`} without an agent to restart.`;
  const shown = chosen.slice(0, 10).map((box) => box.dataset.who);
  if (chosen.length > shown.length) shown.push(`and ${chosen.length - shown.length} more`);
  const question = chosen.length === 1 ? `${verb} 1 session?` : `${verb} ${chosen.length} sessions?`;
  if (!(await ask(question, text + left_out, verb, shown))) return;
  const left = [...chosen];
  const refused = [];
  const work = async () => {
    for (let box = left.shift(); box; box = left.shift()) {
      const { ok, detail } = await call(method, `/v1/sessions/${box.dataset.session}${query(box.dataset)}`);
      if (ok) box.checked = false;
      else refused.push(`${box.dataset.who}: ${detail}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const good = chosen.length - refused.length;
  say([good > 0 ? `${good} ${good === 1 ? done.replace("are", "is") : done}.` : "", refused.length > 0 ? `${refused.length} refused: ${refused[0]}` : ""].join(" "), refused.length > 0);
  count_selected({});
  refresh();
}
