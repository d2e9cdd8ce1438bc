/** RFC 1035 §2.3.4. */
export const LABEL_LENGTH = 63;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Whether a text is a DNS label: RFC 1035 §2.3.1 in lower case, with digits in front allowed (RFC 1123 §2.1). */
export const isLabel = (text: string): boolean => LABEL.test(text);

/** What a refused name is told. */
export const LABEL_RULE = 'use 1 to 63 of a-z, 0-9 and "-"';

/** Makes a DNS label of a machine's name, without its domain; undefined where nothing is left of it. */
export function toLabel(text: string): string | undefined {
  const [first = ''] = text.toLowerCase().split('.');
  const label = cutLabel(first.replaceAll(/['’]/g, '').replaceAll(/[^a-z0-9-]+/g, '-'), LABEL_LENGTH);
  return label === '' ? undefined : label;
}

/** Cuts a label to a length, without hyphens at its ends. */
export const cutLabel = (label: string, length: number): string =>
  label.replace(/^-+/, '').slice(0, length).replace(/-+$/, '');

/** Whether a text is a host's name: labels, the last of which is no number, or it would be taken for an IPv4 address. */
export const isHostName = (text: string): boolean =>
  text.length <= 253 && !/(?:^|\.)\d+$/.test(text) && text.toLowerCase().split('.').every(isLabel);
