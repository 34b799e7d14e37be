/** Root inside against who boots, enters and types. */
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { PROJECT } from '../helpers/namespaces.js';
import { AtTerminal } from '../helpers/overlay-go.js';
import { useSubhosts } from '../helpers/subhosts.js';
import { toolFor } from '../helpers/tools.js';

describe('root inside attacks who boots and enters it', () => {
  const subhosts = useSubhosts();

  it('what it types into its terminal does not reach the one that overlay-go was called from', async () => {
    const { sandbox } = subhosts;
    const tool = toolFor(sandbox, 'type-into');
    await subhosts.up('a');
    copyFileSync(tool, subhosts.outside(`${subhosts.base('a')}/root/type-into`));
    /** What the caller's shell reads next, after the program has typed "forged" there, and somebody "mine". */
    const readAfter = async (program: string): Promise<string> => {
      const terminal = new AtTerminal(sandbox, [
        'sh',
        '-c',
        `${program} forged; echo back; read -r line; echo "got:$line."`,
      ]);
      try {
        await terminal.sees(/back/);
        terminal.type('mine\r');
        await terminal.sees(/got:\w*\./);
        return /got:(\w*)\./.exec(terminal.text)?.[1] ?? '';
      } finally {
        terminal.hangUp();
      }
    };
    expect(await readAfter('overlay-go a /type-into')).to.equal('mine');
    // The check can fail.
    expect(await readAfter(tool)).to.match(/^forged/);
  }).timeout(40_000);

  it('a service that writes to all that pid 1 has open does not make the subhost ready', async () => {
    const forger = `#!/bin/sh
for fd in /proc/1/fd/*; do
  for word in ready DONE READY 1 /forger; do printf '%s\\n\\0\\0\\0\\0\\0\\0\\6\\0' $word >$fd; done
done 2>/dev/null
ls -d /run/overlay-boot >/var/seen 2>/dev/null
sleep 1000
`;
    const conf = await subhosts.make('a', { START: '/forger' }, { services: { forger } });
    const { code, stdout, stderr } = await subhosts.boot(['--timeout', '3', conf]);
    expect({ code, stdout }, stderr).to.deep.equal({ code: 1, stdout: '' });
    expect(stderr).to.match(/^overlay-boot: a: not ready within 3 s: it was at: start/);
    expect(subhosts.file(`${subhosts.base('a')}/root/var/seen`)).to.equal('');
    expect(subhosts.record('a')).to.equal(undefined);
  }).timeout(20_000);

  it('a directory that becomes a link, again and again, leads nobody who enters it out', async () => {
    await subhosts.up('a');
    await subhosts.inside('a', 'mkdir -p /real /srv/t; ln -s /real /flip');
    writeFileSync(subhosts.outside('/srv/t/host-marker'), '');
    const flip = `while :; do
      for to in /real /srv/t /proc/1/root/srv/t /../../../../srv/t /proc/self/cwd/../../../../srv/t; do
        ln -s $to /new && mv -fT /new /flip
      done
    done`;
    const flipper = subhosts.sandbox.spawn(['overlay-go', 'a', 'sh', '-c', flip]);
    const look = 'if [ -e host-marker ]; then echo out; else echo in; fi';
    // Mostly by what overlay-go hands it to: a thousand Nodes would take minutes.
    const pid = subhosts.pid1('a');
    const stat = await subhosts.sandbox.readFile(`/proc/${pid}/stat`);
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const init = `${join(PROJECT, 'dist/init')} enter --name a --pid ${pid} --start ${start} --dir /flip --`;
    const tries = `for i in $(seq 5); do overlay-go -w /flip a sh -c '${look}' 2>/dev/null || :; done
      for i in $(seq 1000); do ${init} sh -c '${look}' 2>/dev/null || :; done`;
    const { stdout: said } = await subhosts.sandbox.run(['timeout', '20', 'sh', '-c', tries]);
    flipper.kill('SIGTERM');
    await flipper.completed();
    await subhosts.sandbox.sh('rm /srv/t/host-marker');
    expect(said).not.to.include('out');
    expect(said.match(/in/g) ?? []).to.have.length.greaterThan(20);
  }).timeout(60_000);
});
