// A new customer's way through the customers' page, by keyboard alone.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { walk } from './browser.mjs';

const { FRONTDESK_URL: url, FRONTDESK_EMAIL: email, FRONTDESK_PASSWORD: password, FRONTDESK_DIRECTORY: directory } = process.env;

/** A request to the test's agent, which waits with its answer until the file is there. */
const held = (name, ...parts) => JSON.stringify({ parts, hold: join(directory, name) });

await walk(async (walker) => {
  const { page } = walker;
  const log = walker.get('log', 'Conversation with your agent');
  const isFocused = (locator) => locator.evaluate((element) => element === document.activeElement);

  /** Waits until the browser has these cookies and no others, none of which scripts can read. */
  const hasCookies = async (wanted) => {
    const names = async () => (await page.context().cookies()).map(({ name }) => name).sort().join();
    for (let tries = 0; tries < 100 && (await names()) !== wanted.join(); tries++) await page.waitForTimeout(50);
    assert.equal(await names(), wanted.join());
    assert.equal(await page.evaluate(() => document.cookie), '');
  };

  // Signing in: the first field has the focus, and a wrong password is said in words.
  await page.goto(url);
  await walker.see(walker.get('heading', 'Welcome'));
  assert.ok(await isFocused(walker.get('textbox', 'Email')));
  await walker.mustBeAccessible();
  await page.keyboard.insertText(email);
  await walker.write('textbox', 'Password', 'not this one');
  await walker.expecting(/status of 401/, async () => {
    await walker.press('Enter');
    await walker.see(walker.get('alert').getByText('The email or the password is wrong'));
  });
  await walker.mustBeAccessible();

  // The right one asks for a session, whose agent is watched until it is ready.
  await walker.write('textbox', 'Password', password);
  await walker.tabTo('combobox', 'Kind of session');
  await page.keyboard.type('PAR');
  await walker.activate('button', 'Sign in and start');
  await walker.see(walker.get('status').getByText('Your agent is ready.'));
  await walker.see(walker.get('heading', 'PARTS'));
  await walker.mustBeAccessible();
  await hasCookies(['frontdesk-device', 'frontdesk-session']);

  // The request box has the focus. Parts show while the agent still works, and the answer behind them.
  await page.waitForFunction(() => document.activeElement.id === 'request');
  await page.keyboard.insertText(held('first', 'Good ', 'morning', { room: 12 }));
  await walker.press('Enter');
  await walker.see(log.getByText('Good morning', { exact: true }));
  await walker.see(log.getByText('"room": 12'));
  await walker.see(walker.get('button', 'Cancel'));
  await walker.mustBeAccessible();
  writeFileSync(join(directory, 'first'), '');
  await walker.see(log.getByText('1', { exact: true }));
  await walker.miss(walker.get('button', 'Cancel'));

  // What takes too long is cancelled, which the agent hears.
  await walker.write('textbox', 'Ask your agent', held('second'));
  await walker.press('Enter');
  await walker.activate('button', 'Cancel');
  await walker.see(log.getByText('Cancelled.'));
  await walker.have('wait for second.cancelled');

  // The server goes and comes back; the agent has counted on, because it was there all the time.
  await walker.expecting(/net::ERR_/, async () => {
    await walker.have('restart the server');
    await walker.miss(page.getByText('The connection to the server is lost'));
    writeFileSync(join(directory, 'third'), '');
    await walker.write('textbox', 'Ask your agent', held('third'));
    await walker.press('Enter');
    await walker.see(log.getByText('3', { exact: true }));
  });

  // A reload keeps the session.
  await page.reload();
  await walker.see(walker.get('status').getByText('Your agent is ready.'));

  // An agent that is lost is seen to be started again.
  await walker.have('kill the agent');
  await walker.see(walker.get('status').getByText('Your agent is ready again. The one before was lost'));

  // Whoever signs out comes back to the same session.
  await walker.activate('button', 'Sign out');
  await walker.see('Your session goes on');
  await walker.mustBeAccessible();
  await walker.write('textbox', 'Password', password);
  await walker.expecting(/status of 409/, async () => {
    await walker.press('Enter');
    await walker.see('You have a session already');
  });
  await walker.see(walker.get('status').getByText('Your agent is ready'));

  // Ending it asks once; what has happened is told.
  await walker.activate('button', 'End the session');
  await walker.see(walker.get('dialog', 'End the session?'));
  await walker.mustBeAccessible();
  await walker.activate('button', 'End it');
  await walker.see(walker.get('status').getByText('Ended: stopped by its customer.'));
  await walker.tabTo('button', 'Ask for a new session');
  await page.getByText('What has happened').focus();
  await walker.press('Space');
  await walker.see(page.locator('#story').getByText('Ended'));
  await walker.mustBeAccessible();
  await walker.activate('button', 'Sign out');
  await walker.see('You are signed out.');
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await hasCookies(['frontdesk-device']);
});
