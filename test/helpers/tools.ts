/** Small programs of the tests, and overlay-boot with one of them around its launcher. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { PROJECT, type Sandbox } from './namespaces.js';

/** The path of the program made from NAME.c beside this file: seen in the sandbox too, and gone with it. */
export function toolFor(sandbox: Sandbox, name: string): string {
  const program = join(sandbox.diskdir, name);
  if (!existsSync(program))
    execFileSync('gcc', ['-O1', '-static', '-o', program, join(__dirname, `${name}.c`)]);
  return program;
}

/** The command line of reset-driver.ts: in a bundle beside the init program, as the commands are. */
export function resetProgram(sandbox: Sandbox): string[] {
  const home = join(sandbox.diskdir, 'reset');
  const outfile = join(home, 'cli/reset.js');
  if (!existsSync(outfile)) {
    mkdirSync(home);
    symlinkSync(join(PROJECT, 'dist/init'), join(home, 'init'));
    const entryPoints = [join(__dirname, 'reset-driver.ts')];
    buildSync({ entryPoints, outfile, bundle: true, platform: 'node', format: 'cjs', logLevel: 'warning' });
  }
  return [process.execPath, outfile];
}

/** overlay-boot, or overlay-stop, with its launcher, and what that forks, started by `wrapper`. */
export const bootWrapped = (
  sandbox: Sandbox,
  wrapper: readonly string[],
  args: readonly string[],
  command = 'overlay-boot',
): string[] => [
  toolFor(sandbox, 'start-wrapped'),
  join(PROJECT, 'dist/init'),
  join(PROJECT, `dist/cli/${command}.js`),
  String(wrapper.length),
  ...wrapper,
  ...args,
];
