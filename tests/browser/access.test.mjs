// The dashboard of a server that asks for keys: signing in, keys, what a viewer sees.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, afterEach, before, test } from 'node:test';
import { accessible, Browser, fits, Server } from './harness.mjs';

const program = process.env.VGPO_PROGRAM;
const server = new Server(program);
const browser = new Browser(server);
/** Without a session the browser notes each refusal as an error. */
const REFUSED = { expected: [/status of 401/] };

/** A key, made in the database as the first one has to be. */
function key(...options) {
  const made = spawnSync(program, ['keys', 'create', '--json', '--data', server.data, ...options], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  return JSON.parse(made.stdout);
}

let admin;

before(async () => {
  admin = key('--role', 'admin', '--name', 'the first key');
  await server.start();
  await browser.start();
});
after(async () => {
  await browser.stop();
  await server.stop();
  server.clean();
});
afterEach(() => browser.calm());

const status = async (secret) => (await fetch(`${server.url}/v1/jobs`, { headers: { authorization: `Bearer ${secret}` } })).status;

async function signIn(page, secret) {
  await page.getByLabel('API key').fill(secret);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

test('nothing is shown before a key opens the page', async () => {
  const page = await browser.open('#/runs', REFUSED);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.getByRole('navigation').count(), 0);
  await accessible(page, 'sign-in');
  await fits(page, 'sign-in');
  await signIn(page, 'vgpo_000000000000_00');
  await page.getByRole('alert').getByText('unknown').waitFor();
  await signIn(page, admin.secret);
  await page.getByRole('heading', { name: 'Runs', exact: true }).waitFor();
  await page.getByText('live', { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.cookie), '', 'no script can read the session');
  assert.equal(await page.evaluate(() => Object.keys(localStorage).filter((name) => localStorage[name].includes('vgpo_')).length), 0);
  await page.reload();
  await page.getByRole('heading', { name: 'Runs', exact: true }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.context().close();
});

test('a key is made, shown once, and revoked', async () => {
  const page = await browser.open('#/keys', REFUSED);
  await signIn(page, admin.secret);
  await page.getByRole('heading', { name: 'Keys' }).waitFor();
  await page.getByRole('row').filter({ hasText: 'the first key' }).waitFor();
  await accessible(page, 'keys');
  await fits(page, 'keys');
  await page.getByLabel('What it is for').fill('robot arm');
  await page.getByLabel('Role').selectOption('viewer');
  await page.getByLabel('Project').fill('');
  await page.getByLabel('Project').fill('vision');
  await page.getByRole('button', { name: 'Create key' }).click();
  const shown = page.getByRole('region', { name: 'The new key' });
  const secret = await shown.locator('code').textContent();
  assert.match(secret, /^vgpo_[0-9a-f]{12}_[0-9a-f]{64}$/);
  await accessible(page, 'the new key');
  assert.equal(await status(secret), 200);
  await shown.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'Create key' }).waitFor();
  assert.ok(!(await page.content()).includes(secret.split('_')[2]), 'it is gone from the page');
  const row = page.getByRole('row').filter({ hasText: 'robot arm' });
  await row.getByText('viewer').waitFor();
  await row.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
  assert.equal(await status(secret), 200, 'nothing happened');
  await row.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await row.getByText('revoked').waitFor();
  assert.equal(await status(secret), 401);
  await page.context().close();
});

test('a viewer is offered what it may do, and told why not the rest', async () => {
  const viewer = key('--role', 'viewer', '--project', 'vision', '--name', 'wall display');
  const page = await browser.open('#/models', REFUSED);
  const asked = [];
  page.on('response', (response) => { if (response.status() === 403) asked.push(response.url()); });
  await signIn(page, viewer.secret);
  await page.getByRole('heading', { name: 'Models' }).waitFor();
  await page.getByText('starter').first().waitFor();
  await page.locator('.me').getByText('wall display').waitFor();
  await page.locator('.me').getByText('viewer · vision').waitFor();
  for (const name of ['Keys', 'New job', 'Playground', 'Open in playground', 'Fine-tune']) assert.equal(await page.getByRole('link', { name, exact: true }).count(), 0, name);
  assert.equal(await page.getByText('Add a model').count(), 0);
  for (const [hash, sign] of [['#/datasets', 'Data sets'], ['#/runs', 'No runs yet']]) {
    await page.goto(`${server.url}/${hash}`);
    await page.getByRole('heading', { name: sign }).waitFor();
    for (const name of ['Choose files', 'Upload', 'Delete']) assert.equal(await page.getByRole('button', { name }).count(), 0, name);
    for (const name of ['Train on it', 'New job', 'Start the first job']) assert.equal(await page.getByRole('link', { name }).count(), 0, name);
  }
  for (const hash of ['#/new', '#/playground']) {
    await page.goto(`${server.url}/${hash}`);
    await page.getByText('Your key is read-only (viewer). This needs the user role.').waitFor();
  }
  await page.goto(`${server.url}/#/keys`);
  await page.getByText('This needs the admin role.').waitFor();
  assert.deepEqual(asked, [], 'the page asks for nothing that it may not have');
  await page.context().close();
});

test('a user changes nothing of other projects', async () => {
  const user = key('--role', 'user', '--project', 'vision');
  const page = await browser.open('#/models', REFUSED);
  await signIn(page, user.secret);
  await page.getByRole('link', { name: 'Fine-tune' }).first().waitFor();
  await page.locator('.me').getByText('user · vision').waitFor();
  assert.equal(await page.getByRole('link', { name: 'Keys', exact: true }).count(), 0);
  await page.context().close();
});

test('the first key protects the server, is shown, and signs its maker in', async () => {
  const open = new Server(program);
  const visitor = new Browser(open);
  try {
    await open.start();
    await visitor.start();
    const page = await visitor.open('#/runs', REFUSED);
    await page.getByText('live', { exact: true }).waitFor();
    await page.getByRole('link', { name: 'Protect this server' }).click();
    const step = page.getByRole('region', { name: 'Protect this server' });
    assert.equal(await step.getByLabel('Role').count(), 0, 'the first key is an admin’s');
    await accessible(page, 'protect this server');
    await fits(page, 'protect this server');
    await step.getByLabel('Your name').fill('Ada');
    await step.getByRole('button', { name: 'Create the admin key' }).click();
    const shown = page.getByRole('region', { name: 'The new key' });
    const secret = await shown.locator('code').textContent();
    assert.match(secret, /^vgpo_[0-9a-f]{12}_[0-9a-f]{64}$/);
    // The stream of before is cut by the server; neither that nor anything else hides the secret.
    await page.waitForTimeout(4000);
    assert.equal(await shown.locator('code').textContent(), secret);
    await page.locator('.me').getByText('admin · default').waitFor();
    await page.getByText('live', { exact: true }).waitFor();
    assert.equal((await fetch(`${open.url}/v1/jobs`)).status, 401, 'everybody else is asked for a key');
    await shown.getByRole('button', { name: 'Done' }).click();
    await page.getByRole('row').filter({ hasText: 'Ada' }).waitFor();
    await page.reload();
    await page.getByRole('row').filter({ hasText: 'Ada' }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await signIn(page, secret);
    await page.getByRole('row').filter({ hasText: 'Ada' }).waitFor();
    await page.getByRole('row').filter({ hasText: 'Ada' }).getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('dialog').getByText('It is the last admin key').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await page.context().close();
    visitor.calm();
  } finally {
    await visitor.stop();
    await open.stop();
    open.clean();
  }
});

test('a live page of another origin reconnects by itself, also with a key', async () => {
  const example = readFileSync(new URL('../../docs/dashboard-example.html', import.meta.url));
  const other = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end(example)).listen(0, '127.0.0.1');
  await once(other, 'listening');
  const origin = `http://127.0.0.1:${other.address().port}`;
  const live = new Server(program, { VGPO_ALLOWED_ORIGINS: origin });
  try {
    const made = spawnSync(program, ['keys', 'create', '--json', '--data', live.data, '--role', 'admin'], { encoding: 'utf8' });
    const { secret } = JSON.parse(made.stdout);
    await live.start();
    const page = await (await browser.browser.newContext()).newPage();
    const streams = [];
    page.on('request', (request) => { if (request.url().includes('/v1/events')) streams.push(new URL(request.url())); });
    await page.goto(`${origin}/?server=${live.url}`);
    await page.getByPlaceholder('API key').fill('vgpo_000000000000_00');
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.getByText('the key is unknown').waitFor();
    await page.getByPlaceholder('API key').fill(secret);
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.getByText('connected', { exact: true }).waitFor();
    // An event, so that there is a place to continue after.
    const call = (path, body) => fetch(`${live.url}${path}`, { method: 'POST', headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const job = await (await call('/v1/jobs', { model: 'starter', dataset: 'digits', steps: 3, eval_before: false, eval_every: 0, eval_rows: 4, batch: { prompts_per_step: 2, minibatch_prompts: 2 }, rollout: { group_size: 2, filter: null } })).json();
    const row = page.getByRole('row').filter({ hasText: job.run_id });
    await row.waitFor();
    await live.stop();
    await page.getByText('not connected, trying again').waitFor();
    await page.waitForTimeout(2500);
    await live.start();
    await page.getByText('connected', { exact: true }).waitFor();
    await row.getByRole('cell').nth(1).getByText('3', { exact: true }).waitFor({ timeout: 60_000 });
    const [first, ...later] = streams;
    assert.equal(first.searchParams.get('after'), null);
    const tokens = new Set(streams.map((url) => url.searchParams.get('stream_token')));
    assert.equal(tokens.size, streams.length, 'each stream has a token of its own');
    assert.ok(later.every((url) => Number(url.searchParams.get('after')) > 0), 'it continues where it was');
    await page.context().close();
  } finally {
    await live.stop();
    other.close();
    live.clean();
  }
});

test('a session that ends leads back to the sign-in', async () => {
  const user = key('--role', 'user');
  const page = await browser.open('#/workers', REFUSED);
  await signIn(page, user.secret);
  await page.getByRole('heading', { name: 'Workers' }).waitFor();
  const revoked = spawnSync(program, ['keys', 'revoke', user.id, '--data', server.data]);
  assert.equal(revoked.status, 0);
  await page.goto(`${server.url}/#/datasets`);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.context().close();
});
