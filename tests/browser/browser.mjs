// A real browser for the walks: it notices whatever goes wrong on a page, goes through it by keyboard alone, and holds
// it to axe-core's rules of accessibility.
//
// The test that starts a walk (tests/it/browser.rs) says in the environment where the server is, and does what only it can
// do, such as to start the server anew, when a walk asks for it.

import assert from 'node:assert/strict';
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const tools = createRequire(join(import.meta.dirname, '../../target/browser/package.json'));
const { chromium } = tools('playwright-core');
const axe = readFileSync(tools.resolve('axe-core/axe.min.js'), 'utf8');

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

// What is waited for comes in milliseconds, and on a busy machine in seconds.
const PATIENCE = 20_000;

/** Opens a page in a browser that nobody has used before, takes the walk, and fails if anything went wrong on the way. */
export async function walk(steps) {
  const profile = mkdtempSync(join(tmpdir(), 'frontdesk-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM,
    args: FLAGS,
    viewport: { width: 1280, height: 900 },
  });
  try {
    context.setDefaultTimeout(PATIENCE);
    const walker = new Walker(context.pages()[0]);
    await steps(walker).catch(async (error) => {
      const shown = await walker.page.locator('body').ariaSnapshot().catch(String);
      throw new Error(`${error.stack}\nFaults: ${walker.faults.join('\n') || 'none'}\nThe page showed:\n${shown}`);
    });
    walker.mustBeFine();
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
    process.stdin.unref?.();
  }
}

/** Someone with a keyboard and no mouse. */
class Walker {
  /** What went wrong and was not expected. */
  faults = [];
  #expected = [];
  #replies = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

  constructor(page) {
    this.page = page;
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.#fault(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => this.#fault(`page: ${error.stack}`));
    page.on('requestfailed', (request) => this.#fault(`request: ${request.url()} ${request.failure().errorText}`));
    // What the page itself hangs up, and what a reload cuts off.
    this.#expected.push(/^request: .* net::ERR_ABORTED$/);
  }

  #fault(text) {
    if (!this.#expected.some((pattern) => pattern.test(text))) this.faults.push(text);
  }

  mustBeFine() {
    assert.deepEqual(this.faults, []);
  }

  /** Does something during which faults like this are no surprise. */
  async expecting(pattern, deed) {
    this.#expected.push(pattern);
    await deed();
    this.#expected.splice(this.#expected.indexOf(pattern), 1);
  }

  /** Has the test do what a page can't, and waits until it is done. */
  async have(deed) {
    process.stdout.write(`do: ${deed}\n`);
    assert.equal((await this.#replies.next()).value, `done: ${deed}`);
  }

  get(role, name) {
    return this.page.getByRole(role, { name });
  }

  /** Waits until something is to be seen. */
  async see(what) {
    await (typeof what === 'string' ? this.page.getByText(what) : what).first().waitFor();
  }

  /** Waits until something is gone. */
  async miss(what) {
    await what.first().waitFor({ state: 'hidden' });
  }

  /** Goes to a control by the tab key; it must be reached, and be seen to have the focus. */
  async tabTo(role, name, place = this.page) {
    const wanted = place.getByRole(role, { name }).first();
    await wanted.waitFor();
    const isThere = () => wanted.evaluate((element) => element === document.activeElement);
    for (let presses = 0; !(await isThere()); presses++) {
      assert.ok(presses < 80, `the tab key does not lead to the ${role} "${name}"`);
      await this.press('Tab');
    }
    const outline = await wanted.evaluate((element) => {
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      return `${outlineStyle} ${outlineWidth}`;
    });
    assert.match(outline, /^(?!none)\S+ (?!0px)/, `nobody sees that the ${role} "${name}" has the focus`);
  }

  press(key) {
    return this.page.keyboard.press(key);
  }

  /** Goes to a field and writes into it; what was in it goes. */
  async write(role, name, text) {
    await this.tabTo(role, name);
    await this.press('Control+A');
    await this.page.keyboard.insertText(text);
  }

  /** Goes to a button or a link and presses Enter on it. */
  async activate(role, name, place) {
    await this.tabTo(role, name, place);
    await this.press('Enter');
  }

  /** Holds the page as it stands to axe-core: light on a desk, and dark on a phone. */
  async mustBeAccessible() {
    await this.page.evaluate(axe);
    const desk = this.page.viewportSize();
    for (const [colorScheme, size] of [['dark', { width: 390, height: 844 }], ['light', desk]]) {
      await this.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await this.page.setViewportSize(size);
      const { violations } = await this.page.evaluate(() => window.axe.run());
      const found = violations.flatMap(({ id, help, nodes }) =>
        nodes.map((node) => `${id}: ${help}: ${node.html} (${node.failureSummary})`),
      );
      assert.deepEqual(found, [], `axe at ${this.page.url()}, ${colorScheme}, ${size.width} wide`);
      const overflow = await this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `at ${this.page.url()} the page is wider than a screen of ${size.width} by ${overflow}`);
    }
  }
}
