// A desk on a busy morning, and its pictures: `node scene.mjs BINARY DIRECTORY`.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

import { walk } from '../../tests/browser/browser.mjs';

const [binary, images] = process.argv.slice(2).map((path) => resolve(path));
const agent = resolve(import.meta.dirname, 'agent.py');
const password = 'correct horse';

const CONFIG = `
listen = "127.0.0.1:0"
[limits]
max_running = 8
[personas.TRAVEL]
command = ["python3", "${agent}"]
auto_initialize = true
[personas.NOTEBOOK]
command = ["python3", "${agent}"]
auto_initialize = true
[personas.RENDER]
command = ["python3", "${agent}"]
auto_initialize = true
start_timeout = "5m"
[personas.REPORTS]
command = ["sh", "-c", "echo 'cannot open the licence file /etc/reports.key' >&2; exit 4"]
auto_initialize = true
start_attempts = 1
`;

/** Who comes in this order, for what, and what the agent makes of it. */
const CUSTOMERS = [
  ['grace@example.org', 'TRAVEL', {}],
  ['alan@example.org', 'NOTEBOOK', { progress: 'kernel idle' }],
  ['edsger@example.org', 'NOTEBOOK', { crash: 1, why: 'MemoryError: could not allocate 12 GiB for the shortest path' }],
  ['barbara@example.org', 'RENDER', { progress: 'frame 212 of 480' }],
  ['donald@example.org', 'REPORTS', {}],
  ['frances@example.org', 'RENDER', { progress: 'frame 31 of 96' }],
  ['tony@example.org', 'NOTEBOOK', { progress: 'cell 7 of 9' }],
  ['john@example.org', 'NOTEBOOK', { crash: 3, why: 'ConnectionError: the model server at 10.2.0.8 refused the connection' }],
  ['radia@example.org', 'TRAVEL', { progress: 'comparing hotels' }],
  ['ken@example.org', 'RENDER', { slow: 200, progress: 'loading 1,204 textures' }],
  ['niklaus@example.org', 'TRAVEL', {}],
  ['shafi@example.org', 'NOTEBOOK', {}],
];

const directory = mkdtempSync(join(tmpdir(), 'frontdesk-scene-'));
writeFileSync(join(directory, 'frontdesk.toml'), CONFIG);
const run = (input, ...command) => execFileSync(binary, command, { cwd: directory, input, encoding: 'utf8' }).trim();
const desk = spawn(binary, ['serve', '--log-format', 'json'], { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
try {
  const url = `http://${await listening()}/`;
  const token = run('', 'token', 'create', 'morning-shift', '--scope', 'admin');
  for (const [email] of CUSTOMERS) run(password, 'customer', 'add', email, '--password-stdin');
  await walk(async (walker) => {
    await walker.page.setViewportSize({ width: 1280, height: 860 });
    await ofACustomer(walker, url);
    const sessions = await come(url);
    await ofTheConsole(walker, url, token, sessions);
  });
} finally {
  // With its agents, as Ctrl-C would end them.
  desk.kill('SIGINT');
  await new Promise((ended) => desk.once('exit', ended));
  rmSync(directory, { recursive: true, force: true });
}

function take(walker, name) {
  return walker.page.screenshot({ path: join(images, `${name}.png`), animations: 'disabled' });
}

async function ofACustomer(walker, url) {
  const { page } = walker;
  await page.goto(url);
  await walker.write('textbox', 'Email', CUSTOMERS[0][0]);
  await walker.write('textbox', 'Password', password);
  await walker.tabTo('combobox', 'Kind of session');
  await page.keyboard.type('TRAVEL');
  await walker.activate('button', 'Sign in and start');
  await walker.see(walker.get('status').getByText('Your agent is ready.'));
  await walker.write('textbox', 'Ask your agent', 'Four days in Portugal, by train please.');
  await walker.press('Enter');
  await walker.see('"nights": 4');
  await page.evaluate(() => scrollTo(0, 0));
  await take(walker, 'customers-page');
}

/** Everybody else comes, and what crashes gets a past. */
async function come(url) {
  const sessions = {};
  for (const [email, persona, data] of CUSTOMERS.slice(1)) {
    sessions[email] = await post(`${url}v1/sessions`, { email, password, persona, data });
  }
  await new Promise((resume) => setTimeout(resume, 20_000));
  return sessions;
}

async function ofTheConsole(walker, url, token, sessions) {
  const { page } = walker;
  await page.goto(`${url}console`);
  await walker.write('textbox', "Operator's token", token);
  await walker.press('Enter');
  await walker.see(walker.get('heading', 'Overview'));
  await take(walker, 'console-overview');
  await page.goto(`${url}console/sessions?ended=true`);
  await walker.see('edsger@example.org');
  await take(walker, 'console-sessions');
  await page.goto(`${url}console/sessions/${sessions['edsger@example.org'].id}`);
  await walker.see('MemoryError');
  await take(walker, 'console-session');
}

/** The address at which the server says that it is ready. */
async function listening() {
  for await (const line of createInterface({ input: desk.stderr })) {
    const { message, listen } = JSON.parse(line);
    if (message !== 'ready') continue;
    desk.stderr.resume();
    return listen;
  }
  throw new Error('the server ended before it was ready');
}

async function post(path, body) {
  const response = await fetch(path, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}
