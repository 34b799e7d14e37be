// npm run bench: brings what overlay-boot is compared with, then measures (test/bench/run.ts).
import { join } from 'node:path';
import { environment, requireHost, setUp, top } from './set-up.mjs';
import { attempt, runMake } from './shell.mjs';

runMake('npm run bench', () => {
  process.umask(0o022);
  requireHost('20');
  setUp(['run', 'bench']);
  const options = process.argv.slice(2);
  const argv = [process.execPath, '--import=tsx', join(top, 'test/bench/run.ts'), ...options];
  // JSON has stdout for itself.
  const typed = options.includes('--json') ? '' : ['npx tsx test/bench/run.ts', ...options].join(' ');
  return attempt(argv, { cwd: top, env: environment, typed }).ok ? 0 : 1;
});
