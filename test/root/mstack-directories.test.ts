import { expect } from 'chai';
import { useSandbox } from '../helpers/namespaces.js';

/** Stacks of directories: every rule of the format, seen through a real mount on /srv/t/w. */
describe('overlay-mstack with directories', () => {
  const sandbox = useSandbox();
  const sh = (script: string): Promise<string> => sandbox().sh(script);
  const run = (...args: readonly string[]) => sandbox().run(['overlay-mstack', ...args]);
  /** What is mounted at and below w: place and options of the mount. */
  const mounts = async (): Promise<string[]> =>
    (await sh(`awk '$5 ~ "^/srv/t/w(/|$)" { split($6, o, ","); print $5, o[1] }' /proc/self/mountinfo`))
      .split('\n')
      .filter(Boolean);

  beforeEach(() => sh('mkdir -p x.mstack w'));
  afterEach(async () => {
    await sh('while mountpoint -q w; do umount -R w; done; rm -rf ./*');
  });

  const mounted = async (script: string, ...options: readonly string[]): Promise<void> => {
    await sh(`cd x.mstack; ${script}`);
    const { code, stdout, stderr } = await run('-m', ...options, 'x.mstack', 'w');
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: '', stderr: '' });
  };
  /** A list of all below a directory with types, modes and links, and the contents and times of files. */
  const everything = (directory: string): Promise<string> =>
    sh(
      `find ${directory} -printf '%p %y %m %l\n' | sort; find ${directory} -type f -printf '%p %T@\n' -exec md5sum {} + | sort`,
    );
  const refused = async (script: string, ...options: readonly string[]): Promise<string> => {
    await sh(`cd x.mstack; ${script}`);
    const before = await everything('.');
    const { code, stdout, stderr } = await run('-m', ...options, 'x.mstack', 'w');
    expect(code).to.not.equal(0);
    expect(stdout).to.equal('');
    expect(await mounts()).to.deep.equal([]);
    expect(await everything('.')).to.equal(before);
    return stderr.replaceAll('/srv/t/', '');
  };
  const write = async (path: string): Promise<string> =>
    (await sandbox().run(['/bin/sh', '-c', `echo x >${path}`])).stderr.replace(/^.*: /, '').trim();

  it('puts the layers upon each other in the order of their versions', async () => {
    const ids = ['10', '1~rc1', '2', '1.10', '0', 'b', '1.2', 'a', '1'];
    await mounted(
      `for i in ${ids.join(' ')}; do mkdir layer@$i; echo $i >layer@$i/top; echo $i >layer@$i/$i; done`,
    );
    expect(await sh('cat w/top; ls w')).to.equal(`10\n0\n1\n1.10\n1.2\n10\n1~rc1\n2\na\nb\ntop\n`);
    const options = await sh(
      `findmnt -n -o OPTIONS w | tr , '\\n' | sed -n 's/^lowerdir+=.*@//p' | tr '\\n' ' '`,
    );
    expect(options).to.equal('10 2 1.10 1.2 1 1~rc1 0 b a ');
  });

  it('mounts layers alone read-only', async () => {
    await mounted('mkdir layer@1 layer@2');
    expect(await write('w/f')).to.equal('Read-only file system');
  });

  it('writes to rw/data, and makes that and rw/work', async () => {
    await mounted('mkdir layer@1 rw; echo low >layer@1/f');
    expect(await write('w/f')).to.equal('');
    expect(
      await sh('cat x.mstack/rw/data/f x.mstack/layer@1/f; stat -c %a x.mstack/rw/data x.mstack/rw/work'),
    ).to.equal('x\nlow\n755\n755\n');
  });

  it('keeps what was written, and whiteouts as systemd keeps them', async () => {
    await mounted(
      'mkdir layer@1 rw; echo low >layer@1/f; echo low >layer@1/g; mkdir layer@1/d; echo low >layer@1/d/e',
    );
    await sh('rm -r w/f w/d; mkdir w/d; echo up >w/g');
    expect((await run('-u', 'w')).code).to.equal(0);
    expect(await sh('stat -c "%F %t %T" x.mstack/rw/data/f')).to.equal('character special file 0 0\n');
    expect((await run('-m', 'x.mstack', 'w')).code).to.equal(0);
    expect(await sh('ls w w/d; cat w/g')).to.equal('w:\nd\ng\n\nw/d:\nup\n');
  });

  it('empties rw/work first', async () => {
    await mounted('mkdir -p layer@1 rw/work rw/data; cd rw/work; mkdir -p work/left; echo x >file');
    expect(await sh('cd x.mstack/rw/work; ls -A; ls -A work')).to.equal('work\n');
  });

  it('binds a lone layer read-only', async () => {
    await mounted('mkdir layer@1; echo a >layer@1/f');
    expect(await mounts()).to.deep.equal(['/srv/t/w ro']);
    expect(await sh('cat w/f; findmnt -n -o FSTYPE w')).to.equal('a\ntmpfs\n');
    expect(await write('w/f')).to.equal('Read-only file system');
  });

  it('binds the data of a lone rw', async () => {
    await mounted('mkdir rw');
    expect(await write('w/f')).to.equal('');
    expect(await sh('cat x.mstack/rw/data/f; findmnt -n -o FSTYPE w')).to.equal('x\ntmpfs\n');
  });

  it('has a tmpfs for the root where there is neither layer nor root, with the binds in it', async () => {
    await mounted('mkdir bind@srv-a robind@etc; echo a >bind@srv-a/f');
    expect(await sh('stat -c "%a %u %g" w; findmnt -n -o FSTYPE w; cat w/srv/a/f')).to.equal(
      '755 0 0\ntmpfs\na\n',
    );
    expect(await write('w/new')).to.equal('');
    expect(await mounts()).to.have.members(['/srv/t/w rw', '/srv/t/w/srv/a rw', '/srv/t/w/etc ro']);
  });

  it('has an empty one for an empty directory', async () => {
    await mounted('true');
    expect(await sh('ls -A w; stat -c %a w')).to.equal('755\n');
  });

  it('writes through bind, and not through robind', async () => {
    await mounted('mkdir layer@1 rw bind@var robind@srv-data; echo old >robind@srv-data/f');
    expect(await write('w/var/f')).to.equal('');
    expect(await sh('cat x.mstack/bind@var/f')).to.equal('x\n');
    expect(await write('w/srv/data/f')).to.equal('Read-only file system');
    expect(await write('w/srv/data/new')).to.equal('Read-only file system');
    expect(await sh('cat x.mstack/robind@srv-data/f; ls x.mstack/robind@srv-data')).to.equal('old\nf\n');
  });

  it('has a robind read-only over a file system that others write to', async () => {
    await mounted('mkdir robind@srv');
    await sh('echo later >x.mstack/robind@srv/f');
    expect(await sh('cat w/srv/f')).to.equal('later\n');
    expect(await write('w/srv/f')).to.equal('Read-only file system');
  });

  const places: readonly [name: string, place: string][] = [
    ['bind@srv-a\\x2db', 'srv/a-b'],
    ['bind@\\x2ehidden', '.hidden'],
    ['bind@a\\x20b-c', 'a b/c'],
    ['bind@caf\\xc3\\xa9', 'café'],
    ['bind:var', 'var'],
  ];
  for (const [name, place] of places)
    it(`mounts ${name} at /${place}`, async () => {
      await mounted(`mkdir '${name}'; echo here >'${name}/f'`);
      expect(await sh(`cat 'w/${place}/f'; stat -c %a 'w/${place}'`)).to.equal('here\n755\n');
    });

  it('mounts places below other places, whatever their kinds', async () => {
    await mounted(
      'mkdir -p robind@a/b bind@a-b/c robind@a-b-c bind@a-b-c-d robind@a-b-c/d; for d in *bind@*; do echo $d >$d/f; done',
    );
    expect(await sh('cat w/a/f w/a/b/f w/a/b/c/f w/a/b/c/d/f')).to.equal(
      'robind@a\nbind@a-b\nrobind@a-b-c\nbind@a-b-c-d\n',
    );
    expect(await mounts()).to.deep.equal([
      '/srv/t/w rw',
      '/srv/t/w/a ro',
      '/srv/t/w/a/b rw',
      '/srv/t/w/a/b/c ro',
      '/srv/t/w/a/b/c/d rw',
    ]);
  });

  it('follows the links of the root inside of it', async () => {
    await sh('mkdir t');
    await mounted(
      'mkdir -p layer@1/t rw bind@l bind@up-sub; ln -s /t layer@1/l; ln -s ../../t layer@1/up; echo l >bind@l/f; echo s >bind@up-sub/g',
    );
    expect(await sh('ls -A t; cat w/t/f w/t/sub/g')).to.equal('l\ns\n');
  });

  it('never follows a link out of the root', async () => {
    const message = await refused(
      'mkdir -p ../outside layer@1 rw bind@a-b; ln -s ../../outside layer@1/a; ln -s /srv/t/outside layer@1/c',
    );
    expect(message).to.match(/^overlay-mstack: .*\/a\/b/);
  });

  it('mounts a root, and usr of the overlay upon its usr', async () => {
    await mounted(
      'mkdir -p layer@1/usr layer@2/usr layer@1/etc root/usr; echo 1 >layer@1/usr/a; echo 2 >layer@2/usr/b; echo no >layer@1/etc/f; echo own >root/f',
    );
    expect(await sh('cat w/usr/a w/usr/b w/f; ls w')).to.equal('1\n2\nown\nf\nusr\n');
    expect(await write('w/new')).to.equal('');
    expect(await sh('cat x.mstack/root/new')).to.equal('x\n');
    expect(await write('w/usr/a')).to.equal('Read-only file system');
    expect(await mounts()).to.deep.equal(['/srv/t/w rw', '/srv/t/w/usr ro']);
  });

  it('makes the usr of a root', async () => {
    await mounted('mkdir -p layer@1/usr root; echo 1 >layer@1/usr/a');
    expect(await sh('cat w/usr/a; stat -c %a x.mstack/root/usr')).to.equal('1\n755\n');
  });

  it('writes below usr of a root to rw', async () => {
    await mounted('mkdir -p layer@1/usr rw root/usr');
    expect(await write('w/usr/f')).to.equal('');
    expect(await sh('cat x.mstack/rw/data/usr/f; ls x.mstack/root/usr')).to.equal('x\n');
  });

  it('binds usr of the data of a lone rw to the usr of a root', async () => {
    await mounted('mkdir -p rw/data/usr root; echo up >rw/data/usr/f');
    expect(await sh('cat w/usr/f')).to.equal('up\n');
    expect(await write('w/usr/f')).to.equal('');
    expect(await sh('cat x.mstack/rw/data/usr/f')).to.equal('x\n');
  });

  it('drops the overlay for a root with a bind at usr', async () => {
    await mounted('mkdir -p layer@1/usr layer@2 rw root bind@usr; echo bound >bind@usr/f');
    expect(await sh('cat w/usr/f; findmnt -n -R -o FSTYPE w; ls -A x.mstack/rw')).to.equal(
      'bound\ntmpfs\ntmpfs\n',
    );
  });

  it('drops the overlay and the root for a bind at the root', async () => {
    await mounted('mkdir -p layer@1 rw root bind@- bind@var; echo bound >bind@-/f; echo var >bind@var/f');
    expect(await sh('cat w/f w/var/f; ls -A x.mstack/rw; ls -A x.mstack/root')).to.equal('bound\nvar\n');
    expect(await write('w/f')).to.equal('');
    expect(await sh('cat x.mstack/bind@-/f')).to.equal('x\n');
  });

  it('has a robind at the root read-only', async () => {
    await mounted('mkdir -p layer@1 robind@-/var bind@var');
    expect(await write('w/f')).to.equal('Read-only file system');
    expect(await write('w/var/f')).to.equal('');
  });

  it('takes links for entries', async () => {
    await sh('mkdir -p base/a app/b upper var-data; echo base >base/f');
    await mounted(
      'ln -s ../base layer@0; ln -s /srv/t/app layer@1; ln -s ../upper rw; ln -s ../var-data bind:var',
    );
    expect(await sh('cat w/f; ls w')).to.equal('base\na\nb\nf\nvar\n');
    expect(await write('w/var/f')).to.equal('');
    expect(await sh('cat var-data/f; ls upper')).to.equal('x\ndata\nwork\n');
  });

  it('takes the newest of a .v directory', async () => {
    await mounted(
      'for v in 1.9 1.10 2.0_nowhere 3+0-2 1.10~rc1; do mkdir -p layer@1.v/layer@1_$v; echo $v >layer@1.v/layer@1_$v/f; done; mkdir layer@1.v/layer@1_9_alpha',
    );
    // "nowhere" is no architecture, and so a part of the version.
    expect(await sh('cat w/f')).to.equal('2.0_nowhere\n');
  });

  it('mounts paths with spaces, commas, colons, backslashes and line feeds', async () => {
    await sh(
      `mkdir -p 'a b,c:d\\\\e' "$(printf 'new\\nline')"; echo 1 >'a b,c:d\\\\e/f'; echo 2 >"$(printf 'new\\nline')/g"`,
    );
    await mounted(
      `ln -s '../a b,c:d\\\\e' layer@0; ln -s "../$(printf 'new\\nline')" 'layer@1:,é'; mkdir rw`,
    );
    expect(await sh('cat w/f w/g')).to.equal('1\n2\n');
  });

  describe('read-only', () => {
    it('writes nothing anywhere', async () => {
      await sh(
        'cd x.mstack; mkdir -p layer@1/var layer@1/etc rw/data/data-too bind@var robind@etc; echo low >layer@1/f; echo up >rw/data/g',
      );
      const before = await everything('x.mstack');
      await mounted('true', '-r');
      expect(await sh('cat w/f w/g; ls w')).to.equal('low\nup\ndata-too\netc\nf\ng\nvar\n');
      for (const path of ['w/f', 'w/g', 'w/new', 'w/var/new', 'w/etc/new'])
        expect(await write(path), path).to.equal('Read-only file system');
      await run('-u', 'w');
      expect(await everything('x.mstack')).to.equal(before);
    });

    it('passes over an rw that has no data, and does not make it', async () => {
      await mounted('mkdir layer@1 rw; echo low >layer@1/f', '--read-only');
      expect(await sh('cat w/f; ls -A x.mstack/rw')).to.equal('low\n');
      expect(await write('w/f')).to.equal('Read-only file system');
    });

    it('has an empty root for a lone rw that has no data', async () => {
      await mounted('mkdir rw', '-r');
      expect(await sh('ls -A w x.mstack/rw; stat -c %a w')).to.equal('w:\n\nx.mstack/rw:\n755\n');
      expect(await write('w/f')).to.equal('Read-only file system');
    });

    it('has the data of a lone rw read-only', async () => {
      await mounted('mkdir -p rw/data; echo up >rw/data/f', '-r');
      expect(await sh('cat w/f; ls x.mstack/rw')).to.equal('up\ndata\n');
      expect(await write('w/f')).to.equal('Read-only file system');
    });

    it('has the tmpfs root read-only, with the binds in it', async () => {
      await mounted('mkdir bind@var', '-r');
      expect(await write('w/f')).to.equal('Read-only file system');
      expect(await write('w/var/f')).to.equal('Read-only file system');
    });

    it('has a root read-only', async () => {
      await mounted('mkdir -p layer@1/usr root/usr', '-r');
      expect(await write('w/f')).to.equal('Read-only file system');
      expect(await write('w/usr/f')).to.equal('Read-only file system');
    });

    it('has a bind at the root read-only', async () => {
      await mounted('mkdir -p bind@-/var bind@var', '-r');
      expect(await write('w/f')).to.equal('Read-only file system');
      expect(await write('w/var/f')).to.equal('Read-only file system');
    });
  });

  describe('what cannot be mounted', () => {
    const refusals: readonly [title: string, script: string, message: RegExp, ...options: string[]][] = [
      [
        'an unknown entry',
        'mkdir layer@1 notes',
        /^overlay-mstack: x.mstack: "notes" is no name of an entry/,
      ],
      ['a link to nothing', 'mkdir layer@1; ln -s gone layer@2', /x.mstack\/layer@2 is a link to nothing\n$/],
      ['a place twice', 'mkdir bind@var robind@var', /"bind@var" and "robind@var" are both for \/var/],
      ['a link for rw/data', 'mkdir layer@1 rw; ln -s . rw/data', /x.mstack\/rw\/data is a link/],
      ['a link for rw/work', 'mkdir layer@1 rw; ln -s . rw/work', /x.mstack\/rw\/work is a link/],
      [
        'a root and a lone layer with a linked usr',
        'mkdir -p root layer@1/x; ln -s x layer@1/usr',
        /layer@1\/usr is no directory/,
      ],
      ['a missing mount point in a lone layer', 'mkdir layer@1 bind@var', /\/var/],
      ['a missing mount point in read-only layers', 'mkdir layer@1 layer@2 bind@a-b', /\/a/],
      ['a missing mount point, mounted read-only', 'mkdir -p layer@1 rw/data root bind@srv', /srv|usr/, '-r'],
      [
        'a place after another that was made',
        'mkdir -p layer@1/etc rw bind@a-b bind@etc-f-d; echo >layer@1/etc/f',
        /\/f/,
      ],
      [
        'a place after others that were made in directories of the layer, upon an rw that was there',
        'mkdir -p layer@1/etc layer@1/a/b/c layer@1/d/e rw/data/d rw/work bind@a-b-c-n bind@a-b-m-n bind@d-e-f bind@etc-fff-dd; ln -s a/b layer@1/l; mkdir bind@l-k; echo >layer@1/etc/fff',
        /\/fff/,
      ],
      [
        'a place after another that was made in a bind',
        'mkdir -p rw/data rw/work bind@a bind@a-b-c bind@a-f-dd; echo >bind@a/f',
        /\/f/,
      ],
      ['a place that leads through a file', 'mkdir layer@1 rw bind@f-d; echo >layer@1/f', /\/f/],
      ['a directory for a place that is a file', 'mkdir layer@1 rw bind@f; echo >layer@1/f', /\/f/],
    ];
    for (const [title, script, message, ...options] of refusals)
      it(`is refused and changes nothing: ${title}`, async () =>
        expect(await refused(script, ...options)).to.match(message));
  });

  it('refuses a WHERE that is not there, or no directory, and leaves nothing of one that it made', async () => {
    await sh('mkdir x.mstack/layer@1 x.mstack/bind@var; touch file');
    const messages = [await run('-m', 'x.mstack', 'gone'), await run('-m', 'x.mstack', 'file')];
    expect(messages.map(({ code, stderr }) => [code, stderr])).to.deep.equal([
      [2, 'overlay-mstack: /srv/t/gone: no such directory: --mkdir makes it\n'],
      [2, 'overlay-mstack: /srv/t/file is no directory\n'],
    ]);
    expect((await run('-M', 'x.mstack', 'new/deep/er')).code).to.equal(1);
    expect(await sh('ls')).to.equal('file\nw\nx.mstack\n');
  });
});
