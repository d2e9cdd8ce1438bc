import { cutLabel, isLabel, LABEL_LENGTH, LABEL_RULE, toLabel } from '../../protocol/label.js';

/** Names with another meaning. */
const RESERVED: ReadonlySet<string> = new Set(['localhost', 'hub', 'dns']);

/** Makes a node's name from the requested one. A name of digits only would be taken for an id. */
export function toName(wish: string): string {
  const label = toLabel(wish) ?? 'node';
  return /^\d+$/.test(label) || RESERVED.has(label) ? cutLabel(`node-${label}`, LABEL_LENGTH) : label;
}

/** Why a name cannot be used; undefined if it can. */
export function whyNoName(name: string): string | undefined {
  if (RESERVED.has(name)) return 'the name is reserved';
  if (/^\d+$/.test(name)) return "a number would be taken for a node's number";
  return isLabel(name) ? undefined : LABEL_RULE;
}

/** The requested name; if it is taken, with the first number that makes it unique. */
export function uniqueName(wish: string, isTaken: (name: string) => boolean): string {
  const label = toName(wish);
  if (!isTaken(label)) return label;
  for (let number = 2; ; number++) {
    const suffix = `-${number}`;
    const name = `${cutLabel(label, LABEL_LENGTH - suffix.length)}${suffix}`;
    if (!isTaken(name)) return name;
  }
}
