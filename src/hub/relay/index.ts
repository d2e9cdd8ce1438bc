export {
  Relay,
  type RelayCounters,
  type RelayInterface,
  type RelayOptions,
  type RelaySession,
} from './relay.js';
