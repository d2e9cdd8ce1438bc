/**
 * What the manual page of each command says besides its options. `--help` prints the examples too. In a text, `backquotes`
 * mark what a user types, and *stars* what a value replaces.
 */
export interface Details {
  /** Paragraphs. */
  readonly about: readonly string[];
  readonly examples: readonly Example[];
  /** Related commands. */
  readonly seeAlso: readonly string[];
}

export interface Example {
  readonly run: string;
  /** What it does, as a verb phrase. */
  readonly does: string;
}

export const DETAILS: Readonly<Record<string, Details>> = {
  serve: {
    about: [
      '`lametun serve` starts a network. This machine becomes its first member, and its hub, which keeps the list of members and relays packets that cannot go directly. The first start prints the `lametun join` command for one other machine, and the ports to open.',
      'The options are stored. After a reboot, `lametun up` starts the hub and the member again without them. Each option of a later `lametun serve` takes effect or is refused with a message.',
      'The hub needs an address that the other machines can reach. Behind a NAT and in most clouds, a machine does not know its public address: name it with `--public`, and forward TCP and UDP port 443 to this machine.',
    ],
    examples: [
      { run: 'lametun serve', does: 'start a network, in the foreground' },
      {
        run: 'lametun serve --public hub.example.com --install',
        does: 'name the public address, and run after every boot',
      },
      {
        run: 'lametun serve --name office --share 192.168.50.0/24',
        does: 'let members reach the network behind this machine',
      },
    ],
    seeAlso: ['join', 'hub', 'up', 'invite'],
  },
  join: {
    about: [
      '`lametun join` makes this machine a member of a network. The machine makes its own private key, which never leaves it. The token contains a secret, so send it as you would send a password.',
      'Other users of this machine can see the arguments of a program. To hide the token from them, pass `-` or `--token-file`.',
      'A machine that is a member already keeps its name and addresses. A new token of the same network tells it where its hub is now, even while it runs.',
    ],
    examples: [
      { run: 'lametun join TOKEN', does: 'join, in the foreground' },
      { run: 'lametun join --install --token-file token', does: 'join, and run after every boot' },
      { run: 'lametun join TOKEN --state /var/lib/lametun-work', does: 'join a second network' },
    ],
    seeAlso: ['invite', 'up', 'leave', 'share'],
  },
  hub: {
    about: [
      '`lametun hub` starts a network with this machine as its hub. The machine is not a member. `lametun invite` makes the tokens that other machines join with.',
      'The options are stored. After a reboot, `lametun up` starts the hub again without them.',
    ],
    examples: [
      {
        run: 'lametun hub --public hub.example.com --install',
        does: 'run a hub on a rented server, after every boot too',
      },
      { run: 'lametun hub --database-file url --detach', does: 'keep the data in PostgreSQL' },
    ],
    seeAlso: ['serve', 'up', 'invite', 'backup'],
  },
  up: {
    about: [
      '`lametun up` starts what `lametun serve`, `lametun join` or `lametun hub` set up in the state directory, with the options that they stored.',
      'With `--detach` and `--install`, the command returns once lametun is up and the hub has confirmed the membership, or after 3 seconds if the hub does not answer.',
    ],
    examples: [
      { run: 'lametun up --detach', does: 'start in the background' },
      { run: 'lametun up --install', does: 'start now and after every boot' },
    ],
    seeAlso: ['down', 'status', 'serve', 'join'],
  },
  down: {
    about: [
      '`lametun down` stops the process that runs on the state directory: in the foreground, in the background, or as a systemd service. That process undoes what it set up on this machine.',
      'lametun stays stopped until `lametun up`, or until the next boot if `--install` wrote a systemd unit.',
    ],
    examples: [{ run: 'lametun down', does: 'stop' }],
    seeAlso: ['up', 'leave'],
  },
  leave: {
    about: [
      '`lametun leave` ends the membership of this machine: the hub forgets the node, and the node forgets the network. It works whether the node runs or not, and removes the systemd unit unless that also starts a hub.',
      'If the hub is unreachable, the command fails. With `--force` it leaves anyway, and keeps the old state in *left-DATE* in the state directory.',
    ],
    examples: [
      { run: 'lametun leave', does: 'leave the network' },
      { run: 'lametun leave --force', does: 'leave while the hub is unreachable' },
    ],
    seeAlso: ['join', 'down', 'remove'],
  },
  status: {
    about: [
      '`lametun status` prints the addresses of this node, its hub and relay, and a line for each other node. The path of a node is `direct` with an endpoint, `relayed` through the hub, `none`, or `offline`. A line below gives the reason when it is not direct.',
      'lametun looks for a direct path only while there is traffic. So `relayed: no traffic` is normal.',
      'Members of the group in `--operators` may run this command without being root.',
    ],
    examples: [
      { run: 'lametun status', does: 'print the status' },
      { run: 'lametun status --watch', does: 'keep it up to date on the screen' },
      { run: 'lametun status --json', does: 'print it for a program' },
    ],
    seeAlso: ['ping', 'nodes'],
  },
  ping: {
    about: [
      '`lametun ping` asks another node for an answer every second, and prints the time and the path of each answer. The lametun of the other machine answers, not its kernel.',
      'The exit status is 0 if the node answered at least once, otherwise 1. Members of the group in `--operators` may run this command without being root.',
    ],
    examples: [
      { run: 'lametun ping office', does: 'ping a node until Ctrl-C' },
      { run: 'lametun ping -c 3 10.76.0.2', does: 'ping the node with this address three times' },
    ],
    seeAlso: ['status'],
  },
  share: {
    about: [
      '`lametun share` replaces the list of networks behind this machine that other members can reach through it. Without an argument, it prints the list. An administrator has to approve new shares, unless the invitation allowed them, or this machine is also the hub.',
      'Hosts in a shared network need no software: packets from members reach them with the address of this machine.',
    ],
    examples: [
      { run: 'lametun share', does: 'list what this node shares' },
      { run: 'lametun share 192.168.1.0/24 192.168.2.0/24', does: 'share these two networks and no others' },
      { run: 'lametun share --none', does: 'stop sharing' },
    ],
    seeAlso: ['approve', 'status'],
  },
  trust: {
    about: [
      'When another node has a new key, `lametun status` warns for a week. That node left and joined again, or another machine took its name. Compare the key in `lametun status --json` with the one on that machine. If they match, `lametun trust` ends the warning.',
    ],
    examples: [{ run: 'lametun trust laptop', does: 'accept the new key' }],
    seeAlso: ['status', 'nodes'],
  },
  invite: {
    about: [
      '`lametun invite` makes a token, and prints the command that joins another machine with it. A token works for one machine and for 24 hours, unless options say otherwise. It contains a secret, so send it as you would send a password.',
    ],
    examples: [
      { run: 'lametun invite', does: 'invite one machine' },
      { run: 'lametun invite --expires 7d --uses 5', does: 'invite five machines within a week' },
      {
        run: 'lametun invite --share 192.168.1.0/24',
        does: 'let the machine share this network without approval',
      },
    ],
    seeAlso: ['invites', 'revoke', 'join'],
  },
  invites: {
    about: [
      '`lametun invites` lists invitations with their id, state, time left, uses, rights, and the nodes that joined. An invitation that expired or was revoked is listed for 30 more days, and a used one as long as one of its nodes is a member.',
    ],
    examples: [{ run: 'lametun invites', does: 'list the invitations' }],
    seeAlso: ['invite', 'revoke'],
  },
  revoke: {
    about: [
      '`lametun revoke` ends an invitation: no more machines can join with its token. Pending nodes that used it are removed. Nodes that were approved stay; `lametun remove` removes them.',
    ],
    examples: [{ run: 'lametun revoke 782a7f96', does: 'revoke this invitation' }],
    seeAlso: ['invites', 'remove'],
  },
  nodes: {
    about: [
      '`lametun nodes` lists every node with its addresses, state, role, and the networks that it shares or wants to share.',
      'Members of the group in `--operators` may run this command without being root.',
    ],
    examples: [{ run: 'lametun nodes', does: 'list the nodes' }],
    seeAlso: ['approve', 'rename', 'remove', 'status'],
  },
  approve: {
    about: [
      '`lametun approve` lets a pending node into the network, and approves the networks that it wants to share. New nodes are pending if the hub runs with `--ask`. An approved node gets its addresses, routes and names without a restart.',
    ],
    examples: [
      { run: 'lametun approve home', does: 'approve the node and its shares' },
      { run: 'lametun approve home --share 192.168.1.0/24', does: 'approve only this share' },
    ],
    seeAlso: ['nodes', 'share', 'remove'],
  },
  rename: {
    about: ['`lametun rename` gives a node another name, on all members at once. Its addresses stay.'],
    examples: [{ run: 'lametun rename laptop anna', does: 'call the node anna' }],
    seeAlso: ['nodes'],
  },
  remove: {
    about: [
      '`lametun remove` cuts a node off within seconds. The machine of the node moves its state to *removed-DATE* in the state directory, and needs a new token to join again.',
    ],
    examples: [{ run: 'lametun remove laptop', does: 'remove a lost machine' }],
    seeAlso: ['nodes', 'leave', 'revoke'],
  },
  backup: {
    about: [
      '`lametun backup` writes everything that the hub knows into one file, except its private key. It also works while the hub runs. The backup and the key together make the same hub on another machine, so keep both as safe as a key.',
    ],
    examples: [
      { run: 'lametun backup hub.backup', does: 'write a backup' },
      { run: 'cp /var/lib/lametun/hub.key KEEP/', does: 'keep the key, which the backup does not contain' },
    ],
    seeAlso: ['restore', 'hub'],
  },
  restore: {
    about: [
      '`lametun restore` puts a backup into the database of a stopped hub. After it, run `lametun up`. Old data is kept in *replaced-DATE* in the state directory.',
      'Nodes that joined after the backup must join again, and shares that were approved after it must be approved again.',
    ],
    examples: [
      { run: 'lametun restore hub.backup', does: 'restore the hub of this machine' },
      { run: 'lametun restore --database-file url hub.backup', does: 'move the hub to PostgreSQL' },
    ],
    seeAlso: ['backup', 'up'],
  },
  demo: {
    about: [
      '`lametun demo` builds a home, an internet and an office out of network namespaces, and follows one packet through the plain tunnel between them. The network of this machine stays untouched, and nothing is left behind. Without root, TUN devices or namespaces, it plays a recording.',
      'The lesson takes three minutes. Space pauses it, and Enter shows the next screen.',
    ],
    examples: [
      { run: 'lametun demo --step', does: 'wait for a key at each screen' },
      { run: 'lametun demo --pcap lesson.pcap', does: 'keep the packets for Wireshark' },
    ],
    seeAlso: [],
  },
  drops: {
    about: [
      '`lametun drops` lists what a running lametund dropped, with a count and an explanation for each reason. Strangers on the internet cause some of them, and get no answer.',
    ],
    examples: [{ run: 'lametun drops wg0', does: 'list what wg0 dropped' }],
    seeAlso: [],
  },
};

/** The examples of a command as they stand in its help. */
export function exampleText(command: string): string {
  const { examples } = DETAILS[command]!;
  return ['Examples:', ...examples.map(({ run, does }) => `  ${run}\n      ${does}`)].join('\n');
}
