// The form of a new job can be trusted: what is typed stays, what cannot be read is said, what is sent is what is shown.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { accessible, Browser, fits, Server } from './harness.mjs';

const server = new Server(process.env.VGPO_PROGRAM);
const browser = new Browser(server);

before(async () => {
  await server.start();
  await browser.start();
});
after(async () => {
  await browser.stop();
  await server.stop();
  server.clean();
});
afterEach(() => browser.calm());

/** The form, with slow dry runs; what would be submitted is noted instead. */
async function open(hash = '#/new', delay = 120) {
  const page = await browser.open('#/workers', { expected: [/422/, /503/] });
  const sent = [];
  await page.route(/\/v1\/(jobs|sweeps)$/, (route) => {
    sent.push(route.request().postDataJSON());
    return route.fulfill({ status: 503, contentType: 'application/problem+json', json: { title: 'noted', status: 503, detail: 'noted' } });
  });
  await page.route(/\/v1\/(jobs|sweeps)\?dry_run=true$/, async (route) => {
    await new Promise((resolve) => { setTimeout(resolve, delay); });
    await route.continue();
  });
  await page.goto(`${server.url}/${hash}`);
  await page.getByText('Memory about').waitFor();
  return { page, sent };
}

const box = (page, name) => page.getByRole('textbox', { name: new RegExp(`^${name}( (yours|recommended))?$`) }).first();
const startOf = (page) => page.getByRole('button', { name: 'Start the job' });
const changes = (page) => page.getByRole('region', { name: 'Changed from the defaults' });

/** What the page says that it would send. */
async function shown(page) {
  const request = page.locator('details').filter({ hasText: 'The request' });
  if (!await request.getAttribute('open').then((open) => open !== null)) await request.locator('summary').click();
  return JSON.parse(await request.locator('pre').textContent());
}

/** Waits for what was sent. */
async function next(sent) {
  for (let tries = 0; sent.length === 0 && tries < 100; tries += 1) await new Promise((resolve) => { setTimeout(resolve, 50); });
  assert.equal(sent.length, 1, 'one request was sent');
  return sent.pop();
}

test('what is typed slowly stays while dry runs arrive, and is what is sent', async () => {
  const { page, sent } = await open();
  for (const [name, text] of [['steps', '12'], ['beta', '0.25'], ['learning rate', '0.00025'], ['gamma', '0.9'], ['max new tokens', '33']]) {
    const field = box(page, name);
    await field.click();
    await field.press('Control+a');
    await field.pressSequentially(text, { delay: 150 });
    assert.equal(await field.inputValue(), text, `${name} holds what was typed`);
  }
  for (const [name, text] of [['steps', '12'], ['beta', '0.25'], ['learning rate', '0.00025'], ['gamma', '0.9']]) assert.equal(await box(page, name).inputValue(), text);
  const list = changes(page);
  for (const [name, value, usual] of [['steps', '12', '40'], ['method/beta', '0.25', '0.3'], ['optimizer/learning_rate', '0.00025', '0.0001'], ['method/gamma', '0.9', '0.5']]) {
    const row = list.getByRole('listitem').filter({ has: page.getByText(name, { exact: true }) });
    await row.getByText(value, { exact: true }).waitFor();
    await row.getByText(`default ${usual}`).waitFor();
  }
  const [above, button] = [await list.boundingBox(), await startOf(page).boundingBox()];
  assert.ok(above.y + above.height <= button.y, 'the differences are above the button');
  await startOf(page).click();
  const body = await next(sent);
  assert.deepEqual(body, await shown(page));
  assert.deepEqual(body, {
    model: 'starter', dataset: 'digits', steps: 12, method: { beta: 0.25, gamma: 0.9 },
    optimizer: { learning_rate: 0.00025 }, rollout: { max_new_tokens: 33 },
  });
  await page.context().close();
});

test('a text without meaning is marked where it stands, and nothing starts with it', async () => {
  const { page, sent } = await open();
  await page.getByText('All settings').click();
  const cases = [
    ['gamma', '0,4', 'after a point: 0.4'], ['gamma', 'abc', 'is not a number'], ['gamma', '', 'Enter a number'], ['steps', '1.5', 'whole number'],
    ['learning rate', '1e999', 'too large'], ['seed', '99999999999999999999', 'whole numbers up to'], ['betas', '[0.9', 'Invalid JSON'], ['betas', '0.9', 'Enter a list'],
    ['tags', 'nightly', 'Invalid JSON'], ['max pixels', 'many', 'is not a number'],
  ];
  for (const [name, text, why] of cases) {
    const field = box(page, name);
    await field.fill(text);
    await field.press('Tab');
    await page.locator('.field').filter({ has: field }).getByRole('alert').getByText(why).waitFor();
    assert.equal(await field.inputValue(), text, 'the text stays');
    assert.equal(await field.getAttribute('aria-invalid'), 'true');
    assert.ok(await startOf(page).isDisabled(), `${name}: ${text}`);
    await field.press('Control+Enter');
    await changes(page).getByRole('alert').getByText(why).waitFor();
    await changes(page).getByRole('alert').getByRole('button').click();
    await changes(page).getByRole('alert').waitFor({ state: 'detached' });
    await startOf(page).and(page.locator(':enabled')).waitFor();
    assert.equal(await field.getAttribute('aria-invalid'), 'false', 'it is back at its default');
  }
  const reward = page.getByRole('textbox', { name: 'As JSON' });
  await reward.fill('{"type": "math"');
  await page.getByRole('alert').getByText('Invalid JSON').first().waitFor();
  assert.ok(await startOf(page).isDisabled());
  await accessible(page, 'a form with a fault');
  await fits(page, 'a form with a fault');
  await reward.fill('{"type": "format"}');
  await startOf(page).and(page.locator(':enabled')).waitFor();
  assert.deepEqual(sent, []);
  await startOf(page).click();
  assert.deepEqual((await next(sent)).reward, { type: 'format' });
  await page.context().close();
});

test('every kind of field sends what it shows', async () => {
  const { page, sent } = await open();
  await page.getByText('All settings').click();
  await page.getByLabel('gate', { exact: true }).uncheck();
  await page.getByLabel(/^variant/).selectOption('released');
  await box(page, 'correction cap').fill('2.5');
  await box(page, 'max pixels').fill('100000');
  await box(page, 'max pixels').fill('');
  await box(page, 'betas').fill('[0.8, 0.9]');
  await box(page, 'tags').fill('{"try": "first"}');
  await box(page, 'prompt template').fill('{{ prompt }} Think first.');
  await page.getByLabel('deterministic', { exact: true }).uncheck();
  await page.getByLabel(/^enable thinking/).selectOption('true');
  await page.getByLabel(/^enable thinking/).selectOption('none');
  await box(page, 'name').fill('of every kind');
  await startOf(page).click();
  const body = await next(sent);
  assert.deepEqual(body, await shown(page));
  assert.deepEqual(body, {
    model: 'starter', dataset: 'digits', name: 'of every kind', tags: { try: 'first' },
    method: { gate: false, variant: 'released' }, rollout: { correction_cap: 2.5 }, optimizer: { betas: [0.8, 0.9] },
    deterministic: false, data: { max_pixels: null, prompt_template: '{{ prompt }} Think first.', enable_thinking: null },
  });
  await page.context().close();
});

test('settings of every kind become a list, and what is shown is what the sweep sends', async () => {
  const { page, sent } = await open();
  const vary = (name) => page.getByRole('button', { name: `Vary ${name}`, exact: true });
  const start = (jobs) => page.getByRole('button', { name: `Start a sweep of ${jobs} jobs` });
  await page.getByText('All settings').click();
  await box(page, 'steps').fill('12');
  await vary('learning rate').click();
  const rates = box(page, 'learning rate');
  assert.equal(await rates.inputValue(), '0.0001', 'it begins with the value that it had');
  await rates.press('End');
  await rates.pressSequentially(', 0.0003, 1e-3', { delay: 60 });
  assert.equal(await rates.inputValue(), '0.0001, 0.0003, 1e-3', 'what is typed stays');
  await vary('seed').click();
  await box(page, 'seed').fill('0, 1');
  await vary('gate').click();
  await page.getByRole('group', { name: 'Values of gate' }).getByLabel('false').check();
  await vary('max pixels').click();
  await box(page, 'max pixels').fill('none, 100000');
  await vary('prompt template').click();
  await box(page, 'prompt template').fill('{{ prompt }}\n{{ prompt }} Think, then say.');
  await vary('betas').click();
  await box(page, 'betas').fill('[[0.9, 0.99], [0.8, 0.9]]');
  await page.getByRole('region', { name: 'The sweep' }).getByText('at most 256').waitFor();
  for (const [name, value] of [['optimizer/learning_rate', '0.0001, 0.0003, 0.001'], ['seed', '0, 1'], ['data/max_pixels', 'none, 100000']]) {
    await changes(page).getByRole('listitem').filter({ has: page.getByText(name, { exact: true }) }).getByText(value, { exact: true }).waitFor();
  }
  await start(96).and(page.locator(':enabled')).waitFor();
  await accessible(page, 'a sweep in the form');
  await fits(page, 'a sweep in the form');
  await start(96).click();
  const body = await next(sent);
  assert.deepEqual(body, await shown(page));
  assert.deepEqual(body, {
    job: { model: 'starter', dataset: 'digits', steps: 12 },
    grid: {
      '/optimizer/learning_rate': [0.0001, 0.0003, 0.001], '/seed': [0, 1], '/method/gate': [true, false], '/data/max_pixels': [null, 100000],
      '/data/prompt_template': ['{{ prompt }}', '{{ prompt }} Think, then say.'], '/optimizer/betas': [[0.9, 0.99], [0.8, 0.9]],
    },
  });
  await page.context().close();
});

test('a list with a fault starts nothing, and one value comes back from it', async () => {
  const { page, sent } = await open();
  const vary = (name) => page.getByRole('button', { name: `Vary ${name}`, exact: true });
  await vary('beta').click();
  const field = box(page, 'beta');
  for (const [text, why] of [['0.1, x', 'is not a number'], ['0.1,, 1', 'no value'], ['0.1, 0.10', 'there twice'], ['', 'at least one value']]) {
    await field.fill(text);
    await page.locator('.field').filter({ has: field }).getByRole('alert').getByText(why).waitFor();
    assert.equal(await field.inputValue(), text, 'the text stays');
    assert.ok(await page.getByRole('button', { name: /^Start/ }).isDisabled());
    assert.ok(await vary('beta').isDisabled(), 'its text would be lost');
  }
  // The server judges values: of one that is not the first job's, too.
  await field.fill('0.1, -1');
  await page.getByRole('alert').getByText('at beta=-1').first().waitFor();
  assert.ok(await page.getByRole('button', { name: /^Start/ }).isDisabled());
  await field.fill('0.1, 1');
  await vary('seed').click();
  await box(page, 'seed').fill(Array.from({ length: 200 }, (_, n) => n).join(', '));
  await page.getByText('400 points; the limit is 256').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Start a sweep of 400 jobs' }).isDisabled());
  await vary('seed').click();
  assert.equal(await box(page, 'seed').inputValue(), '0');
  await field.press('Enter');
  await page.waitForTimeout(400);
  assert.deepEqual(sent, [], 'Enter starts nothing');
  await vary('beta').click();
  assert.equal(await box(page, 'beta').inputValue(), '0.1', 'the first value is left');
  await startOf(page).and(page.locator(':enabled')).waitFor();
  await startOf(page).click();
  assert.deepEqual(await next(sent), { model: 'starter', dataset: 'digits', method: { beta: 0.1 }, seed: 0 });
  await page.context().close();
});

test('methods and models are compared, each with its own defaults, and Ctrl+Enter starts the sweep', async () => {
  const { page } = await open();
  await page.unroute(/\/v1\/(jobs|sweeps)$/);
  await box(page, 'beta').fill('0.25');
  await page.getByRole('button', { name: 'Vary Method' }).click();
  await page.getByRole('group', { name: 'Values of Method' }).getByLabel(/^grpo:/).check();
  assert.equal(await box(page, 'beta').count(), 0, 'a setting of one method is not offered for all');
  assert.deepEqual(await shown(page), { job: { model: 'starter', dataset: 'digits' }, grid: { '/method/type': ['vgpo', 'grpo'] } });
  await box(page, 'steps').fill('2');
  await page.getByText('4 steps').waitFor();
  await box(page, 'steps').press('Control+Enter');
  await page.getByRole('heading', { name: 'digits over method.type' }).waitFor();
  const { data: [sweep] } = await server.call('GET', '/v1/sweeps');
  assert.deepEqual([sweep.grid, sweep.job, sweep.points], [{ '/method/type': ['vgpo', 'grpo'] }, { model: 'starter', dataset: 'digits', steps: 2 }, 2]);
  await server.call('POST', `/v1/sweeps/${sweep.id}/cancel`, {});
  await page.context().close();
});

test('Enter takes a value and Ctrl+Enter starts the job', async () => {
  const { page, sent } = await open();
  await box(page, 'steps').fill('4');
  await box(page, 'steps').press('Enter');
  await page.getByText('4 (4 updates)').waitFor();
  await page.waitForTimeout(500);
  assert.deepEqual(sent, []);
  // At once: it starts as soon as the server has checked what is shown.
  await box(page, 'steps').fill('5');
  await box(page, 'steps').press('Control+Enter');
  assert.equal((await next(sent)).steps, 5);
  await page.getByRole('button', { name: 'Reset steps' }).click();
  await page.getByText('every setting has its default').waitFor();
  assert.equal((await shown(page)).steps, undefined);
  await page.context().close();
});

test('an evaluation shows what it reads, and methods have their whole names', async () => {
  const { page } = await open();
  const method = page.getByLabel('Method', { exact: true });
  const names = await method.locator('option').allTextContents();
  assert.ok(names.some((name) => /^vgpo: .*arXiv \d{4}\.\d{5}/.test(name)), names.join('\n'));
  await method.selectOption('eval');
  await box(page, 'eval rows').waitFor();
  await page.getByText(/^All settings/).click();
  assert.equal(await box(page, 'microbatch tokens').isVisible(), true);
  for (const name of ['steps', 'learning rate', 'group size', 'minibatch prompts', 'keep checkpoints']) assert.equal(await box(page, name).isVisible(), false, name);
  await page.getByLabel(/^split/).waitFor();
  await page.context().close();
});

test('on a phone the start button stays in sight, and one key leads to it', async () => {
  const page = await browser.open('#/new', { viewport: { width: 390, height: 844 } });
  await page.getByText('Memory about').waitFor();
  const inSight = async () => {
    const [button, bar] = await Promise.all([startOf(page).boundingBox(), page.locator('.side nav').boundingBox()]);
    assert.ok(button.y > 0 && button.y + button.height <= bar.y, `the button is at ${button.y}, the bar at ${bar.y}`);
  };
  await inSight();
  await page.getByLabel('Method', { exact: true }).scrollIntoViewIfNeeded();
  await inSight();
  await fits(page, 'the form');
  await page.getByRole('link', { name: 'To the start button' }).press('Enter');
  await page.keyboard.press('Tab');
  assert.equal(await startOf(page).evaluate((button) => button === document.activeElement), true);
  await page.context().close();
});

test('a model that others serve is not chosen by itself', async () => {
  const page = await browser.open('#/workers');
  await page.route('**/v1/models', async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    body.data.unshift({ ...body.data[0], id: 'a-served-one', source: 'ckpt_1' });
    await route.fulfill({ json: body });
  });
  for (const hash of ['#/new', '#/playground']) {
    await page.goto(`${server.url}/${hash}`);
    await page.getByLabel('Model', { exact: true }).locator('option', { hasText: 'a-served-one' }).waitFor({ state: 'attached' });
    assert.equal(await page.getByLabel('Model', { exact: true }).inputValue(), 'starter');
  }
  await page.context().close();
});
