/**
 * Brings what is missing: Debian packages, npm packages, the build. Node's own modules only, since before
 * it has run there are no others.
 */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  completePath,
  hasOverlay,
  headersPrefix,
  isAtLeast,
  isDebian,
  isThere,
  mayMount,
  readIfThere,
} from './host.mjs';
import { missingPackages } from './packages.mjs';
import { attempt, Missing, say } from './shell.mjs';

/** The top of the project. */
export const top = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Our environment with a PATH that a root shell would have, this Node first: the shims in bin/ look for it. */
export const environment = {
  ...process.env,
  PATH: completePath(process.env.PATH, [dirname(process.execPath)]),
};

/**
 * Refuses in one line, before anything is brought, what bringing would not mend.
 * @param {string} leastNode
 */
export function requireHost(leastNode) {
  const lacks = [
    ...(isAtLeast(process.version, leastNode)
      ? []
      : [`Node ${leastNode} or later (this is ${process.version})`]),
    ...(process.geteuid?.() === 0 ? lackingForRoot() : ['root: log in as root, or use sudo']),
  ];
  if (lacks.length > 0) throw new Missing(`needs ${lacks.join('; and ')}`);
}

/** @returns {string[]} */
function lackingForRoot() {
  if (!mayMount(readFileSync('/proc/self/status', 'utf8')))
    return [
      'the capability to mount (CAP_SYS_ADMIN): this root has not got it, as in an unprivileged container',
    ];
  if (!overlayIsThere()) return ['overlayfs: this kernel has none (modprobe overlay did not help)'];
  return [];
}

function overlayIsThere() {
  const there = () => hasOverlay(readFileSync('/proc/filesystems', 'utf8'));
  return there() || (attempt(['modprobe', 'overlay'], { env: environment, quiet: true }).ok && there());
}

/**
 * Packages, npm packages and the build, as far as they are missing.
 * @param {readonly import('./packages.mjs').Purpose[]} purposes  besides npm and build
 */
export function setUp(purposes) {
  const npmDue = npmIsDue();
  const buildDue = npmDue || buildIsDue();
  /** @type {import('./packages.mjs').Purpose[]} */
  const due = [...purposes];
  if (npmDue) due.push('npm');
  if (buildDue) due.push('build');
  const packages = missing(due);
  if (packages.length > 0 || buildDue) announce('bring what is missing');
  if (packages.length > 0) bringPackages(packages);
  const still = missing(due);
  if (still.length > 0) throw new Missing(`${still.join(' ')}: installed, but without what was looked for`);
  if (npmDue) bringNpmPackages();
  if (buildDue) build();
}

/** @param {readonly import('./packages.mjs').Purpose[]} purposes */
function missing(purposes) {
  return missingPackages(purposes, (find) => isThere(find, environment.PATH));
}

/**
 * apt-get install; the lists are fetched first where there are none, and again where they may be out of date.
 * @param {readonly string[]} packages
 */
function bringPackages(packages) {
  const list = packages.join(' ');
  if (!isDebian(readIfThere('/etc/os-release')))
    throw new Missing(`this is not Debian: install what its packages ${list} bring`);
  const env = { ...environment, DEBIAN_FRONTEND: 'noninteractive' };
  const get = (/** @type {string[]} */ ...argv) => attempt(['apt-get', '-q', ...argv], { env, quiet: true });
  const install = () => get('install', '-y', '--no-install-recommends', ...packages);
  // Without the option a failed download is a warning and exit 0, apt.conf(5).
  const update = () => get('update', '-o', 'APT::Update::Error-Mode=any');
  const listsAreThere = readdirIfThere('/var/lib/apt/lists').some((file) => file.includes('_Packages'));
  let result = listsAreThere ? install() : undefined;
  if (!result?.ok) {
    result = update();
    if (result.ok) result = install();
  }
  if (!result.ok)
    throw new Missing(
      `cannot get the Debian packages ${list}: apt-get: ${aptReason(result.output)}${networkHint(result.output)}`,
    );
}

/**
 * The first error of apt-get's output.
 * @param {string} output
 */
export function aptReason(output) {
  const lines = output.split('\n').map((line) => line.trim());
  const line =
    lines.find((text) => text.startsWith('E: ')) ?? lines.filter(Boolean).at(-1) ?? 'no reason given';
  return line.replace(/^E: /, '');
}

/**
 * The line of npm's output that tells most.
 * @param {string} output
 */
export function npmReason(output) {
  const errors = [...output.matchAll(/^npm (?:error|ERR!) +(.+)$/gm)].map(([, text = '']) => text);
  const telling = errors.find((text) => /^(network |request to |gyp ERR! stack Error)/.test(text));
  return (
    telling ??
    errors.find((text) => !/^(code|errno|syscall|path) /.test(text)) ??
    errors[0] ??
    'no reason given'
  );
}

/**
 * What to say after the reason, where the output looks like that of a machine without a network.
 * @param {string} output  of apt-get or npm
 */
export function networkHint(output) {
  const signs =
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ETIMEDOUT|Could not (resolve|connect)|Temporary failure|network connectivity/;
  return signs.test(output) ? ': is there a network?' : '';
}

/**
 * Is node_modules missing, older than the lock file, or not compiled?
 * @param {string} dir  the top of the project
 */
export function npmIsDue(dir = top) {
  const installed = modifiedMs(join(dir, 'node_modules/.package-lock.json'));
  // Without esbuild it was installed for production only; without pty.node with --ignore-scripts.
  const parts = ['node_modules/esbuild', 'node_modules/node-pty/build/Release/pty.node'];
  return (
    installed < modifiedMs(join(dir, 'package-lock.json')) ||
    parts.some((part) => !existsSync(join(dir, part)))
  );
}

function bringNpmPackages() {
  const nodedir = headersPrefix(realpathSync(process.execPath), process.version);
  // npm tells us where it is; the first `npm` on PATH may belong to another Node.
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm'];
  const result = attempt([...npm, 'ci', '--no-audit', '--no-fund'], {
    cwd: top,
    env: { ...environment, ...(nodedir && { npm_config_nodedir: nodedir }) },
    quiet: true,
    typed: nodedir ? `npm_config_nodedir=${nodedir} npm ci` : 'npm ci',
  });
  if (!result.ok)
    throw new Missing(
      `cannot get the npm packages: npm ci: ${npmReason(result.output)}${networkHint(result.output)}`,
    );
}

/**
 * Are the sources newer than dist/?
 * @param {string} dir  the top of the project
 */
export function buildIsDue(dir = top) {
  const built = modifiedMs(join(dir, 'dist/.built'));
  const sources = [
    'package.json',
    'package-lock.json',
    ...filesBelow(join(dir, 'src')).map((file) => join('src', file)),
  ];
  return sources.some((file) => modifiedMs(join(dir, file)) > built);
}

function build() {
  const result = attempt([process.execPath, join(top, 'src/make/build.mjs')], {
    env: environment,
    typed: 'npm run build',
  });
  if (!result.ok) throw new Missing(`the build failed (${result.ending}), its reason is above`);
}

/**
 * Every file below dir, relative to it; none where dir is missing.
 * @param {string} dir
 * @returns {string[]}
 */
export function filesBelow(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? filesBelow(join(dir, entry.name)).map((file) => join(entry.name, file))
      : [entry.name],
  );
}

/**
 * Modification time in milliseconds since 1970; 0 where there is no such file.
 * @param {string} file
 */
function modifiedMs(file) {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** @param {string} dir */
function readdirIfThere(dir) {
  return existsSync(dir) ? readdirSync(dir) : [];
}

/** Says what is being set up, when anything is. */
export function announce(/** @type {string} */ what) {
  say(`\n== ${what}\n`);
}
