/** What a subhost prints comes to its log, all of it and in order; its end is the log's last line. */
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';

const TOP = join(__dirname, '../..');
const LINES = 20_000;

describe('the log', () => {
  const subhosts = useSubhosts();

  const numbered = (name: string): string[] =>
    subhosts
      .log(name)
      .split('\n')
      .filter((line) => /^n \d+$/.test(line));
  const expected = Array.from({ length: LINES }, (_, i) => `n ${i + 1}`);
  const print = `i=0; while [ $i -lt ${LINES} ]; do i=$((i + 1)); echo "n $i"; done`;

  for (const [where, redirection] of [
    ['stdout', ''],
    ['stderr', '>&2'],
    ['the console', '>/dev/console'],
  ])
    it(`has every one of ${LINES} lines that a service prints to ${where}, in order`, async () => {
      const services = { loud: `#!/bin/sh\n[ "$1" = start ] || exit 0\n{ ${print}; } ${redirection}\n` };
      await subhosts.up('loud', { START: '/loud' }, { services });
      await eventually('they have come', () => numbered('loud').length === LINES);
      expect(numbered('loud')).to.deep.equal(expected);
    });

  it('is no empty file that somebody has put there before, who could read it', async () => {
    const log = '/var/log/overlay-boot/early.log';
    await subhosts.sandbox.sh(`touch ${log}; chmod 666 ${log}; chown 65534:65534 ${log}`);
    await subhosts.up('early');
    expect(await subhosts.sandbox.sh(`stat -c '%a %u:%g' ${log}`)).to.equal('640 0:0\n');
    await subhosts.stop('--kill', 'early');
  });

  it('goes on in a running subhost when logrotate has put what there was aside', async () => {
    const services = { loud: '#!/bin/sh\n[ "$1" = start ] && echo started\n' };
    await subhosts.up('rotated', { START: '/loud' }, { services });
    // As /etc/logrotate.d has it: root's own.
    const conf = join(TOP, 'conf.d/logrotate');
    await subhosts.sandbox.sh(
      `install -m 644 ${conf} /run/rotate; logrotate --state /run/rotated --force /run/rotate`,
    );
    const rotated = 'zcat /var/log/overlay-boot/rotated.log-*.gz';
    expect(await subhosts.sandbox.sh(rotated)).to.equal('started\n');
    expect(subhosts.log('rotated')).to.equal('');
    await subhosts.inside('rotated', 'echo more >/dev/console');
    await eventually('it is logged', () => subhosts.log('rotated') === 'more\n');
  });

  it('has what pid 1 prints in its last moment, and then how it ended', async () => {
    const hooks = { init: '#!/bin/sh\necho exec /last\n' };
    const services = {
      last: `#!/bin/sh\nuntil [ -e /go ]; do :; done\n${print}\nprintf "no newline"\nexit 3\n`,
    };
    await subhosts.up('last', { INIT: 'init' }, { hooks, services });
    const { keeper } = subhosts.record('last') ?? {};
    await subhosts.inside('last', 'touch /go');
    await subhosts.sandbox.sh(`while kill -0 ${keeper?.pid} 2>/dev/null; do sleep 0.05; done`);
    expect(numbered('last')).to.deep.equal(expected);
    expect(subhosts.log('last').trimEnd().split('\n').slice(-2)[0]).to.equal('no newline');
    expect(subhosts.log('last')).to.match(/Z overlay-boot: last: ended: pid 1 exited with status 3\n$/);
  });
});
