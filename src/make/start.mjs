// npm start: brings what is missing, then does the main job once, as an admin would type it.
import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { firstFitForUpper } from './host.mjs';
import { announce, environment, requireHost, setUp, top } from './set-up.mjs';
import { attempt, commandLine, Missing, runMake, say } from './shell.mjs';

/** Directories of root's for the demo's copy, in order of preference. */
const demoParents = ['/var/lib/overlay-boot', '/opt', '/dev/shm'];

runMake('npm start', () => {
  process.umask(0o022);
  requireHost('20');
  setUp(['run']);
  demo();
  say(whatToTryNext());
  return 0;
});

/** Boots a copy of examples/copy, looks at it from outside and inside, stops it, and removes it. */
function demo() {
  const dir = makeDemoDirectory();
  const conf = join(dir, 'copy/copy.conf');
  const env = { ...environment, PATH: `${join(top, 'bin')}:${environment.PATH}` };
  const type = (/** @type {string[]} */ ...argv) => {
    const { ok, ending } = attempt(argv, { cwd: dir, env });
    if (!ok) throw new Missing(`${commandLine(argv)}: ${ending}, its reason is above`);
    say();
  };
  let booted = false;
  try {
    announce("a subhost that overlays this host's own root, from a copy of examples/copy");
    say(`# PATH=${join(top, 'bin')}:$PATH`);
    type('cp', '-r', join(top, 'examples/copy'), dir);
    type('cat', conf);
    announce('boot it and look at it');
    type('overlay-boot', '--mkdir', conf);
    booted = true; // a boot that failed has undone itself, and a `copy` that ran before is not ours to stop
    type('overlay-status');
    announce(
      'run a command inside: its own host name, processes and network; what it writes stays in its own layer',
    );
    type(
      'overlay-go',
      'copy',
      'sh',
      '-c',
      'hostname; ps -e; ip -brief address; echo hello > /etc/made-inside',
    );
    type('cat', join(dir, 'copy/root/etc/made-inside'));
    type('sh', '-c', 'ls /etc/made-inside 2>/dev/null || echo "this host has no /etc/made-inside"');
    announce('stop it');
    type('overlay-stop', 'copy');
    booted = false;
  } finally {
    if (booted) attempt(['overlay-stop', conf], { env });
    // Whatever might still be mounted below is not followed.
    attempt(['rm', '-r', '--one-file-system', dir], { env });
  }
}

function makeDemoDirectory() {
  mkdirSync('/var/lib/overlay-boot', { recursive: true });
  const parent = firstFitForUpper(demoParents);
  if (parent === undefined)
    throw new Missing(
      `needs a file system that can hold an overlay's upper layer: ${demoParents.join(', ')} are themselves on an overlay`,
    );
  return mkdtempSync(join(parent, 'demo-'));
}

function whatToTryNext() {
  return `
== that was the main job; what to try next

A subhost of your own, as root, in five lines:

# PATH=${join(top, 'bin')}:$PATH
# mkdir -p /opt/subhost/mine
# echo 'BASE=.' > /opt/subhost/mine/mine.conf
# overlay-boot --mkdir /opt/subhost/mine/mine.conf
# overlay-go mine

overlay-stop mine ends it. More subhosts that boot as they are: examples/*/README.md.
Every variable and option: man ./man/overlay-boot.8. All tests: npm test.
`;
}
