// Fetches the dashboard's libraries from npm and lays them into web/vendor as plain ES modules.
//
// Run it to take newer versions (change them below): `node scripts/vendor_dashboard.mjs`. Nothing else needs Node: the
// result is committed. Bare imports are rewritten to files in one folder, so that no bundler and no import map is needed.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const out = new URL('../web/vendor/', import.meta.url).pathname;

/** Package and version, files to take (from -> to), licence. */
const PACKAGES = [
  { name: 'preact', version: '11.2.0', files: { 'dist/preact.mjs': 'preact.js', 'hooks/dist/hooks.mjs': 'hooks.js' } },
  { name: 'htm', version: '3.1.1', files: { 'dist/htm.mjs': 'htm.js' } },
  { name: '@preact/signals-core', version: '1.14.5', files: { 'dist/signals-core.mjs': 'signals-core.js' } },
  { name: '@preact/signals', version: '2.11.4', files: { 'dist/signals.mjs': 'signals.js' } },
  { name: 'uplot', version: '1.6.32', files: { 'dist/uPlot.esm.js': 'uplot.js', 'dist/uPlot.min.css': 'uplot.css' } },
];
const IMPORTS = {
  'preact': './preact.js',
  'preact/hooks': './hooks.js',
  '@preact/signals-core': './signals-core.js',
};

const work = mkdtempSync(join(tmpdir(), 'vgpo-vendor-'));
const table = [];
for (const { name, version, files } of PACKAGES) {
  const [{ filename }] = JSON.parse(execFileSync('npm', ['pack', '--json', `${name}@${version}`], { cwd: work }));
  execFileSync('tar', ['xzf', filename], { cwd: work });
  const read = (path) => readFileSync(join(work, 'package', path), 'utf8');
  for (const [from, to] of Object.entries(files)) {
    const text = read(from)
      .replace(/(from\s*|import\s*)(["'])([^"'.][^"']*)\2/g, (whole, head, quote, path) =>
        path in IMPORTS ? `${head}${quote}${IMPORTS[path]}${quote}` : whole)
      .replace(/\n?\/\/# sourceMappingURL=.*\n?/g, '\n');
    writeFileSync(join(out, to), text);
  }
  const licence = `${name.replace('@', '').replace('/', '-')}.LICENSE`;
  writeFileSync(join(out, licence), read('LICENSE'));
  table.push(`| ${name} | ${version} | ${JSON.parse(read('package.json')).license} | [${licence}](${licence}) | ${Object.values(files).join(', ')} |`);
  rmSync(join(work, 'package'), { recursive: true });
}
writeFileSync(join(out, 'README.md'), `# Libraries of the dashboard

As published on npm, made by \`node scripts/vendor_dashboard.mjs\`; only the paths of imports between them differ.

| package | version | licence | text | files |
|---|---|---|---|---|
${table.join('\n')}
`);
rmSync(work, { recursive: true });
