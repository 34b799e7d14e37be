// npm test: brings what is missing, checks the code, runs every test, and says in the last line how it went.
import { lint } from './lint.mjs';
import { announce, requireHost, setUp } from './set-up.mjs';
import { runMake, say } from './shell.mjs';
import { addUp, inWords, mochaRun } from './test-runs.mjs';

const leastNode = '20.19'; // mocha 12's

runMake('npm test', () => {
  process.umask(0o022);
  requireHost(leastNode);
  setUp(['run', 'test', 'deb', 'vm']);
  announce('lint');
  const parts = [{ name: 'lint', counts: lint() }];
  for (const folder of ['unit', 'cli', 'root', 'vm']) {
    announce(`test/${folder}`);
    parts.push({ name: folder, counts: mochaRun(folder) });
  }
  announce('in all: lint checks and tests');
  for (const { name, counts } of parts) say(`${name}: ${inWords(counts)}`);
  const { passed, failed } = addUp(parts.map(({ counts }) => counts));
  say(`\n${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
});
