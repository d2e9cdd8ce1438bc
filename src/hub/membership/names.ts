import { cutLabel, isLabel, LABEL_LENGTH, LABEL_RULE, toLabel } from '../../protocol/label.js';

/** Names that mean something else. */
const RESERVED: ReadonlySet<string> = new Set(['localhost', 'hub', 'dns']);

/** A node's name by its wish. A name of digits alone would be taken for an id. */
export function toName(wish: string): string {
  const label = toLabel(wish) ?? 'node';
  return /^\d+$/.test(label) || RESERVED.has(label) ? cutLabel(`node-${label}`, LABEL_LENGTH) : label;
}

/** Why nobody can be called that, or undefined when somebody can. */
export function whyNoName(name: string): string | undefined {
  if (RESERVED.has(name)) return 'the name is reserved';
  if (/^\d+$/.test(name)) return "a number would be taken for a node's number";
  return isLabel(name) ? undefined : LABEL_RULE;
}

/** The wished name, or with the first number that makes it unique. */
export function uniqueName(wish: string, isTaken: (name: string) => boolean): string {
  const label = toName(wish);
  if (!isTaken(label)) return label;
  for (let number = 2; ; number++) {
    const suffix = `-${number}`;
    const name = `${cutLabel(label, LABEL_LENGTH - suffix.length)}${suffix}`;
    if (!isTaken(name)) return name;
  }
}
