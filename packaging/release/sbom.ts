/** A part of a bill of materials, CycloneDX 1.5: https://cyclonedx.org/docs/1.5/json/. */
export interface Component {
  readonly type: 'application' | 'library';
  readonly name: string;
  readonly version: string;
  readonly purl?: string;
}

interface Bill {
  readonly serialNumber?: string;
  readonly metadata: { readonly timestamp: string; readonly component: { readonly name: string } };
  readonly components: readonly object[];
}

/**
 * Makes npm's bill of materials the same in each build, and adds what npm does not know.
 *
 * @param text what `npm sbom --sbom-format cyclonedx` printed
 * @param date seconds since 1970
 */
export function completeBill(text: string, more: readonly Component[], date: number): string {
  const { serialNumber: _, ...bill } = JSON.parse(text) as Bill; // random, and optional
  const timestamp = new Date(date * 1000).toISOString();
  const component = { ...bill.metadata.component, name: 'lametun' }; // npm takes the folder's name
  const metadata = { ...bill.metadata, timestamp, component };
  return `${JSON.stringify({ ...bill, metadata, components: [...bill.components, ...more] }, null, 2)}\n`;
}

/** Node.js and the libraries in it that have advisories of their own. @param versions its `process.versions` */
export const nodeComponents = (versions: Readonly<Record<string, string>>): readonly Component[] =>
  (['node', 'openssl', 'v8', 'uv', 'zlib'] as const).flatMap((name) => {
    const version = versions[name];
    return version === undefined
      ? []
      : [{ type: name === 'node' ? 'application' : 'library', name, version } as const];
  });

/** @param label the image's label `lametun.debian-packages`: `dash 0.5.12-2, libc6 2.36-9` */
export const debianComponents = (label: string): readonly Component[] =>
  label.split(', ').map((entry) => {
    const [name = '', version = ''] = entry.split(' ');
    const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}`;
    return { type: 'library', name, version, purl };
  });
