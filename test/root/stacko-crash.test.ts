/** stacko commands that are killed at each of their steps, and several at once: the old state or the new one. */
import { join } from 'node:path';
import { expect } from 'chai';
import { spread } from '../helpers/kills.js';
import { type Completed, eventually, useSandbox } from '../helpers/namespaces.js';
import { resetProgram } from '../helpers/tools.js';

const WAFERS = '/srv/t/w';
const STACKS = '/srv/t/m';
const COUNT = '/srv/t/count';
const DIE_AT = join(__dirname, '..', 'helpers', 'die-at.cjs');
/** Of each command so many steps are tried, evenly spread; all where there are fewer. */
const STEPS = 6;

describe('stacko, killed and at once', () => {
  const sandbox = useSandbox();
  const env = { WAFERS, STACKS };
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const run = (args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Completed> => {
    const argv = args[0] === 'reset' ? [...resetProgram(sandbox()), ...args.slice(1)] : ['stacko', ...args];
    return sandbox().run(argv, { env: { ...env, ...more } });
  };
  /** Everything of the store but times, and what the kernel has in work directories. */
  const store = (): Promise<string> =>
    sh(
      'cd "$WAFERS"; find . -path "./*work/*" -o -printf "%y %p %l %m %U\\n" | sort; find . -type f | sort | xargs grep -H ""',
    );
  const unmountAll = (): Promise<string> =>
    sh(`findmnt -rno TARGET | grep "^${STACKS}/" | sort -r | while read -r at; do umount "$at"; done`);
  /** Points `p` (b, before it a, an instance of c) and `q`; an open image; an archive. */
  const PREPARE = `mkdir -p "$STACKS" /srv/t/t
    for i in a b c; do
      stacko new-image $i; stacko edit-image $i; echo $i >"$STACKS/$i/f"; stacko close-image $i
    done
    stacko new-image open b; stacko edit-image open; umount "$STACKS/open"; stacko new-image free
    stacko new-stackpoint p a; stacko cutover-stackpoint p b
    stacko new-stackpoint-instance p c; echo kept >"$WAFERS/c@p/data/kept"
    stacko new-stackpoint q a
    echo x >/srv/t/t/x; tar -C /srv/t/t -cf /srv/t/in.tar .`;

  before(async () => {
    await sh(PREPARE);
    await sh('cp -a "$WAFERS" /srv/t/saved');
  });

  const restore = async (prepare: string): Promise<void> => {
    await unmountAll();
    await sh(`rm -rf "$WAFERS" "$STACKS"; cp -a /srv/t/saved "$WAFERS"; mkdir "$STACKS"; ${prepare}`);
  };

  const commands: readonly [string, readonly string[], string][] = [
    ['new-image', ['new-image', 'new', 'a'], ''],
    ['edit-image', ['edit-image', 'free'], ''],
    ['close-image', ['close-image', 'open'], 'stacko edit-image open'],
    ['delete-image', ['delete-image', 'free'], ''],
    ['import-image', ['import-image', '/srv/t/in.tar'], ''],
    ['new-stackpoint', ['new-stackpoint', 'new', 'a'], ''],
    ['cutover to a new instance', ['cutover-stackpoint', 'q', 'c'], 'stacko mount-stackpoint q'],
    ['cutover to one that is there', ['cutover-stackpoint', 'p', 'c'], 'stacko mount-stackpoint p'],
    ['fallback', ['fallback-stackpoint', 'p'], 'stacko mount-stackpoint p'],
    ['delete-stackpoint-instance', ['delete-stackpoint-instance', 'p', 'a'], ''],
    ['delete-stackpoint', ['delete-stackpoint', 'p'], ''],
    ['reset', ['reset', 'p', 'c'], ''],
  ];
  for (const [title, args, prepare] of commands)
    it(`a SIGKILL at each step of ${title} leaves the old state or the new one`, async () => {
      await restore(prepare);
      const old = await store();
      const NODE_OPTIONS = `--require=${DIE_AT}`;
      expect(await run(args, { NODE_OPTIONS, DIE_COUNT: COUNT })).to.include({ code: 0, stderr: '' });
      const now = await store();
      const steps = Number(await sandbox().readFile(COUNT));
      expect(steps).to.be.greaterThan(3);
      const seen = new Set<string>();
      for (const step of spread(1, steps, STEPS)) {
        await restore(prepare);
        const { signal, code } = await run(args, { NODE_OPTIONS, DIE_AT: String(step) });
        expect(signal ?? code, `step ${step}`).to.be.oneOf(['SIGKILL', 137]);
        // Whatever changes the store next clears it.
        await sh('stacko umount-stackpoint q');
        const found = await store();
        expect(
          found === old || found === now,
          `after step ${step} of ${steps}:\n${found}\ninstead of\n${old}\nor\n${now}`,
        ).to.equal(true);
        seen.add(found);
        expect(await sh('stacko list-images; stacko list-stackpoints; wafers tree')).not.to.include('broken');
        for (const point of ['p', 'q'])
          if (found.includes(`./points/${point} `))
            await sh(`stacko mount-stackpoint ${point}; cat ${STACKS}/${point}/f`);
      }
      expect(seen.has(old), 'the first step is early enough').to.equal(true);
    }).timeout(120_000);

  it('a SIGTERM, SIGINT or SIGHUP at any step of a cutover comes too early or too late: the point is mounted', async () => {
    const args = ['cutover-stackpoint', 'q', 'c'];
    const prepare = 'stacko mount-stackpoint q';
    const NODE_OPTIONS = `--require=${DIE_AT}`;
    await restore(prepare);
    const old = await store();
    await run(args, { NODE_OPTIONS, DIE_COUNT: COUNT });
    const now = await store();
    const steps = Number(await sandbox().readFile(COUNT));
    const outcomes = new Set<string>();
    for (const [i, step] of spread(1, steps, 9).entries()) {
      await restore(prepare);
      const DIE_BY = ['SIGTERM', 'SIGINT', 'SIGHUP'][i % 3] ?? '';
      const { code, signal } = await run(args, { NODE_OPTIONS, DIE_AT: String(step), DIE_BY });
      const title = `${DIE_BY} at step ${step} of ${steps}: ${code ?? signal}`;
      const served = await sh(`cat ${STACKS}/q/f; stacko umount-stackpoint p >/dev/null`);
      const found = await store();
      expect(found, title).to.be.oneOf(code === 0 ? [now] : [old, now]);
      expect(served, title).to.equal(found === now ? 'c\n' : 'a\n');
      if (code === 0) outcomes.add('done');
    }
    expect(outcomes).to.include('done');
  }).timeout(120_000);

  it('of several cutovers at once each is done whole, one after the other', async () => {
    await restore('stacko mount-stackpoint p');
    for (let round = 0; round < 3; round++) {
      const all = await Promise.all(['a', 'b', 'c'].map((image) => run(['cutover-stackpoint', 'p', image])));
      expect(all.map(({ code }) => code)).to.deep.equal([0, 0, 0]);
      for (const { stderr } of all) expect(stderr).to.match(/^(stacko: waiting for .*\n)?$/);
      const [point] = JSON.parse((await run(['list-stackpoints', '--json'])).stdout) as [{ image: string }];
      expect(await sh(`cat ${STACKS}/p/f`)).to.equal(`${point.image}\n`);
    }
  }).timeout(60_000);

  it('waits for who changes the store, and says who it is', async () => {
    await restore('');
    const holder = sandbox().spawn(['flock', WAFERS, 'sh', '-c', 'echo locked; read -r _']);
    await eventually('it is locked', () => holder.stdout.includes('locked'));
    const waiting = sandbox().spawn(['stacko', 'new-image', 'new'], { env });
    await eventually('it waits', () => /^stacko: waiting for .*flock .*\(pid \d+\)/.test(waiting.stderr));
    expect((await run(['list-images'])).code).to.equal(0);
    holder.child.stdin?.end('\n');
    expect(await waiting.completed()).to.include({ code: 0, stdout: 'image new made\n' });
    await holder.completed();
  });

  it('of several that make the same image at once, one makes it', async () => {
    await restore('');
    const all = await Promise.all(Array.from({ length: 4 }, () => run(['new-image', 'new'])));
    expect(all.map(({ code }) => code).sort()).to.deep.equal([0, 2, 2, 2]);
  });
});
