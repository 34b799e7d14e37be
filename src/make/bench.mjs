// npm run bench: brings what overlay-boot is compared with, then measures (test/bench/run.ts).
import { join } from 'node:path';
import { environment, requireHost, setUp, top } from './set-up.mjs';
import { attempt, runMake } from './shell.mjs';

runMake('npm run bench', () => {
  process.umask(0o022);
  requireHost('20');
  setUp(['run', 'bench']);
  const argv = [process.execPath, '--import=tsx', join(top, 'test/bench/run.ts'), ...process.argv.slice(2)];
  return attempt(argv, { cwd: top, env: environment, typed: 'npx tsx test/bench/run.ts' }).ok ? 0 : 1;
});
