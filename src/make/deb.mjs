// npm run deb: the Debian package overlay-boot_VERSION_ARCH.deb, from dist/ as it is built here. No root is needed, and
// the same commit gives the same bytes: times are those of the commit (SOURCE_DATE_EPOCH).
import {
  chmodSync,
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { environment, filesBelow, setUp, top } from './set-up.mjs';
import { attempt, Missing, runMake, say } from './shell.mjs';

const manifest = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8'));
const gzipped = (/** @type {string | Uint8Array} */ content) => gzipSync(content, { level: 9 });
const source = (/** @type {string} */ path) => readFileSync(join(top, path), 'utf8');
const scripts = ['postinst', 'prerm', 'postrm'];
/** The packages of the libraries that parts of dist/ need. Debian's Node needs a newer libstdc++ itself. */
const libraryPackages = new Map([
  ['libc.so.6', 'libc6'],
  ['libm.so.6', 'libc6'],
  ['libpthread.so.0', 'libc6'],
  ['libgcc_s.so.1', 'libgcc-s1'],
  ['libstdc++.so.6', 'libstdc++6'],
]);

/** What of conf.d/ goes where, and whether it is a program. */
const installed = [
  { from: 'subhosts.conf', to: 'etc/subhosts.conf', mode: 0o644 },
  { from: 'overlay-boot.conf', to: 'etc/overlay-boot/conf.d/overlay-boot.conf', mode: 0o644 },
  { from: 'subhosts', to: 'etc/init.d/subhosts', mode: 0o755 },
  { from: 'subhosts.service', to: 'usr/lib/systemd/system/subhosts.service', mode: 0o644 },
  { from: 'subhosts@.service', to: 'usr/lib/systemd/system/subhosts@.service', mode: 0o644 },
  { from: 'box-start@.service', to: 'usr/lib/systemd/system/box-start@.service', mode: 0o644 },
  { from: 'subhosts-generator', to: 'usr/lib/systemd/system-generators/subhosts-generator', mode: 0o755 },
  { from: 'logrotate', to: 'etc/logrotate.d/overlay-boot', mode: 0o644 },
  { from: 'bash-completion', to: 'usr/share/bash-completion/completions/overlay-boot', mode: 0o644 },
];

runMake('npm run deb', () => {
  process.umask(0o022);
  const { values } = parseArgs({ options: { output: { type: 'string' }, version: { type: 'string' } } });
  setUp(['deb']);
  const version = values.version ?? manifest.version;
  const architecture = output('dpkg', '--print-architecture');
  const root = mkdtempSync(join(tmpdir(), 'overlay-boot-deb-'));
  try {
    chmodSync(root, 0o755);
    addFiles(root, version);
    addControl(root, version, architecture);
    const file = join(resolve(values.output ?? top), `overlay-boot_${version}_${architecture}.deb`);
    const env = { ...environment, SOURCE_DATE_EPOCH: String(sourceDate()) };
    // One thread: how many there are shows in what xz writes.
    const argv = ['dpkg-deb', '--root-owner-group', '--threads-max=1', '-Zxz', '--build', root, file];
    const { ok, output: text, ending } = attempt(argv, { env, quiet: true, typed: '' });
    if (!ok) throw new Missing(`dpkg-deb: ${text.trim() || ending}`);
    say(file);
    return 0;
  } finally {
    rmSync(root, { recursive: true });
  }
});

/**
 * What a program prints, trimmed.
 * @param {string[]} argv
 */
function output(...argv) {
  const result = attempt(argv, { cwd: top, env: environment, quiet: true, typed: '' });
  if (!result.ok) throw new Missing(`${argv[0]}: ${result.output.trim() || result.ending}`);
  return result.output.trim();
}

/** Seconds since 1970 that everything in the package is of: SOURCE_DATE_EPOCH, or the last commit, or the last release. */
function sourceDate() {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given) return Number(given);
  const git = attempt(['git', 'log', '-1', '--format=%ct'], {
    cwd: top,
    env: environment,
    quiet: true,
    typed: '',
  });
  return git.ok ? Number(git.output.trim()) : Math.floor(statSync(join(top, 'package.json')).mtimeMs / 1000);
}

/**
 * @param {string} root
 * @param {string} to  relative to root
 * @param {string | Uint8Array} content
 * @param {number} [mode]
 */
function put(root, to, content, mode = 0o644) {
  mkdirSync(join(root, dirname(to)), { recursive: true });
  writeFileSync(join(root, to), content);
  chmodSync(join(root, to), mode);
}

/**
 * @param {string} root
 * @param {string} to
 * @param {string} target
 */
function link(root, to, target) {
  mkdirSync(join(root, dirname(to)), { recursive: true });
  symlinkSync(target, join(root, to));
}

/**
 * Everything that will be on the host.
 * @param {string} root
 * @param {string} version
 */
function addFiles(root, version) {
  for (const command of Object.keys(manifest.bin)) {
    // Debian's Node, whatever else is on PATH: what it is, the package can depend on. (What dist/init starts is PATH's.)
    const shim = source(`bin/${command}`).replace(/^#!\/usr\/bin\/env (-S )?node/, '#!/usr/bin/node');
    put(root, `usr/lib/overlay-boot/bin/${command}`, shim, 0o755);
    link(root, `usr/sbin/${command}`, `../lib/overlay-boot/bin/${command}`);
    if (command !== 'overlay-boot')
      link(root, `usr/share/bash-completion/completions/${command}`, 'overlay-boot');
  }
  addDist(root);
  put(root, 'usr/lib/overlay-boot/code-cache.cjs', source('src/make/code-cache.cjs'));
  for (const page of readdirSync(join(top, 'man')))
    put(root, `usr/share/man/man${page.at(-1)}/${page}.gz`, gzipped(source(`man/${page}`)));
  for (const { from, to, mode } of installed) put(root, to, source(`conf.d/${from}`), mode);
  mkdirSync(join(root, 'var/log/overlay-boot'), { recursive: true });
  addDocuments(root, version);
}

/**
 * dist/ as it is, without what is another machine's: code caches are of one Node, prebuilt parts of one architecture.
 * @param {string} root
 */
function addDist(root) {
  const native = `prebuilds/linux-${process.arch}/`;
  for (const file of filesBelow(join(top, 'dist'))) {
    if (file.includes('.bundle.js.') || file === '.built' || file === 'LICENCES') continue;
    if (file.startsWith('prebuilds/') && !file.startsWith(native)) continue;
    const to = `usr/lib/overlay-boot/dist/${file}`;
    put(root, to, readFileSync(join(top, 'dist', file)), file === 'init' ? 0o755 : 0o644);
    if (file.endsWith('.node')) output('strip', '--strip-unneeded', join(root, to));
  }
}

/**
 * @param {string} root
 * @param {string} version
 */
function addDocuments(root, version) {
  const doc = 'usr/share/doc/overlay-boot';
  const date = new Date(sourceDate() * 1000).toUTCString().replace('GMT', '+0000');
  const change = [
    `overlay-boot (${version}) unstable; urgency=medium`,
    '  * What has changed is in NEWS.gz.',
    ` -- ${maintainer()}  ${date}`,
  ];
  put(root, `${doc}/changelog.gz`, gzipped(`${change.join('\n\n')}\n`));
  put(root, `${doc}/NEWS.gz`, gzipped(source('CHANGELOG.md')));
  put(root, `${doc}/README.md.gz`, gzipped(source('README.md')));
  put(root, `${doc}/copyright`, copyright());
  cpSync(join(top, 'examples'), join(root, doc, 'examples'), { recursive: true });
  put(root, 'usr/share/lintian/overrides/overlay-boot', source('src/make/deb/lintian-overrides'));
}

/** Our licence and those of what is included, by reference where Debian has the text. */
function copyright() {
  const included = source('dist/LICENCES').split(/^(?=== )/m);
  const sections = included.map((text) => {
    const [title = ''] = text.split('\n');
    if (!title.endsWith(' Apache-2.0')) return text;
    const [holder = ''] = /^ *Copyright \d.*$/m.exec(text) ?? [];
    return `${title}\n\n${holder.trim()}\nThe licence is in /usr/share/common-licenses/Apache-2.0.\n\n`;
  });
  return `${source('LICENSE')}\nIncluded are parts of other packages:\n\n${sections.join('')}`;
}

/** Who builds it for others says so by the variables of Debian's own tools. */
function maintainer() {
  const { DEBFULLNAME: name = 'The overlay-boot authors', DEBEMAIL: mail = 'overlay-boot@localhost' } =
    process.env;
  return `${name} <${mail}>`;
}

/**
 * DEBIAN/: what dpkg reads.
 * @param {string} root
 * @param {string} version
 * @param {string} architecture
 */
function addControl(root, version, architecture) {
  const files = filesBelow(root);
  const bytes = files.reduce((sum, file) => sum + Math.max(1024, size(join(root, file)) ?? 0), 0);
  const values = new Map([
    ['VERSION', version],
    ['ARCH', architecture],
    ['MAINTAINER', maintainer()],
    ['SIZE', String(Math.ceil(bytes / 1024))],
    ['LIBRARIES', librariesOf(join(top, 'dist/prebuilds', `linux-${process.arch}`))],
  ]);
  const control = source('src/make/deb/control').replace(/@(\w+)@/g, (_, name) => values.get(name) ?? '');
  put(root, 'DEBIAN/control', control);
  const conffiles = installed.filter(({ to }) => to.startsWith('etc/')).map(({ to }) => `/${to}\n`);
  put(root, 'DEBIAN/conffiles', conffiles.join(''));
  put(root, 'DEBIAN/triggers', source('src/make/deb/triggers'));
  for (const script of scripts) put(root, `DEBIAN/${script}`, source(`src/make/deb/${script}`), 0o755);
  const regular = files
    .filter((file) => !file.startsWith('etc/') && size(join(root, file)) !== undefined)
    .sort();
  put(root, 'DEBIAN/md5sums', output('sh', '-c', `cd "$0" && md5sum "$@"`, root, ...regular).concat('\n'));
}

/** Bytes of a file; none of a link. */
function size(/** @type {string} */ file) {
  const stat = lstatSync(file);
  return stat.isFile() ? stat.size : undefined;
}

/**
 * What the native parts have to find, as a list for Depends.
 * @param {string} folder
 */
function librariesOf(folder) {
  const headers = readdirSync(folder).map((file) => output('objdump', '-p', join(folder, file)));
  const text = headers.join('\n');
  const versions = [...text.matchAll(/ GLIBC_([\d.]+)$/gm)].map(([, version = '']) => version);
  const [libc = '2.28'] = versions.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  const packages = [...text.matchAll(/^ *NEEDED +(\S+)$/gm)].map(([, library = '']) => {
    const name = libraryPackages.get(library);
    if (name === undefined) throw new Missing(`${library}: of which package is it? Tell src/make/deb.mjs`);
    return name === 'libc6' ? `libc6 (>= ${libc})` : name;
  });
  return [...new Set(packages)].sort().join(', ');
}
