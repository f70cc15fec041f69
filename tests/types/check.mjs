// Type-checks the dashboard: `node check.mjs`. Nothing of this is needed to run or to build the program.
//
// Into `work/` go: types of the API from openapi/vgpo.json, copies of web/app with their templates as JSX (jsx.mjs), and for each
// library of web/vendor the types of the package that it comes from. The compiler reads them; its complaints name the originals.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { toJsx } from './jsx.mjs';

const here = import.meta.dirname;
const root = join(here, '../..');
const work = join(here, 'work');
const bin = (name) => join(here, 'node_modules/.bin', name);

function copyScripts() {
  const app = join(root, 'web/app');
  for (const name of readdirSync(app, { recursive: true }).filter((one) => one.endsWith('.js'))) {
    const to = join(work, 'web/app', name);
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, toJsx(readFileSync(join(app, name), 'utf8'), name));
  }
}

rmSync(work, { recursive: true, force: true });
mkdirSync(join(work, 'types'), { recursive: true });
const packages = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')).devDependencies;
const vendored = readFileSync(join(root, 'web/vendor/README.md'), 'utf8');
for (const [, name, version] of vendored.matchAll(/^\| ([@\w/-]+) \| (\d[\w.-]*) \|/gm)) {
  if (packages[name] !== version)
    throw new Error(`web/vendor has ${name} ${version}, tests/types/package.json ${packages[name]}`);
}
execFileSync(
  bin('openapi-typescript'),
  [join(root, 'openapi/vgpo.json'), '--output', join(work, 'types/openapi.d.ts')],
  { stdio: 'ignore' },
);
cpSync(join(here, 'dashboard.d.ts'), join(work, 'types/dashboard.d.ts'));
cpSync(join(here, 'vendor'), join(work, 'web/vendor'), { recursive: true });
cpSync(join(here, 'tsconfig.json'), join(work, 'tsconfig.json'));
copyScripts();

const { status, stdout } = spawnSync(bin('tsc'), ['-p', work, '--pretty', 'false'], { cwd: work, encoding: 'utf8' });
console.log(status === 0 ? 'web/app fits openapi/vgpo.json' : stdout.trim());
process.exitCode = status ?? 1;
