import { ADDRESS } from './topology.js';

/** The two networks and the internet between them. */
export const networks = (public4: string): string[] => [
  '      home                       internet                     office       ',
  '┌──────────────────┐                                   ┌──────────────────┐',
  `│ laptop           │                                   │ server           │`,
  `│ ${pad(ADDRESS.laptop.v4)} │                                   │ ${pad(ADDRESS.server.v4)} │`,
  '│   │              │                                   │   │              │',
  `│ router (NAT)     │                                   │ gateway          │`,
  `│ ${pad(ADDRESS.homeRouter.v4)} │           ┌───────────┐           │ ${pad(ADDRESS.gateway.v4)} │`,
  `│ ${pad(public4)} ├───────────┤  routers  ├───────────┤ ${pad(ADDRESS.office.v4)} │`,
  '└──────────────────┘           └───────────┘           └──────────────────┘',
];

/** The same, with the tunnel: what travels, and what seems to travel. */
export const tunnel = (port: number): string[] => [
  '┌──────────────────┐                                   ┌──────────────────┐',
  '│ laptop           │        what programs see          │ gateway          │',
  '│ tun0 10.0.0.2    ╞═══════════════════════════════════╡ tun0 10.0.0.1    │',
  '│   │ packets      │                                   │   │ packets      │',
  '│ lametun          │        what travels               │ lametun          │',
  `│   │ datagrams    │        UDP to port ${String(port).padEnd(5)}          │   │ datagrams    │`,
  `│ ${pad(ADDRESS.laptop.v4)} ├──────── router ── internet ───────┤ ${pad(ADDRESS.office.v4)} │`,
  '└──────────────────┘                                   └──────────────────┘',
];

const pad = (text: string): string => text.padEnd(16);
