/** stacko with real mounts: the walk-through of its document, images, generations and their refusals. */
import { expect } from 'chai';
import { expectAnswers } from '../helpers/answers.js';
import { PROJECT, useSandbox } from '../helpers/namespaces.js';
import { resetProgram } from '../helpers/tools.js';

const WAFERS = '/srv/t/w';
const STACKS = '/srv/t/m';

describe('stacko', () => {
  const sandbox = useSandbox();
  const env = { WAFERS, STACKS };
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const stacko = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await sandbox().run(['stacko', ...args], { env });
    return { code, stdout, stderr };
  };
  const printed = (line: string) => ({ code: 0, stdout: `${line}\n`, stderr: '' });
  const refused = (line: string, code = 1) => ({ code, stdout: '', stderr: `stacko: ${line}\n` });
  /** No command of its own has it: boxes do. */
  const reset = async (...args: readonly string[]): Promise<[number | null, string]> => {
    const { code, stderr } = await sandbox().run([...resetProgram(sandbox()), ...args], { env });
    return [code, stderr];
  };
  const mounts = async (): Promise<string[]> =>
    (await sandbox().readFile('/proc/self/mountinfo'))
      .split('\n')
      .filter((line) => line.includes(` ${STACKS}/`));
  const image = async (name: string, script: string, parent = ''): Promise<void> => {
    await sh(`stacko new-image ${name} ${parent}; stacko edit-image ${name}; cd ${STACKS}/${name}; ${script}
      cd /; stacko close-image ${name}`);
  };
  /** Everything of the store but times: paths, link targets, the bytes of files. */
  const store = (): Promise<string> =>
    sh('cd "$WAFERS"; find . -printf "%y %p %l %m\\n" | sort; find . -type f | sort | xargs cat');

  afterEach(async () => {
    await sh(
      `findmnt -rno TARGET | grep "^${STACKS}/" | sort -r | while read -r at; do umount "$at"; done; rm -rf /srv/t/*`,
    );
  });

  it('does what its document walks through, the reboot included', async () => {
    await sh(`
      stacko new-image foundation-libs0.1
      stacko edit-image foundation-libs0.1
      echo lib >${STACKS}/foundation-libs0.1/lib
      stacko close-image foundation-libs0.1
      stacko new-image apps-1.0 foundation-libs0.1
      stacko edit-image apps-1.0
      echo one >${STACKS}/apps-1.0/app
      stacko close-image apps-1.0
      stacko new-stackpoint system1fs apps-1.0
      stacko mount-stackpoint system1fs
      echo mine >${STACKS}/system1fs/changed`);
    expect(await sh(`cat ${STACKS}/system1fs/*`)).to.equal('one\nmine\nlib\n');
    // A host that has booted again: nothing is mounted in it.
    const rebooted = `umount ${STACKS}/system1fs
      stacko mount-stackpoint system1fs
      cat ${STACKS}/system1fs/*`;
    expect(
      await sh(`unshare --mount --propagation private sh -euc '${rebooted}'; umount ${STACKS}/system1fs`),
    ).to.equal(`point system1fs mounted at ${STACKS}/system1fs\none\nmine\nlib\n`);
    await sh('stacko mount-stackpoint system1fs');
    await image('apps-2.0', 'echo two >app', 'foundation-libs0.1');
    expect(await stacko('cutover-stackpoint', 'system1fs', 'apps-2.0')).to.deep.equal(
      printed(`point system1fs is apps-2.0@system1fs, mounted at ${STACKS}/system1fs`),
    );
    expect(await sh(`cat ${STACKS}/system1fs/*`)).to.equal('two\nlib\n');
    expect(await stacko('fallback-stackpoint', 'system1fs')).to.deep.equal(
      printed(`point system1fs is apps-1.0@system1fs, mounted at ${STACKS}/system1fs`),
    );
    expect(await sh(`cat ${STACKS}/system1fs/*`)).to.equal('one\nmine\nlib\n');
  });

  it('lays the store out so that ls and wafers tree explain it', async () => {
    await image('a', 'echo a >f');
    await image('b', 'echo b >f', 'a');
    await sh('stacko new-stackpoint web a; stacko cutover-stackpoint web b; stacko mount-stackpoint web');
    expect(await sh('find "$WAFERS/points" -type l -printf "%P -> %l\\n" | sort')).to.equal(
      'web/1/instance -> ../../../a@web\nweb/2/instance -> ../../../b@web\nweb/2/replaced -> ../1\nweb/current -> 2\n',
    );
    expect(await sh('wafers tree')).to.equal(`a (sealed)\n├── a@web\n└── b (sealed)\n    └── b@web\n`);
    expect(await sh('cd "$WAFERS"; ls -A . points b')).to.equal(
      `.:\na\na@web\nb\nb@web\npoints\n\nb:\ndata\nparent\nsealed\nwork\n\npoints:\nweb\n`,
    );
  });

  describe('images', () => {
    it('are written to between edit-image and close-image only', async () => {
      await sh('stacko new-image a');
      expect(await stacko('edit-image', 'a')).to.deep.equal(printed(`image a mounted at ${STACKS}/a`));
      await sh(`echo one >${STACKS}/a/f`);
      expect(await stacko('edit-image', 'a')).to.deep.equal(
        printed(`image a is mounted already at ${STACKS}/a`),
      );
      expect(await stacko('new-image', 'b', 'a')).to.deep.equal(
        refused('image "a" is open for editing: stacko close-image a first'),
      );
      expect(await stacko('close-image', 'a')).to.deep.equal(printed('image a sealed'));
      expect(await stacko('close-image', 'a')).to.deep.equal(printed('image a is closed already'));
      expect(await sh(`ls -A ${STACKS}; cat "$WAFERS/a/data/f"`)).to.equal('one\n');
      expect((await sandbox().run(['wafers', 'stack', 'a'], { env })).stderr).to.include('is sealed');
    });

    it('stay open over a reboot, and are closed or edited on after it', async () => {
      await sh(`stacko new-image a; stacko edit-image a; umount ${STACKS}/a`);
      expect((await stacko('list-images')).stdout).to.equal(
        'IMAGE  PARENT  STATE  POINTS\na      -       open   -\n',
      );
      await sh(`stacko edit-image a; echo x >${STACKS}/a/f; umount ${STACKS}/a`);
      expect(await stacko('close-image', 'a')).to.deep.equal(printed('image a sealed'));
      expect(await sh(`ls -A ${STACKS}`)).to.equal('');
    });

    it('are looked at read-only, also with something upon them', async () => {
      await image('a', 'echo a >f');
      await image('b', 'echo b >g', 'a');
      for (const name of ['a', 'b']) {
        expect(await stacko('edit-image', name, '--read-only')).to.deep.equal(
          printed(`image ${name} mounted at ${STACKS}/${name}`),
        );
        expect(await sh(`cat ${STACKS}/${name}/f; touch ${STACKS}/${name}/x 2>&1 || true`)).to.match(
          /^a\n.*Read-only file system/,
        );
        expect((await stacko('edit-image', name, '--read-only')).stdout).to.include('already');
      }
      expect(await stacko('edit-image', 'b')).to.deep.equal(
        refused(`image "b" is mounted read-only at ${STACKS}/b: stacko close-image b first`),
      );
      expect(await stacko('delete-image', 'b')).to.deep.equal(
        refused(`image "b" is mounted at ${STACKS}/b: stacko close-image b first`),
      );
      expect(await stacko('close-image', 'b')).to.deep.equal(printed('image b unmounted'));
      expect((await stacko('list-images', '--json')).stdout).to.include('"mounted": true');
    });

    it('with children or instances are neither edited nor deleted, and the error lists them', async () => {
      await image('a', ':');
      await image('b', ':', 'a');
      await sh('stacko new-stackpoint web a; wafers stack own a; wafers unstack own');
      const before = await store();
      for (const [verb, done, todo] of [
        ['edit-image', 'edited', 'make a new image in its place'],
        ['delete-image', 'deleted', 'delete those first'],
      ] as const)
        expect(await stacko(verb, 'a')).to.deep.equal(
          refused(`image "a" cannot be ${done}: a@web, b, own lie upon it: ${todo}`),
        );
      expect(await store()).to.equal(before);
      expect(await stacko('delete-image', 'b')).to.deep.equal(printed('image b deleted'));
      expect(await sh('ls -A "$WAFERS"')).to.equal('a\na@web\nown\npoints\n');
    });

    it('are not closed while somebody works in them: the error says who', async () => {
      await sh('stacko new-image a; stacko edit-image a');
      const shell = sandbox().spawn(['sh', '-c', 'read -r _'], { cwd: `${STACKS}/a` });
      try {
        const { code, stderr } = await stacko('close-image', 'a');
        expect([code, stderr]).to.deep.equal([1, stderr]);
        expect(stderr).to.match(
          /^stacko: \/srv\/t\/m\/a is busy: in use by sh \(pid \d+: working directory\)/,
        );
        expect((await stacko('list-images')).stdout).to.include('open, mounted');
      } finally {
        shell.child.stdin?.end();
        await shell.completed();
      }
    });

    it('are made of wafers by close-image', async () => {
      await sh('mkdir -p "$WAFERS/own/data"; wafers stack own; echo f >"$STACKS/own/f"');
      expect(await stacko('new-stackpoint', 'web', 'own')).to.deep.equal(
        refused('"own" is a wafer, no image: stacko close-image own seals it and so makes it one', 2),
      );
      expect(await stacko('close-image', 'own')).to.deep.equal(printed('image own sealed'));
      expect((await stacko('new-stackpoint', 'web', 'own')).code).to.equal(0);
    });
  });

  describe('points', () => {
    it('keep each instance’s changes over many cutovers and fallbacks', async () => {
      for (const name of ['a', 'b', 'c']) await image(name, `echo ${name} >image`);
      await sh('stacko new-stackpoint web a; stacko mount-stackpoint web');
      const seen = (): Promise<string> => sh(`cd ${STACKS}/web; cat image log`);
      await sh(`echo 0 >>${STACKS}/web/log`);
      const logs: Record<string, string> = { a: '0\n', b: '', c: '' };
      const history = ['a'];
      for (const [round, step] of ['b', 'c', '', 'a', '', '', 'c', 'b', '', '', 'b'].entries()) {
        if (step) history.push(step);
        else history.pop();
        const now = history.at(-1) ?? '';
        const { code, stderr } = await (step
          ? stacko('cutover-stackpoint', 'web', step)
          : stacko('fallback-stackpoint', 'web'));
        expect([code, stderr]).to.deep.equal([0, '']);
        await sh(`echo ${round} >>${STACKS}/web/log`);
        logs[now] += `${round}\n`;
        expect(await seen()).to.equal(`${now}\n${logs[now]}`);
      }
    }).timeout(60_000);

    it('fall back to what they replaced, not to the number before, and say when there is nothing', async () => {
      for (const name of ['a', 'b', 'c']) await image(name, ':');
      await sh('stacko new-stackpoint p a; stacko cutover-stackpoint p b; stacko fallback-stackpoint p');
      await sh('stacko cutover-stackpoint p c');
      expect((await stacko('list-stackpoints')).stdout).to.equal(
        'POINT  IMAGE  FALLBACK  GENERATION  MOUNTED\np      c      a                  3  -\n',
      );
      expect((await stacko('fallback-stackpoint-instance', 'p')).stdout).to.equal('point p is a@p\n');
      expect(await stacko('fallback-stackpoint', 'p')).to.deep.equal(
        refused('point "p" has nothing to fall back to: a@p replaced no other instance'),
      );
    });

    it('stay what they are when cut over to what they are', async () => {
      await image('a', ':');
      await sh('stacko new-stackpoint p a');
      const before = await store();
      expect(await stacko('cutover-stackpoint-instance', 'p', 'a')).to.deep.equal(
        printed('point p is already a@p'),
      );
      expect(await store()).to.equal(before);
    });

    it('have instances made, set and deleted by themselves', async () => {
      for (const name of ['a', 'b']) await image(name, ':');
      await sh('stacko new-stackpoint p a');
      expect(await stacko('set-stackpoint-instance', 'p', 'b')).to.deep.equal(
        refused('point "p" has no instance of "b": stacko new-stackpoint-instance p b makes one', 2),
      );
      expect(await stacko('new-stackpoint-instance', 'p', 'b')).to.deep.equal(printed('instance b@p made'));
      expect(await stacko('new-stackpoint-instance', 'p', 'b')).to.deep.equal(
        printed('instance b@p is there already'),
      );
      await sh('stacko mount-stackpoint p');
      expect((await stacko('set-stackpoint-instance', 'p', 'b')).stderr).to.include('is mounted at');
      await sh('stacko umount-stackpoint p');
      const current =
        '"b@p" is the current instance of "p": stacko cutover-stackpoint p to another image first, or delete-stackpoint p';
      await expectAnswers(stacko, [
        ['set-stackpoint-instance p b', printed('point p is b@p')],
        ['delete-stackpoint-instance p b', refused(current)],
        ['delete-stackpoint-instance p a', printed('instance a@p deleted')],
      ]);
      expect((await stacko('fallback-stackpoint', 'p')).stderr).to.include('nothing to fall back to');
      expect(await sh('ls -A "$WAFERS" "$WAFERS/points/p"; stacko delete-image a')).to.equal(
        `${WAFERS}:\na\nb\nb@p\npoints\n\n${WAFERS}/points/p:\n2\ncurrent\nimage a deleted\n`,
      );
    });

    it('fall back past an instance that has been deleted', async () => {
      for (const name of ['a', 'b', 'c']) await image(name, ':');
      await sh('stacko new-stackpoint p a; stacko cutover-stackpoint p b; stacko cutover-stackpoint p c');
      await sh('stacko delete-stackpoint-instance p b');
      expect((await stacko('fallback-stackpoint', 'p')).stdout).to.equal('point p is a@p\n');
    });

    it('have an instance reset: it is as its image again, and a machine of its own', async () => {
      await image('a', 'chown 7:8 .; mkdir etc; : >etc/machine-id; echo a >f');
      await image('b', ':');
      await sh('stacko new-stackpoint p a; stacko cutover-stackpoint p b; stacko mount-stackpoint p');
      await sh(`echo b >${STACKS}/p/own; cd "$WAFERS/a@p/data"; echo changed >f; mkdir d; chmod 700 .`);
      const id = await sh('cat "$WAFERS/a@p/data/etc/machine-id"');
      const before = await sh('cd "$WAFERS"; ls -R points b@p/data');
      expect(await reset('p', 'a')).to.deep.equal([0, '']);
      expect(await sh('cd "$WAFERS/a@p"; find data -printf "%p %m %U:%G\\n" | sort')).to.equal(
        'data 755 7:8\ndata/etc 755 0:0\ndata/etc/machine-id 644 7:8\n',
      );
      const now = await sh('cat "$WAFERS/a@p/data/etc/machine-id"');
      expect(now)
        .to.match(/^[0-9a-f]{32}\n$/)
        .and.not.equal(id);
      expect(await sh('cd "$WAFERS"; ls -R points b@p/data')).to.equal(before);
      expect(await reset('p', 'b')).to.deep.equal([
        1,
        `reset: "b@p" is in use: its data is the writable layer of what is mounted at ${STACKS}/p: unmount that first\n`,
      ]);
      expect(await reset('p', 'c')).to.deep.equal([
        1,
        'reset: point "p" has no instance of "c": stacko new-stackpoint-instance p c makes one\n',
      ]);
      expect(
        await sh(`cat ${STACKS}/p/own; stacko fallback-stackpoint p >/dev/null; cat ${STACKS}/p/f`),
      ).to.equal('b\na\n');
      expect(await sh('ls -A "$WAFERS"')).to.equal('a\na@p\nb\nb@p\npoints\n');
    });

    it('do not lose a mounted instance, wherever it is mounted', async () => {
      for (const name of ['a', 'b']) await image(name, ':');
      await sh('stacko new-stackpoint p a; stacko new-stackpoint-instance p b; wafers stack b@p');
      const inUse = `"b@p" is in use: its data is the writable layer of what is mounted at ${STACKS}/b@p: unmount that first`;
      for (const args of [
        ['delete-stackpoint-instance', 'p', 'b'],
        ['cutover-stackpoint', 'p', 'b'],
        ['delete-stackpoint', 'p'],
      ])
        expect(await stacko(...args)).to.deep.equal(refused(inUse));
      await sh('wafers unstack b@p; stacko mount-stackpoint p');
      expect(await stacko('delete-stackpoint', 'p')).to.deep.equal(
        refused(`point "p" is mounted at ${STACKS}/p: umount it first`),
      );
      await sh('stacko umount-stackpoint p; stacko delete-stackpoint p');
      expect(await sh('ls -A "$WAFERS" "$WAFERS/points"')).to.equal(
        `${WAFERS}:\na\nb\npoints\n\n${WAFERS}/points:\n`,
      );
    });

    it('stay as they are, and mounted, when somebody works in them at a cutover', async () => {
      for (const name of ['a', 'b']) await image(name, `echo ${name} >f`);
      await sh('stacko new-stackpoint p a; stacko mount-stackpoint p');
      const before = await store();
      const shell = sandbox().spawn(['sh', '-c', 'read -r _'], { cwd: `${STACKS}/p` });
      try {
        const { code, stderr } = await stacko('cutover-stackpoint', 'p', 'b');
        expect(code).to.equal(1);
        expect(stderr).to.match(
          /^stacko: \/srv\/t\/m\/p is busy: in use by sh \(pid \d+: working directory\)/,
        );
        expect(await sh(`cat ${STACKS}/p/f`)).to.equal('a\n');
        expect(await store()).to.equal(before);
      } finally {
        shell.child.stdin?.end();
        await shell.completed();
      }
    });

    it('stay what they are, and mounted, when the new instance cannot be mounted', async () => {
      for (const name of ['a', 'b']) await image(name, `echo ${name} >f`);
      await sh('stacko new-stackpoint p a; stacko mount-stackpoint p; stacko new-stackpoint-instance p b');
      await sh('rm -r "$WAFERS/b@p/work"; ln -s /tmp "$WAFERS/b@p/work"');
      const before = await store();
      const { code, stderr } = await stacko('cutover-stackpoint', 'p', 'b');
      expect([code, stderr.split('\n').length]).to.deep.equal([1, 2]);
      expect(stderr).to.include('b@p/work');
      expect(await sh(`cat ${STACKS}/p/f`)).to.equal('a\n');
      expect(await store()).to.equal(before);
    });

    it('say where they are and whether they are mounted', async () => {
      await image('a', ':');
      await sh('stacko new-stackpoint p a');
      expect(await stacko('get-stackpoint-dir', 'p')).to.deep.equal(printed(`${STACKS}/p`));
      expect(await stacko('is-stackpoint-mounted', 'p')).to.deep.equal({
        code: 1,
        stdout: 'point p is not mounted\n',
        stderr: '',
      });
      expect(await stacko('umount-stackpoint', 'p')).to.deep.equal(printed('point p is not mounted'));
      await sh('stacko mount-stackpoint p');
      expect((await stacko('mount-stackpoint', 'p')).stdout).to.equal(
        `point p is mounted already at ${STACKS}/p\n`,
      );
      expect(await stacko('is-stackpoint-mounted', 'p')).to.deep.equal(printed('point p is mounted'));
      expect(await mounts()).to.have.lengthOf(1);
      expect(await stacko('umount-stackpoint', 'p')).to.deep.equal(printed('point p unmounted'));
      expect(await sh(`ls -A ${STACKS}`)).to.equal('');
    });

    it('share their names with wafers and images', async () => {
      await image('a', ':');
      await sh('stacko new-stackpoint p a; mkdir -p "$WAFERS/own/data"');
      const taken = (name: string, what: string) =>
        refused(`"${name}" is the name of ${what}: choose another name`, 2);
      expect(await stacko('new-stackpoint', 'a', 'a')).to.deep.equal(taken('a', 'an image'));
      expect(await stacko('new-stackpoint', 'own', 'a')).to.deep.equal(taken('own', 'a wafer'));
      expect(await stacko('new-image', 'p')).to.deep.equal(taken('p', 'a point'));
      expect(await stacko('new-stackpoint', 'p', 'a')).to.deep.equal(taken('p', 'a point'));
    });
  });

  it('gives a subhost its root by STACK=POINT, keeps its instance meanwhile, and boots the next one after a cutover', async () => {
    await sh(`${PROJECT}/examples/tiny/make-base --busybox /srv/t/base`);
    for (const name of ['a', 'b']) await image(name, `cp -a /srv/t/base/. .; echo ${name} >version`);
    await sh(`stacko new-stackpoint web a; mkdir -p /opt/subhost/web
      printf '%s\\n' BASE=. STACK=web START=none >/opt/subhost/web/web.conf`);
    await sh('overlay-boot --mkdir /opt/subhost/web/web.conf; overlay-go web sh -c "echo mine >/changed"');
    expect(await sh('overlay-go web cat /version')).to.equal('a\n');
    const inUse = '"a@web" is in use: a running subhost has it as its writable layer: stop that first';
    expect(await stacko('delete-stackpoint', 'web')).to.deep.equal(refused(inUse));
    expect((await stacko('mount-stackpoint', 'web')).stderr).to.include('another root has it mounted');
    await sh('stacko cutover-stackpoint web b');
    expect(await stacko('delete-stackpoint-instance', 'web', 'a')).to.deep.equal(refused(inUse));
    expect(await reset('web', 'a')).to.deep.equal([1, `reset: ${inUse}\n`]);
    await sh('overlay-stop web; overlay-boot /opt/subhost/web/web.conf');
    expect(await sh('overlay-go web cat /version; overlay-stop web >/dev/null')).to.equal('b\n');
    expect(await sh('stacko fallback-stackpoint web >/dev/null; cat "$WAFERS/a@web/data/changed"')).to.equal(
      'mine\n',
    );
  }).timeout(60_000);
});
