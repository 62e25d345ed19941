// The customers' page of Frontdesk, and a template for yours: copy it, change it, and serve it from where /v1 is.
//
// It uses nothing but the interface that everybody has (its reference is at /docs):
//
//   sign in   POST   /v1/sessions                 checks the password; answers with a session and a token that opens it
//   start     POST   /v1/sessions/ID/initialize   starts the session's agent
//   follow    POST   /v1/sessions/ID/cookie       sets the cookie with which an EventSource can
//             GET    /v1/sessions/ID/events       tells whatever happens, as it happens
//   look      GET    /v1/sessions/ID              shows the session as it is
//   ask       POST   /v1/sessions/ID/requests     hands a request to the agent; its answer comes part by part
//   stop      DELETE /v1/sessions/ID
//
// From top to bottom: calls and streams; the session in this tab; the conversation; what is on the screen.

const $ = (id) => document.getElementById(id);
const pause = (seconds) => new Promise((resume) => setTimeout(resume, seconds * 1000));

// ---- Calls and streams ----

/** A refusal. Its `message` is the server's sentence for people; programs decide by its `code`, which never changes. */
class Problem extends Error {
  constructor(problem, response) {
    super(problem.detail ?? 'The server gave an answer that this page does not understand.');
    Object.assign(this, { code: problem.code, session: problem.session, token: problem.token });
    this.status = response?.status;
    // 429 and 503 say how many seconds to wait.
    this.retryAfter = Number(response?.headers.get('Retry-After') ?? 1);
    this.attemptsLeft = attemptsLeft(response?.headers.get('RateLimit'));
  }
}

/** How many more passwords may be tried at once: `RateLimit: "account";r=3;t=41, "address";r=99;t=1` leaves three. */
function attemptsLeft(header) {
  return Math.min(...Array.from((header ?? '').matchAll(/;r=(\d+)/g), ([, left]) => Number(left)));
}

/**
 * Makes a call and returns its answer, or throws a Problem.
 *
 * When no answer comes, or "not now", it tries again. All but one of the calls here may be sent twice: a creation has an
 * Idempotency-Key, under which the server does it once, and the others ask for what is then already so. The one that
 * may not says `once`. Before it waits it tells `waiting` of the problem.
 */
async function call(method, path, { body, headers, signal, waiting, once = false } = {}) {
  const attempts = once ? 1 : 6;
  const authorization = session && { Authorization: `Bearer ${session.token}` };
  const type = body && { 'Content-Type': 'application/json' };
  for (let attempt = 1; ; attempt++) {
    let problem;
    try {
      const init = { method, signal, cache: 'no-store', body: body && JSON.stringify(body) };
      const response = await fetch(path, { ...init, headers: { ...authorization, ...type, ...headers } });
      if (response.ok) return response;
      problem = new Problem(await response.json().catch(() => ({})), response);
      if (problem.status !== 503) throw problem;
    } catch (error) {
      if (error instanceof Problem || signal?.aborted) throw error;
      problem = new Problem({ code: 'unreachable', detail: 'The server can’t be reached; try again in a moment.' });
    }
    if (attempt === attempts) throw problem;
    waiting?.(problem);
    await pause(problem.retryAfter);
  }
}

/**
 * Reads an answer of server-sent events to a POST, which EventSource can't send. Frontdesk writes an event's data as one
 * line of JSON.
 */
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const frames = (text + value).split('\n\n');
      text = frames.pop();
      for (const frame of frames) {
        const fields = Object.fromEntries(frame.split('\n').map((line) => line.split(/: (.*)/s, 2)));
        // A comment, `: alive`, comes every 15 seconds and is no event.
        if (fields.data) yield { name: fields.event, number: Number(fields.id ?? 0), data: JSON.parse(fields.data) };
      }
    }
  } finally {
    // Whoever has read enough hangs up. A connection that has broken already says so once more.
    reader.cancel().catch(() => {});
  }
}

// ---- The session in this tab ----

// The token opens the session, so it is kept where only this tab of this site can read it and where it goes with the tab:
// a reload keeps the session, and closing the tab forgets it. localStorage would keep it on a machine that others use,
// too. Whatever script runs in this page could read it: so the page takes none from elsewhere (its
// Content-Security-Policy says so), and writes what agents say as text, never as HTML.
const KEPT = 'frontdesk.session';

/** `{ id, token }`, or null while nobody is signed in. */
let session = JSON.parse(sessionStorage.getItem(KEPT));
/** The session as the server last showed it: `phase`, `reason`, `progress`, `queue` and more. */
let view = null;
/** Ends whatever goes on for this session in this tab. */
let leave = new AbortController();
/** Completes when the browser has forgotten the session before this one. */
let forgotten = Promise.resolve();

/** Checks the password and asks for a session. Whoever has one already gets that. */
async function signIn({ email, password, persona }) {
  // Not crypto.randomUUID(): browsers have that with TLS or on localhost only.
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  // `data` is any object, and what the agent is told when it starts. Here there is nothing to tell.
  const body = { email, password, persona, data: {} };
  try {
    const waiting = ({ message }) => notify(`${message} Trying again…`);
    const created = await (await call('POST', '/v1/sessions', { body, waiting, headers: { 'Idempotency-Key': key } })).json();
    enter({ id: created.id, token: created.token });
  } catch (problem) {
    if (problem.code !== 'session_already_running') throw problem;
    enter({ id: problem.session, token: problem.token });
    notify('You have a session already: here it is.');
  }
}

/** Shows a session and goes on with it. */
function enter(opened) {
  session = opened;
  sessionStorage.setItem(KEPT, JSON.stringify(session));
  view = null;
  leave.abort();
  leave = new AbortController();
  showSession();
  for (const task of [follow(leave.signal), start(leave.signal)]) task.catch(failed);
}

/** Forgets the session in this tab. It goes on: its customer comes back to it with the password. */
function signOut(sentence) {
  leave.abort();
  // The browser forgets the cookie by which it followed the session.
  if (session) forgotten = call('DELETE', `/v1/sessions/${session.id}/cookie`, { once: true }).catch(() => {});
  $('email').value ||= view?.email ?? '';
  session = null;
  sessionStorage.removeItem(KEPT);
  showSignIn();
  notify(sentence);
}

/** Has the agent started. Where the server starts agents by itself, this only waits for it. */
async function start(signal) {
  while (!signal.aborted) {
    try {
      const response = await call('POST', `/v1/sessions/${session.id}/initialize?wait=1m`, { signal, once: true });
      // 202: it has not got so far within the minute.
      if (response.status === 200) return;
    } catch (problem) {
      // A session that has ended can't be started; the events say how it ended.
      if (signal.aborted || problem.code === 'wrong_phase') return;
      // Why it could not be started is a part of the session, and shown with it.
      if (problem.code === 'agent_not_started') return;
      if (problem.code !== 'unreachable' && problem.status !== 503) throw problem;
      if (problem.code === 'no_capacity') $('sentence').textContent = 'All agents are busy; yours starts when one is free.';
      await pause(problem.retryAfter);
    }
  }
}

/**
 * Follows the session's events, for as long as it lives. They are numbered without gaps and stored before they are told:
 * whoever connects again with the last number misses nothing, also from a server that was started anew.
 *
 * EventSource connects again by itself, but can't send an Authorization header. So the page asks for a cookie first, which
 * reads this session's events and does nothing else.
 */
async function follow(signal) {
  const path = `/v1/sessions/${session.id}`;
  // A page that is opened again tells only the end of a long story.
  const asPage = { headers: { Accept: 'application/json' }, signal };
  const { last: newest } = await (await call('GET', `${path}/events?limit=1`, asPage)).json();
  let last = Math.max(0, newest - 100);
  // The answer to a sign-out must not take away the cookie of the sign-in after it.
  await forgotten;
  while (!signal.aborted) {
    try {
      await call('POST', `${path}/cookie`, { signal });
      last = await listen(`${path}/events?after=${last}`, last, newest, signal);
      if (signal.aborted) return;
      // The stream was closed for good: the session has ended, or the token is no longer valid, or the server is busy.
      await look();
      if (view.phase === 'ENDED') return;
    } catch (problem) {
      if (signal.aborted) return;
      // The token is no longer good, or the session's history is gone: there is nothing to follow.
      if (problem.status === 401 || problem.status === 404) throw problem;
    }
    showConnection(LOST);
    await pause(1);
  }
}

const LOST = 'The connection to the server is lost; trying to get it back.';

/** Shows events as they come, until the stream is closed for good. Returns the last number. */
function listen(path, last, newest, signal) {
  return new Promise((done) => {
    const stream = new EventSource(path);
    const close = () => {
      stream.close();
      done(last);
    };
    signal.addEventListener('abort', close, { once: true });
    // One after the other, as some look at the session.
    let shown = Promise.resolve();
    const then = (step) => {
      shown = shown.then(() => !signal.aborted && step()).catch((problem) => {
        // What can't be looked at now is looked at after the next event.
        if (problem.status === 401 || problem.status === 404) failed(problem);
      });
    };
    stream.addEventListener('snapshot', ({ data }) => then(() => show(JSON.parse(data))));
    for (const name of ['transition', 'progress', 'event', 'gap']) {
      stream.addEventListener(name, ({ data, lastEventId }) => {
        if (name !== 'gap') last = Number(lastEventId) || last;
        const isNew = last > newest;
        const event = JSON.parse(data);
        then(async () => {
          await happened(name, event, isNew);
          if (name === 'transition' && event.body.phase === 'ENDED') close();
        });
      });
    }
    stream.onopen = () => showConnection('');
    stream.onerror = () => {
      // 204, 401 and other refusals end it; after anything else the browser connects again.
      if (stream.readyState === EventSource.CLOSED) then(close);
      else then(() => view?.phase !== 'ENDED' && showConnection(LOST));
    };
  });
}

/** An event: of the session's life, or what its agent tells of itself. */
async function happened(name, event, isNew) {
  if (name === 'transition') {
    tell(event.at, [PHASES[event.body.phase]?.word ?? event.body.phase, event.body.reason].filter(Boolean).join(': '));
    if (isNew) await look();
  } else if (name === 'progress') {
    tell(event.at, inWords(event.body.TEXT));
    if (isNew) show({ ...view, progress: event.body.TEXT });
  } else if (name === 'event') {
    tell(event.at, inWords(event.body));
  } else if (name === 'gap') {
    tell(undefined, 'What was before is no longer kept.');
  }
}

/** Looks at the session: events say that something has changed, and this how all of it is. */
async function look() {
  const { signal } = leave;
  const response = await call('GET', `/v1/sessions/${session.id}`, { signal });
  const seen = await response.json();
  if (!signal.aborted) show(seen);
}

/** Ends the session. That this takes a moment is told by its events. */
async function stop() {
  await call('DELETE', `/v1/sessions/${session.id}`);
}

// ---- The conversation ----

/** What is sent: JSON that begins as an object, a list or a text in quotes does, and otherwise the text itself. */
function requestOf(text) {
  try {
    return /^\s*[{["]/.test(text) ? JSON.parse(text) : text;
  } catch {
    return text;
  }
}

/** JSON as people read it: a text as it is. */
function inWords(value) {
  return visible(typeof value === 'string' ? value : JSON.stringify(value, null, 2));
}

/** A text with nothing hidden in it: what does not print, or would turn around what stands beside it, is escaped. */
function visible(text) {
  const hidden = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
  return text.replace(hidden, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

/**
 * Asks the agent, and shows the parts of its answer as they come.
 *
 * Hanging up cancels the request, which is how the button does it. With an Idempotency-Key it would be the other way
 * round: the request could be sent again after a lost answer and would reach the agent once, and hanging up would not
 * cancel it. Choose by what your agent does.
 */
async function ask(text) {
  const hangUp = new AbortController();
  const signal = AbortSignal.any([leave.signal, hangUp.signal]);
  const answer = showQuestion(text, () => hangUp.abort());
  try {
    const headers = { Accept: 'text/event-stream' };
    const body = { request: requestOf(text) };
    const response = await call('POST', `/v1/sessions/${session.id}/requests`, { body, headers, signal, once: true });
    for await (const { name, data } of eventsOf(response)) {
      if (name === 'output') answer.add(data);
      else if (name === 'response') return answer.end(data.response);
      else if (name === 'problem') throw new Problem(data);
    }
    throw new Problem({ detail: 'The connection broke; whether the agent acted on the request is unknown.' });
  } catch (problem) {
    answer.fail(signal.aborted ? 'Cancelled.' : problem.message);
  }
}

/** Shows a question, and what it takes to show the answer below it. */
function showQuestion(text, cancel) {
  const exchange = element('article', { ariaBusy: 'true' });
  const said = element('div', { className: 'answer' });
  const button = element('button', { type: 'button', textContent: 'Cancel', onclick: cancel });
  const working = element('p', { className: 'working' }, 'Your agent is working on it… ', button);
  exchange.append(element('p', { className: 'question', textContent: text }), said, working);
  $('answers').append(exchange);
  $('ask').scrollIntoView({ block: 'nearest' });

  let written = '';
  const finish = () => {
    // Nobody's focus is lost with the button, and nobody who reads further up is torn away.
    if (document.activeElement === button) $('request').focus();
    working.remove();
    exchange.ariaBusy = 'false';
    if (document.activeElement === $('request')) $('ask').scrollIntoView({ block: 'nearest' });
  };
  return {
    /** A part. Texts are pieces of one text, as language models write it. */
    add(part) {
      if (typeof part === 'string') written += part;
      if (typeof part === 'string' && said.lastChild?.className === 'text') said.lastChild.append(inWords(part));
      else said.append(element('pre', { className: typeof part === 'string' ? 'text' : 'json' }, inWords(part)));
    },
    /** The answer itself; agents may say in it once more what they said in parts. */
    end(response) {
      if (response !== written) said.append(element('pre', { className: 'json' }, inWords(response)));
      finish();
    },
    fail(sentence) {
      said.append(element('p', { className: 'failed' }, sentence));
      finish();
    },
  };
}

// ---- What is on the screen ----

/** What each phase is called, and what it means to the customer. */
const PHASES = {
  PENDING: { word: 'Requested', sentence: 'Your session is requested.' },
  STARTING: { word: 'Starting', sentence: 'Your agent is starting.' },
  RUNNING: { word: 'Ready', sentence: 'Your agent is ready.' },
  STOPPING: { word: 'Ending', sentence: 'Your session is ending.' },
  ENDED: { word: 'Ended', sentence: 'Your session has ended.' },
};

/** How a session ended: a word before the reason, and a sentence where there is none. */
const OUTCOMES = {
  completed: { word: 'Finished', sentence: 'Your agent has finished.' },
  failed: { word: 'Failed', sentence: 'Your session has failed.' },
  stopped: { word: 'Ended', sentence: 'Your session was ended.' },
  expired: { word: 'Timed out', sentence: 'Your session has timed out.' },
};

/** Makes an element. What goes into it is always text, so that nothing that an agent says can become part of the page. */
function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function notify(sentence) {
  $('notice').textContent = sentence;
  $('notice').hidden = !sentence;
}

function showConnection(sentence) {
  $('connection').textContent = sentence;
}

/** A line of the story. */
function tell(at, words) {
  const time = at && element('time', { dateTime: at }, new Date(at).toLocaleTimeString());
  $('story').append(element('li', {}, ...(time ? [time, ' '] : []), words));
}

function showSignIn() {
  document.title = 'Frontdesk';
  for (const id of ['session', 'account']) $(id).hidden = true;
  $('sign-in').hidden = false;
  $($('email').value ? 'password' : 'email').focus();
}

function showSession() {
  for (const id of ['answers', 'story']) $(id).replaceChildren();
  for (const id of ['sign-in', 'ask', 'start', 'anew', 'stop', 'progress']) $(id).hidden = true;
  for (const id of ['session', 'account']) $(id).hidden = false;
  notify('');
  showConnection('');
  $('sentence').textContent = 'One moment…';
  $('headline').focus();
}

/** Shows the session as it is. */
function show(seen) {
  // Two looks may come in the wrong order.
  if (view && seen.revision < view.revision) return;
  const before = view?.phase;
  view = seen;
  const { phase, reason, queue, outcome, progress, epoch } = view;
  const isLive = phase !== 'ENDED';

  $('who').textContent = view.email;
  $('headline').textContent = view.persona;
  $('session').dataset.outcome = outcome ?? '';
  document.title = `${PHASES[phase].word} · ${view.persona} · Frontdesk`;
  $('sentence').textContent = sentence();
  $('progress').textContent = inWords(progress ?? '');
  $('progress').hidden = !progress || !isLive;
  for (const step of $('steps').children) {
    const isHere = step.dataset.phase === (phase === 'STOPPING' ? 'RUNNING' : phase);
    isHere ? step.setAttribute('aria-current', 'step') : step.removeAttribute('aria-current');
  }
  $('ask').hidden = phase !== 'RUNNING';
  $('start').hidden = phase !== 'PENDING' || !reason || !!queue;
  $('stop').hidden = !isLive || phase === 'STOPPING';
  $('anew').hidden = isLive;
  if (phase === before) return;
  // Whoever waits for the agent can type at once; whoever is elsewhere on the page stays there.
  const isFree = document.activeElement === document.body || document.activeElement === $('headline');
  if (isFree) $({ RUNNING: 'request', ENDED: 'anew' }[phase] ?? 'headline').focus();
  if (queue) waitInQueue(leave.signal).catch(failed);

  function sentence() {
    if (queue) return `You are waiting for an agent: ${queue}.`;
    if (phase === 'PENDING' && reason) return `Your agent could not be started: ${reason}.`;
    if (phase === 'STARTING' && epoch > 1) return `Your agent is being started again${reason ? `: ${reason}` : ''}.`;
    if (phase === 'RUNNING' && reason) return `Your agent is ready again. The one before was lost: ${reason}.`;
    const { word, sentence } = OUTCOMES[outcome] ?? PHASES[phase];
    return reason ? `${word}: ${reason}.` : sentence;
  }
}

/** A place in the queue changes without an event of this session, so it is asked for. */
async function waitInQueue(signal) {
  while (!signal.aborted && view.phase === 'PENDING' && view.queue) {
    await pause(2);
    if (!signal.aborted) await look();
  }
}

/** Something failed that this page can't go on from by itself. */
function failed(problem) {
  if (problem.name === 'AbortError') return;
  if (problem.status === 401 || problem.status === 404) return signOut('Your session is over here; sign in again.');
  notify(problem.message);
}

$('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  notify('');
  $('enter').disabled = true;
  try {
    await signIn(Object.fromEntries(new FormData(event.target)));
    $('password').value = '';
  } catch (problem) {
    if (problem.status === 429) {
      notify(`Too many attempts have failed. You can try again in ${problem.retryAfter} seconds.`);
      await pause(problem.retryAfter);
    } else {
      const isLow = problem.status === 401 && problem.attemptsLeft <= 3;
      notify(problem.message + (isLow ? ` Attempts left for now: ${problem.attemptsLeft}.` : ''));
      $('password').select();
    }
  } finally {
    $('enter').disabled = false;
  }
});

$('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('request').value;
  $('request').value = '';
  ask(text);
});

$('request').addEventListener('keydown', (event) => {
  // An Enter that chooses a word of an input method sends nothing.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('ask').requestSubmit();
});

$('start').addEventListener('click', () => {
  $('start').hidden = true;
  start(leave.signal).catch(failed);
});
$('stop').addEventListener('click', () => $('really').showModal());
$('really').addEventListener('close', () => {
  if ($('really').returnValue === 'end') stop().catch(failed);
});
$('anew').addEventListener('click', () => signOut(''));
$('sign-out').addEventListener('click', () =>
  signOut(view?.phase === 'ENDED' ? 'You are signed out.' : 'You are signed out. Your session goes on: sign in to come back to it.'),
);

if (session) enter(session);
else showSignIn();
