// Builds dist/: the bundled commands (esbuild) and the static init program (musl-gcc).
// One bundle per command keeps the start quick; the outside packages stay in files of their own, loaded
// only on the path that uses them (see "doors" below).
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** The one file for each outside package: its own bundle, required when first called for. */
const doors = ['net/rtnetlink', 'sys/run', 'sys/pty', 'sys/usage', 'config/settings-file'];
const commands = readdirSync(join(root, 'src/cli'))
  .filter((file) => /^(overlay-|wafers|stacko|boxctl|mount\.)/.test(file))
  .map((file) => `cli/${file.replace(/\.ts$/, '')}`);

/** Compiles src/init/*.c to dist/init, static and small. */
export function buildInit() {
  const dir = join(root, 'src/init');
  const sources = readdirSync(dir)
    .filter((file) => file.endsWith('.c'))
    .map((file) => join(dir, file));
  const multiarch = execFileSync('gcc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
  // musl-gcc does not see the kernel's headers; they come after its own, so that only linux/ and asm/ are found.
  const kernelHeaders = ['-idirafter', '/usr/include', '-idirafter', `/usr/include/${multiarch}`];
  const flags = ['-std=gnu17', '-Os', '-Wall', '-Wextra', '-Werror', '-static', '-s', '-ffunction-sections', '-fdata-sections'];
  const link = ['-Wl,--gc-sections', '-Wl,-z,norelro', '-Wl,--build-id=none'];
  execFileSync('musl-gcc', [...flags, ...kernelHeaders, ...sources, ...link, '-o', join(root, 'dist/init')], {
    stdio: 'inherit',
  });
}

async function buildCommands() {
  await build({
    absWorkingDir: root,
    entryPoints: [...doors, ...commands].map((name) => ({ in: `src/${name}.ts`, out: name })),
    outdir: 'dist',
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    // node-pty finds its native part relative to its package; a door stays a require() of its own file.
    external: ['node-pty', ...doors.map((name) => `../${name}.js`)],
    define: { OVERLAY_BOOT_VERSION: JSON.stringify(version) },
    // A require() of the door, not an import(): that would start Node's module loader for it.
    supported: { 'dynamic-import': false },
    logLevel: 'warning',
  });
  // netlink looks for its native part in prebuilds/ one folder above the file that asks.
  cpSync(join(root, 'node_modules/netlink/prebuilds'), join(root, 'dist/prebuilds'), { recursive: true });
}

rmSync(join(root, 'dist'), { recursive: true, force: true });
mkdirSync(join(root, 'dist'), { recursive: true });
buildInit();
await buildCommands();
