import { SternaError } from '../../kernels/binding/errors.js';

/** Codes of the wire contracts, thrown by encoders and decoders at both ends. */
export const contractErrorCodes = {
  E_ID: 'a fleet, device, command or event name has characters or a length that the topic tree does not allow',
  E_TOPIC: 'a topic is not one of this protocol, or exceeds its limits',
  E_PAYLOAD: 'a payload is not UTF-8 JSON, or does not have the shape of its schema; details name the field',
  E_PAYLOAD_SIZE: 'a payload is larger than the protocol allows',
  E_PAYLOAD_VERSION: 'a payload has a schema version that this software does not know',
  E_PACKET_SIZE: 'the other end of a connection announced an MQTT packet that is larger than the protocol allows; the connection was closed',
  E_REPORT_REPLAYED: 'a report of a device is older than one that was read before; it changes nothing',
  E_REPORT_FORGED: 'a report does not have the signature of its device: somebody else wrote or changed it, or the reader has another certificate of the device; it changes nothing',
  E_REPORT_UNSIGNED: 'a report has no signature although its reader has certificates of devices; it changes nothing',
  E_BLOCK: 'a block of a package is malformed: header, length or checksum',
  E_CHUNK_LIST: 'the list of the chunks of a package is malformed',
} as const;

export type ContractErrorCode = keyof typeof contractErrorCodes;

export class ContractError extends SternaError<ContractErrorCode> {}
