/**
 * stacko on a file system that has no room, or for so many files only, or is read-only: it says so in one line, and
 * all is as it was, what is mounted too. Each command is tried with room for one file more until it succeeds.
 */
import { expect } from 'chai';
import { useSandbox } from '../helpers/namespaces.js';
import { storeState } from '../helpers/store-state.js';
import { resetProgram } from '../helpers/tools.js';

const DISK = '/srv/t/disk';
const WAFERS = `${DISK}/w`;
const STACKS = '/srv/t/m';
/** No command makes so many. */
const FILES_MAX = 60;

describe('stacko on a disk that cannot be written to', () => {
  const sandbox = useSandbox();
  const env = { WAFERS, STACKS };
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const state = (): string => storeState(`/proc/${sandbox().pid}/root${WAFERS}`);
  const run = async (args: readonly string[]) => {
    const argv = args[0] === 'reset' ? [...resetProgram(sandbox()), ...args.slice(1)] : ['stacko', ...args];
    const { code, stdout, stderr } = await sandbox().run(argv, { env });
    return { code, stdout, stderr: stderr.replace(/^reset: /, 'stacko: ') };
  };
  const mounted = (): Promise<string> =>
    sh(
      `findmnt -rno TARGET,OPTIONS | grep "^${STACKS}/" | sed "s/ .*upperdir=/ /;s/,.*//"; cat ${STACKS}/*/f || true`,
    );

  before(async () => {
    await sh(`mkdir -p ${DISK} ${STACKS} /srv/t/t; mount -t tmpfs -o mode=755,nr_inodes=100000 tmpfs ${DISK}
      for i in a b c; do
        stacko new-image $i; stacko edit-image $i; cd "$STACKS/$i"; echo $i >f; mkdir etc; : >etc/machine-id
        cd /; stacko close-image $i
      done
      stacko new-image free; mkdir -p "$WAFERS/own/data"
      stacko new-stackpoint p a; stacko cutover-stackpoint p b; stacko cutover-stackpoint p c
      stacko fallback-stackpoint p; stacko cutover-stackpoint p c
      stacko new-stackpoint q a; stacko cutover-stackpoint q b; stacko new-stackpoint-instance q c
      echo x >/srv/t/t/x; tar -C /srv/t/t -cf /srv/t/in.tar .
      echo changed >"$WAFERS/b@p/data/changed"; cp -a ${DISK}/w /srv/t/saved`);
  });
  beforeEach(async () => {
    await sh(`mount -o remount,rw,nr_inodes=100000 ${DISK}
      findmnt -rno TARGET | grep "^${STACKS}/" | sort -r | while read -r at; do umount "$at"; rmdir "$at"; done
      rm -rf ${WAFERS}; cp -a /srv/t/saved ${WAFERS}`);
  });

  const commands: readonly [title: string, args: readonly string[], prepare?: string][] = [
    ['new-image', ['new-image', 'new', 'a']],
    ['edit-image', ['edit-image', 'free']],
    ['close-image of a wafer', ['close-image', 'own']],
    ['delete-image', ['delete-image', 'free']],
    ['import-image', ['import-image', '/srv/t/in.tar']],
    ['new-stackpoint', ['new-stackpoint', 'new', 'a']],
    ['new-stackpoint-instance', ['new-stackpoint-instance', 'p', 'free']],
    ['cutover to a new instance', ['cutover-stackpoint', 'p', 'a'], 'stacko mount-stackpoint p'],
    ['cutover to one that is there', ['cutover-stackpoint', 'q', 'c'], 'stacko mount-stackpoint q'],
    ['fallback', ['fallback-stackpoint', 'q'], 'stacko mount-stackpoint q'],
    ['delete-stackpoint-instance', ['delete-stackpoint-instance', 'p', 'b']],
    ['delete-stackpoint', ['delete-stackpoint', 'p']],
    ['reset', ['reset', 'p', 'b']],
  ];
  for (const [title, args, prepare = ':'] of commands)
    it(`${title}: is done, or not begun`, async () => {
      await sh(prepare);
      const [old, oldMounts] = [state(), await mounted()];

      await sh(`mount -o remount,bind,ro ${DISK}`);
      expect(await run(args)).to.deep.equal({
        ...{ code: 1, stdout: '' },
        stderr: `stacko: the store ${WAFERS} cannot be changed: its file system is read-only: mount it for writing\n`,
      });
      expect([state(), await mounted()]).to.deep.equal([old, oldMounts]);
      await sh(`mount -o remount,bind,rw ${DISK}`);

      let code: number | null = 1;
      for (let room = 0; code !== 0; room += room < 8 ? 1 : 3) {
        expect(room).to.be.lessThan(FILES_MAX);
        await sh(
          `mount -o remount,nr_inodes=$(($(df --output=iused ${DISK} | tail -n 1) + ${room})) ${DISK}`,
        );
        const outcome = await run(args);
        code = outcome.code;
        if (code === 0) expect(outcome.stderr).to.equal('');
        else {
          expect([code, outcome.stdout], outcome.stderr).to.deep.equal([1, '']);
          expect(outcome.stderr).to.match(
            /^stacko: [^\n]*(its file system is full: make room there|No space left)[^\n]*\n$/,
          );
          expect(state(), `room for ${room} files`).to.equal(old);
          expect(await mounted(), `room for ${room} files`).to.equal(oldMounts);
        }
      }
      expect(state()).not.to.equal(old);
      expect(state()).not.to.match(/\.new:|\.change/);
      expect(await sh('wafers tree; stacko list-stackpoints')).not.to.include('broken');
    }).timeout(180_000);
});

describe('stacko on a small disk whose last block is taken', () => {
  const sandbox = useSandbox();
  const disk = '/srv/t/small';
  const env = { WAFERS: `${disk}/w`, STACKS };
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const stacko = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await sandbox().run(['stacko', ...args], { env });
    return { code, stdout, stderr };
  };
  const state = (): string => storeState(`/proc/${sandbox().pid}/root${env.WAFERS}`);

  it('cuts nothing over and imports nothing, and loses nothing; with room again it does', async () => {
    // A thousand files of a byte each: what they take is seen only when it is not there.
    await sh(`truncate -s 16M ${sandbox().diskdir}/image; mkfs.ext4 -q -m 0 -N 4096 ${sandbox().diskdir}/image
      mkdir -p ${disk} /srv/t/many; mount -o loop ${sandbox().diskdir}/image ${disk}
      for i in a b; do
        stacko new-image $i; stacko edit-image $i; echo $i >"$STACKS/$i/f"; stacko close-image $i
      done
      stacko new-stackpoint p a; stacko mount-stackpoint p; echo mine >"$STACKS/p/mine"
      for i in $(seq 1000); do echo >/srv/t/many/$i; done; tar -C /srv/t/many -cf /srv/t/many.tar .
      for size in 64k 4k 4k; do
        while dd if=/dev/zero bs=$size count=1 oflag=append conv=notrunc,fsync of=${disk}/fill 2>/dev/null; do :; done
      done`);
    const old = state();
    const full = /^stacko: [^\n]*(its file system is full: make room there|No space left on device)[^\n]*\n$/;
    const cutover = await stacko('cutover-stackpoint', 'p', 'b');
    expect([cutover.code, cutover.stdout], cutover.stderr).to.deep.equal([1, '']);
    expect(cutover.stderr).to.match(full);
    expect(state()).to.equal(old);
    expect(await sh('cat "$STACKS/p/mine" "$STACKS/p/f"')).to.equal('mine\na\n');
    await sh(`truncate -s -256K ${disk}/fill; sync`);
    const imported = await stacko('import-image', '/srv/t/many.tar');
    expect([imported.code, imported.stdout], imported.stderr).to.deep.equal([1, '']);
    expect(imported.stderr).to.match(full);
    expect(state()).to.equal(old);
    await sh(`rm ${disk}/fill`);
    expect((await stacko('import-image', '/srv/t/many.tar')).code).to.equal(0);
    expect((await stacko('cutover-stackpoint', 'p', 'b')).code).to.equal(0);
    expect(await sh('cat "$STACKS/p/f"; ls "$WAFERS/many/data" | wc -l')).to.equal('b\n1000\n');
    await sh(`stacko umount-stackpoint p; umount ${disk}`);
  });
});
