// An operator's way through the console, by keyboard alone.

import assert from 'node:assert/strict';

import { walk } from './browser.mjs';

const { FRONTDESK_URL: url, FRONTDESK_TOKEN: token, FRONTDESK_EMAIL: email } = process.env;

await walk(async (walker) => {
  const { page } = walker;
  const path = () => new URL(page.url()).pathname;

  // Nobody gets in without a token, and a wrong one is said in words.
  await page.goto(`${url}console`);
  await walker.see(walker.get('heading', 'Sign in'));
  await walker.mustBeAccessible();
  await walker.write('textbox', "Operator's token", `${token}x`);
  await walker.expecting(/status of 401/, async () => {
    await walker.activate('button', 'Sign in');
    await walker.see(walker.get('alert').getByText("This is no operator's token that is valid"));
  });
  await walker.write('textbox', "Operator's token", token);
  await walker.press('Enter');

  // The overview, and every other page from the menu.
  await walker.see(walker.get('heading', 'Overview'));
  await walker.mustBeAccessible();
  for (const section of ['Personas', 'Customers', 'Throttled', 'Tokens', 'Audit', 'Sessions']) {
    await walker.activate('link', section);
    await walker.see(page.getByRole('heading', { name: section, level: 1 }));
    await walker.mustBeAccessible();
  }

  // The customer's session is found and followed: this very document shows how it gets on.
  await walker.write('textbox', 'Customer', email);
  await walker.press('Enter');
  await page.waitForURL(/email=/);
  await walker.activate('link', email);
  await walker.see(page.getByRole('heading', { name: email, level: 1 }));
  await page.evaluate(() => { window.isStillHere = true; });
  await walker.see(page.locator('#head').getByText('PENDING'));
  await walker.activate('button', 'Start its agent');
  await walker.see(page.locator('#head').getByText('RUNNING'));

  // A request by hand: its answer's parts, the answer, and what the agent writes to its log meanwhile.
  await walker.write('textbox', 'Any JSON', JSON.stringify({ output: ['one', 'two'], log: 'a line of the log' }));
  await walker.activate('button', 'Send');
  const answer = walker.get('log', "The agent's answer");
  await walker.see(answer.getByText('"one"'));
  await walker.see(answer.getByText('"handled": 1'));
  await walker.see(page.getByLabel('What the agent writes to stderr').getByText('a line of the log'));
  await walker.mustBeAccessible();

  // It is killed, after a question, and says why it has ended.
  await walker.activate('button', 'Kill');
  const question = walker.get('dialog', `Kill the session of ${email}?`);
  await walker.see(question);
  await walker.mustBeAccessible();
  await walker.activate('button', 'Kill', question);
  await walker.see(page.locator('#head').getByText('ENDED'));
  await walker.see(page.locator('#head').getByText('stopped by the operator'));
  assert.ok(await page.evaluate(() => window.isStillHere), 'the page was loaded again');
  await walker.mustBeAccessible();

  await walker.activate('button', 'Sign out');
  await walker.see('You have signed out.');
  assert.equal(path(), '/console/sign-in');
  await page.goto(`${url}console/sessions`);
  await walker.see(walker.get('heading', 'Sign in'));
});
