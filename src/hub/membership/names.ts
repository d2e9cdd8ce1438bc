/** A DNS label has at most 63 characters, RFC 1035 §2.3.4; some are left for a number. */
const LONGEST = 63;

/** Names that mean something else. */
const RESERVED: ReadonlySet<string> = new Set(['localhost', 'hub', 'dns']);

/** A DNS label out of whatever a machine is called. A name of digits alone would be taken for an id. */
export function toLabel(wish: string): string {
  const label = trimmed(
    wish
      .toLowerCase()
      .split('.')[0]!
      .replaceAll(/[^a-z0-9-]+/g, '-'),
    LONGEST,
  );
  if (label === '') return 'node';
  return /^\d+$/.test(label) || RESERVED.has(label) ? trimmed(`node-${label}`, LONGEST) : label;
}

/** Why nobody can be called that, or undefined when somebody can. */
export function whyNoName(name: string): string | undefined {
  if (RESERVED.has(name)) return 'it means something else';
  if (/^\d+$/.test(name)) return "a number alone is taken for a node's number";
  return toLabel(name) === name ? undefined : 'a name has 1 to 63 of a-z, 0-9 and "-"';
}

/** The wished name, or with the first number that makes it unique. */
export function uniqueName(wish: string, isTaken: (name: string) => boolean): string {
  const label = toLabel(wish);
  if (!isTaken(label)) return label;
  for (let number = 2; ; number++) {
    const suffix = `-${number}`;
    const name = `${trimmed(label, LONGEST - suffix.length)}${suffix}`;
    if (!isTaken(name)) return name;
  }
}

const trimmed = (label: string, length: number): string =>
  label.replace(/^-+/, '').slice(0, length).replace(/-+$/, '');
