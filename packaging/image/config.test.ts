import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imageConfig } from './config.js';

test('the image starts what its volume contains, and asks it whether it works', () => {
  const layer = { diffId: 'sha256:00', architecture: 'arm64' };
  const { config, rootfs } = imageConfig(layer, '1.2.3', '2026-12-01T00:00:00Z', ['libc6 2.36']) as {
    readonly config: {
      readonly Entrypoint: readonly string[];
      readonly Cmd: readonly string[];
      readonly Healthcheck: { readonly Test: readonly string[]; readonly Timeout: number };
      readonly Labels: Readonly<Record<string, string>>;
    };
    readonly rootfs: { readonly diff_ids: readonly string[] };
  };
  assert.deepEqual([...config.Entrypoint, ...config.Cmd], ['lametun', 'up']);
  assert.deepEqual(config.Healthcheck.Test, ['CMD', 'lametun', 'status']);
  assert.equal(config.Healthcheck.Timeout, 5_000_000_000); // a process that hangs does not answer
  assert.equal(config.Labels['org.opencontainers.image.version'], '1.2.3');
  assert.deepEqual(rootfs.diff_ids, ['sha256:00']);
});
