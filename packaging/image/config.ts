/** What a container engine reads: https://github.com/opencontainers/image-spec/blob/main/config.md. */
export interface Layer {
  /** The SHA-256 of the uncompressed archive. */
  readonly diffId: string;
  /** Go's name, which is also Debian's. */
  readonly architecture: string;
}

const SECOND = 1e9; // Docker's durations are in nanoseconds

/**
 * @param created ISO 8601
 * @param packages the Debian packages in it: "name version"
 */
export const imageConfig = (
  { diffId, architecture }: Layer,
  version: string,
  created: string,
  packages: readonly string[],
): object => ({
  created,
  architecture,
  os: 'linux',
  config: {
    Env: ['PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    Entrypoint: ['lametun'],
    Cmd: ['up'],
    Volumes: { '/var/lib/lametun': {} },
    StopSignal: 'SIGTERM',
    // Not in the specification. Docker reads it, and podman in images of Docker's format.
    Healthcheck: {
      Test: ['CMD', 'lametun', 'status'],
      Interval: 30 * SECOND,
      Timeout: 5 * SECOND,
      StartPeriod: 20 * SECOND,
      Retries: 3,
    },
    Labels: {
      'org.opencontainers.image.title': 'lametun',
      'org.opencontainers.image.description': 'A VPN for Linux that sets itself up',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.created': created,
      'org.opencontainers.image.licenses': 'MIT',
      'lametun.debian-packages': packages.join(', '),
    },
  },
  rootfs: { type: 'layers', diff_ids: [diffId] },
  history: [{ created, created_by: 'npm run package:image' }],
});
