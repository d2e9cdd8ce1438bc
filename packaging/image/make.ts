import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { thisRelease } from '../deb/changelog.js';
import { DEBIAN_ARCHITECTURE } from '../deb/control.js';
import { type Architecture, koffiPackage } from '../single-file/node.js';
import { imageConfig } from './config.js';
import { unpackDebian } from './debian.js';

/** Names and addresses are looked up in files first, then by DNS. Docker writes hosts and resolv.conf. */
const FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

/** Empty folders that lametun or the container engine expects, with their modes. */
const FOLDERS: Readonly<Record<string, number>> = {
  root: 0o700,
  tmp: 0o1777,
  run: 0o755,
  proc: 0o755,
  sys: 0o755,
  dev: 0o755,
  'var/tmp': 0o1777,
  'var/lib/lametun': 0o700,
};

/**
 * Makes an image of the single executables in `out/`, for all processors that are given. No container engine and no base image
 * is needed. https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 * Two runs give the same bytes as long as Debian has the same packages.
 *
 * @returns its path, `out/lametun-1.0.0.oci.tar`
 */
export function makeImage(architectures: readonly Architecture[], version: string): string {
  const { date } = thisRelease(version);
  const created = `${new Date(date * 1000).toISOString().slice(0, 19)}Z`;
  const layout = 'out/image/layout';
  rmSync('out/image', { recursive: true, force: true });
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  const store = (mediaType: string, content: Uint8Array) => {
    const digest = sha256(content);
    writeFileSync(join(layout, 'blobs/sha256', digest), content);
    return {
      mediaType: `application/vnd.oci.image.${mediaType}`,
      digest: `sha256:${digest}`,
      size: content.length,
    };
  };

  const manifests = architectures.map((architecture) => {
    const root = `out/image/${architecture}`;
    const debian = DEBIAN_ARCHITECTURE[architecture];
    const packages = fill(root, architecture, debian);
    const archive = tar(root, date);
    const layer = store(
      'layer.v1.tar+gzip',
      execFileSync('gzip', ['-9n'], { input: archive, maxBuffer: 2 ** 30 }),
    );
    const about = { diffId: `sha256:${sha256(archive)}`, architecture: debian };
    const config = store('config.v1+json', json(imageConfig(about, version, created, packages)));
    rmSync(root, { recursive: true });
    const manifest = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json' };
    return {
      ...store('manifest.v1+json', json({ ...manifest, config, layers: [layer] })),
      platform: { architecture: debian, os: 'linux' },
    };
  });
  const index = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json' };
  const all = store('index.v1+json', json({ ...index, manifests }));
  const annotations = { 'org.opencontainers.image.ref.name': version };
  writeFileSync(join(layout, 'index.json'), json({ ...index, manifests: [{ ...all, annotations }] }));
  writeFileSync(join(layout, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  const path = `out/lametun-${version}.oci.tar`;
  writeFileSync(path, tar(layout, date));
  rmSync('out/image', { recursive: true });
  return path;
}

/** @returns the Debian packages in it */
function fill(root: string, architecture: Architecture, debian: string): readonly string[] {
  mkdirSync(root, { recursive: true });
  const packages = unpackDebian(root, debian);
  const place = (path: string): string => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    return join(root, path);
  };
  copyFileSync(`out/lametun-linux-${architecture}`, place('usr/bin/lametun'));
  symlinkSync('lametun', place('usr/bin/lametund'));
  const koffi = join(koffiPackage(architecture), `linux_${architecture}/koffi.node`);
  copyFileSync(koffi, place('usr/lib/lametun/koffi.node')); // so that a read-only container extracts nothing
  if (!existsSync(join(root, 'bin/sh'))) symlinkSync('dash', place('bin/sh'));
  for (const [path, content] of Object.entries(FILES)) writeFileSync(place(path), content);
  for (const [path, mode] of Object.entries(FOLDERS)) {
    mkdirSync(join(root, path), { recursive: true });
    chmodSync(join(root, path), mode);
  }
  return packages;
}

/** Sorted, with one date, and owned by root. */
const tar = (folder: string, date: number): Buffer =>
  execFileSync(
    'tar',
    [
      ...['--create', '--sort=name', '--format=ustar', `--mtime=@${date}`, '--owner=0', '--group=0'],
      ...['--numeric-owner', '--directory', folder, '.'],
    ],
    { maxBuffer: 2 ** 30 },
  );

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');
