/** stacko where somebody else has had a hand in it: mounts below a point, files in its place, parts of it removed. */
import { expect } from 'chai';
import { useSandbox } from '../helpers/namespaces.js';

const WAFERS = '/srv/t/w';
const STACKS = '/srv/t/m';

describe('stacko, and what others do by hand', () => {
  const sandbox = useSandbox();
  const env = { WAFERS, STACKS };
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const run = async (argv: readonly string[]) => {
    const { code, stdout, stderr } = await sandbox().run(argv, { env });
    return { code, stdout, stderr };
  };
  const stacko = (...args: readonly string[]) => run(['stacko', ...args]);
  const printed = (...lines: readonly string[]) => ({ code: 0, stdout: `${lines.join('\n')}\n`, stderr: '' });
  const refused = (line: string, code = 1) => ({ code, stdout: '', stderr: `stacko: ${line}\n` });
  const store = (): Promise<string> =>
    sh('cd "$WAFERS"; find . -path "./*work/*" -o -printf "%y %p %l %m\\n" | sort');
  const mounts = (): Promise<string> => sh(`findmnt -rno TARGET,FSTYPE | grep "^${STACKS}/" | sort || true`);

  beforeEach(async () => {
    await sh(
      'for i in a b; do stacko new-image $i; echo $i >"$WAFERS/$i/data/f"; done; stacko new-stackpoint p a',
    );
  });
  afterEach(async () => {
    await sh(
      `findmnt -rno TARGET | grep "^${STACKS}/" | sort -r | while read -r at; do umount "$at"; done; rm -rf /srv/t/*`,
    );
  });

  describe('mounts', () => {
    const others: readonly [string, string, string][] = [
      ['below the point', 'mkdir p/sub; mount -t tmpfs tmpfs p/sub', `${STACKS}/p/sub (tmpfs)`],
      ['upon the point', 'mount -t tmpfs tmpfs p', `${STACKS}/p (tmpfs)`],
      [
        'many of them',
        'for i in 1 2 3 4 5 6 7; do mkdir p/$i; mount -t tmpfs tmpfs p/$i; done',
        `${[1, 2, 3, 4, 5].map((i) => `${STACKS}/p/${i} (tmpfs)`).join(', ')} and 2 more`,
      ],
      [
        'an overlay of their own in place of the point',
        'umount p; mkdir -p p x/l x/u x/w; mount -t overlay o -o lowerdir=x/l,upperdir=x/u,workdir=x/w p',
        `${STACKS}/p (overlay)`,
      ],
      ['in place of the point', 'umount p; mkdir -p p; mount -t tmpfs tmpfs p', `${STACKS}/p (tmpfs)`],
    ];
    for (const [title, script, names] of others)
      it(`are in the way of a cutover and of a fallback: ${title}`, async () => {
        await sh('stacko cutover-stackpoint p b; stacko mount-stackpoint p');
        await sh(`cd ${STACKS}; ${script}`);
        const before = [await mounts(), await store()];
        const message = `${STACKS}/p is busy: somebody has mounted ${names} there: unmount that first`;
        expect(await stacko('cutover-stackpoint', 'p', 'a')).to.deep.equal(refused(message));
        expect(await stacko('fallback-stackpoint', 'p')).to.deep.equal(refused(message));
        expect([await mounts(), await store()]).to.deep.equal(before);
      });
  });

  const foreign: readonly [string, string][] = [
    ['a tmpfs', 'mkdir p a; mount -t tmpfs tmpfs p; mount -t tmpfs tmpfs a'],
    ['what a link leads to', 'mkdir x; mount -t tmpfs tmpfs x; ln -s x p; ln -s x a'],
    [
      'a tmpfs upon its own stack',
      'stacko mount-stackpoint p; stacko edit-image a --read-only; mount -t tmpfs tmpfs p; mount -t tmpfs tmpfs a',
    ],
    [
      'the stack of another point',
      'stacko new-stackpoint q a; stacko mount-stackpoint q; mkdir p a; mount --bind q p; mount --bind q a',
    ],
  ];
  for (const [title, script] of foreign)
    it(`takes ${title} for no stack of its own, and leaves it mounted`, async () => {
      await sh(`mkdir -p ${STACKS}; cd ${STACKS}; ${script}`);
      const before = await mounts();
      const busy = (name: string) =>
        new RegExp(
          `^stacko: ${STACKS}/${name} is busy: somebody has mounted .* there: unmount that first\\n$`,
        );
      for (const args of [
        ['mount-stackpoint', 'p'],
        ['umount-stackpoint', 'p'],
        ['edit-image', '--read-only', 'a'],
        ['close-image', 'a'],
      ]) {
        const { code, stderr } = await stacko(...args);
        expect({ code, args }).to.deep.equal({ code: 1, args });
        expect(stderr).to.match(busy(args.at(-1) ?? ''));
      }
      const asked = await stacko('is-stackpoint-mounted', 'p');
      expect([asked.code, asked.stdout]).to.deep.equal([2, '']);
      const [point] = JSON.parse((await stacko('list-stackpoints', '--json')).stdout) as {
        mounted: boolean;
      }[];
      expect(point?.mounted).to.equal(false);
      expect(await mounts()).to.equal(before);
    });

  it('removes an image whose data somebody else has removed', async () => {
    await sh('rm -r "$WAFERS/b/data"');
    expect(await stacko('delete-image', 'b')).to.deep.equal(printed('image b deleted'));
    expect(await sh('ls "$WAFERS"')).to.equal('a\na@p\npoints\n');
  });

  it('mounts nothing upon a directory that has files: nobody would see them', async () => {
    await sh(`mkdir -p ${STACKS}/p ${STACKS}/b; touch ${STACKS}/p/mine ${STACKS}/b/.mine`);
    const inTheWay = (name: string) =>
      `${STACKS}/${name} is not empty: the stack would be mounted there and hide what is in it: move that away`;
    expect(await stacko('mount-stackpoint', 'p')).to.deep.equal(refused(inTheWay('p')));
    expect(await stacko('edit-image', 'b')).to.deep.equal(refused(inTheWay('b')));
    expect(await sh(`cd ${STACKS}; ls -A p b; ls -A "$WAFERS/b"`)).to.equal(
      'b:\n.mine\n\np:\nmine\ndata\nsealed\nwork\n',
    );
    expect(await mounts()).to.equal('');
    await sh(`rm ${STACKS}/p/mine`);
    expect(await stacko('mount-stackpoint', 'p')).to.include({ code: 0 });
  });

  describe('a point of which something was removed', () => {
    const todo = (image: string): string =>
      `stacko cutover-stackpoint p ${image} makes it anew, without what was changed in it`;
    const back = '; fallback-stackpoint p goes back to a@p';
    const cases: readonly [string, string, string, boolean][] = [
      ['the instance', 'rm -r b@p', 'its instance "b@p" is gone', true],
      ['the data of the instance', 'rm -r b@p/data', 'its instance "b@p" has no data', true],
      ['all in the instance', 'rm -r b@p/*', 'its instance "b@p" has no data', true],
      ['the parent of the instance', 'rm b@p/parent', 'its instance "b@p" lies on no image', false],
      ['its image', 'rm -r b', '"b", which it lies on, is gone', false],
    ];
    for (const [title, script, why, mends] of cases)
      it(`is shown, and says what to do: ${title}`, async () => {
        await sh(`stacko cutover-stackpoint p b; cd "$WAFERS"; ${script}`);
        expect((await stacko('list-stackpoints')).stdout).to.match(
          new RegExp(`^POINT .* BROKEN\\np +b +a +2  - +${why}\\n$`),
        );
        const [row] = JSON.parse((await stacko('list-stackpoints', '--json')).stdout);
        expect(row).to.include({ name: 'p', image: 'b', broken: true, why });
        expect(await stacko('mount-stackpoint', 'p')).to.deep.equal(
          refused(
            `point "p" is broken: ${why}: ${mends ? todo('b') : 'stacko cutover-stackpoint p to another image'}${back}`,
          ),
        );
        expect(await stacko('is-stackpoint-mounted', 'p')).to.include({ code: 1 });
        expect(await stacko('umount-stackpoint', 'p')).to.deep.equal(printed('point p is not mounted'));
        if (mends) {
          expect(await stacko('cutover-stackpoint', 'p', 'b')).to.deep.equal(printed('point p is b@p'));
          expect((await stacko('list-stackpoints')).stdout).not.to.include('BROKEN');
          expect(
            await sh(`stacko mount-stackpoint p; cat ${STACKS}/p/f; stacko umount-stackpoint p`),
          ).to.match(/\nb\n/);
        }
        expect((await stacko('fallback-stackpoint', 'p')).stdout).to.equal('point p is a@p\n');
        expect(await stacko('delete-stackpoint', 'p')).to.deep.equal(printed('point p deleted'));
        expect(await sh('ls -A "$WAFERS/points"; ls -d "$WAFERS"/*@* 2>/dev/null || true')).to.equal('');
      });

    it('has no other instance to go back to: the message does not promise one', async () => {
      await sh('rm -r "$WAFERS/a@p"');
      expect((await stacko('mount-stackpoint', 'p')).stderr).to.equal(
        `stacko: point "p" is broken: its instance "a@p" is gone: ${todo('a')}\n`,
      );
      expect(await stacko('new-stackpoint-instance', 'p', 'a')).to.deep.equal(printed('instance a@p made'));
      expect(await stacko('mount-stackpoint', 'p')).to.include({ code: 0 });
    });

    it('does not fall back to what is gone, until that is out of the history', async () => {
      await sh(
        `stacko new-image c; stacko cutover-stackpoint p b; stacko cutover-stackpoint p c; rm -r "$WAFERS/b@p"`,
      );
      expect((await stacko('list-stackpoints')).stdout).to.match(
        /^p +c +b +3 +- +its fallback "b@p" is gone$/m,
      );
      expect(await stacko('fallback-stackpoint', 'p')).to.deep.equal(
        refused(
          'point "p" cannot fall back to b@p: its instance "b@p" is gone: stacko delete-stackpoint-instance p b takes it out of the history',
        ),
      );
      expect(await stacko('delete-stackpoint-instance', 'p', 'b')).to.deep.equal(
        printed('instance b@p deleted'),
      );
      expect(await stacko('fallback-stackpoint', 'p')).to.deep.equal(printed('point p is a@p'));
    });

    it('keeps a subhost from booting with an empty root', async () => {
      await sh(`rm -r "$WAFERS/a@p/data"; mkdir -p /opt/subhost/web
        printf '%s\\n' BASE=. STACK=p START=none >/opt/subhost/web/web.conf`);
      const { code, stderr } = await run(['overlay-boot', '--mkdir', '/opt/subhost/web/web.conf']);
      expect([code, stderr]).to.deep.equal([code === 2 ? 2 : 1, stderr]);
      expect(stderr).to.include(
        'point "p" is broken: its instance "a@p" has no data: stacko cutover-stackpoint p a',
      );
      expect(await sh('ls -A "$WAFERS/a@p"')).to.equal('parent\nwork\n');
    });

    it('is listed also when it is corrupt, and does not hide the others', async () => {
      await sh('stacko new-stackpoint q b; rm "$WAFERS/points/p/current"');
      const why = `point "p" is corrupt: no link ${WAFERS}/points/p/current: make it a link to one of the numbers beside it; or stacko delete-stackpoint p`;
      expect((await stacko('list-stackpoints')).stdout.replace(/ +/g, ' ')).to.equal(
        `POINT IMAGE FALLBACK GENERATION MOUNTED BROKEN\np - - - - ${why}\nq b - 1 - -\n`,
      );
      expect(await stacko('mount-stackpoint', 'p')).to.deep.equal(refused(why));
      expect((await stacko('list-images', '--tree')).stdout).to.equal('a\n└── a@p\nb\n└── b@q (current)\n');
      expect(await stacko('delete-stackpoint', 'p')).to.deep.equal(printed('point p deleted'));
    });
  });

  describe('a store that the caller may not read', () => {
    const asAnyone = (...argv: readonly string[]) =>
      run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', ...argv]);
    const reading = [
      ['list-images'],
      ['list-images', '--json'],
      ['list-images', '--tree'],
      ['list-stackpoints'],
      ['get-stackpoint-dir', 'p'],
      ['is-stackpoint-mounted', 'p'],
    ];
    // What is behind a closed door is never taken for nothing.
    for (const [title, script, path] of [
      ['none of it', 'chmod 700 "$WAFERS"', WAFERS],
      ['only its names', 'chmod 744 "$WAFERS"', WAFERS],
    ] as const)
      it(`is no empty one: ${title}`, async () => {
        await sh(script);
        const message = `${path}: cannot be read: be root`;
        for (const args of reading) {
          const code = args[0] === 'is-stackpoint-mounted' ? 2 : 1;
          expect(await asAnyone('stacko', ...args), args[0]).to.deep.equal(refused(message, code));
        }
        expect(await asAnyone('wafers', 'tree')).to.deep.equal({
          code: 1,
          stdout: '',
          stderr: `wafers: ${message}\n`,
        });
      });

    it('is named where a part of it is closed', async () => {
      await sh('chmod 755 "$WAFERS"; chmod 700 "$WAFERS/b"');
      expect((await asAnyone('stacko', 'list-images')).stderr).to.match(
        /^stacko: \/srv\/t\/w\/b\/\w+: cannot be read: be root\n$/,
      );
      await sh('chmod 700 "$WAFERS/points/p"');
      expect(await asAnyone('stacko', 'is-stackpoint-mounted', 'p')).to.deep.equal(
        refused(`${WAFERS}/points/p: cannot be read: be root`, 2),
      );
    });

    it('can be listed by anyone where it is open', async () => {
      await sh('chmod 755 "$WAFERS"');
      for (const args of reading)
        expect(await asAnyone('stacko', ...args)).to.include({
          code: args[0] === 'is-stackpoint-mounted' ? 1 : 0,
          stderr: '',
        });
    });

    it('is no directory: every command says so', async () => {
      await sh('touch /srv/t/file');
      for (const args of [...reading, ['new-image', 'x'], ['mount-stackpoint', 'p'], ['import-image', 'x']])
        expect(await run(['env', 'WAFERS=/srv/t/file', 'stacko', ...args]), args.join(' ')).to.deep.equal(
          refused('/srv/t/file is no directory: WAFERS is to be that of the images', 2),
        );
    });
  });

  it('has words of its own for what is wrong with the store, and the exit codes of its page', async () => {
    await sh('stacko new-image c b; rm -r "$WAFERS/b"');
    expect(await stacko('new-stackpoint', 'q', 'c')).to.deep.equal(
      refused('ancestry corrupt: "b", the parent of "c", is missing'),
    );
    expect(await stacko('edit-image', 'c')).to.deep.equal(
      refused('ancestry corrupt: "b", the parent of "c", is missing'),
    );
    expect((await run(['wafers', 'stack', 'c'])).code).to.equal(5);
  });
});
