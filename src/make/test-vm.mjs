// npm run test:vm: brings the emulator, then tries the packages on whole machines (test/vm). The images of these are
// made once, from Debian's archive, and kept in /var/cache/overlay-boot-test/vm. They run side by side.
import { announce, requireHost, setUp } from './set-up.mjs';
import { runMake, say } from './shell.mjs';
import { inWords, mochaRun } from './test-runs.mjs';

runMake('npm run test:vm', () => {
  process.umask(0o022);
  requireHost('20.19');
  setUp(['run', 'deb', 'vm']);
  announce('test/vm');
  const counts = mochaRun('vm');
  say(`\n${inWords(counts)}`);
  return counts.failed === 0 ? 0 : 1;
});
