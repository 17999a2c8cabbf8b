import type { Context } from 'hono';
import { ID_PATTERN, type DeviceAddress } from '../../agent/contracts/index.js';

/** The device that a path with `:fleet` and `:device` names; null when these are no identifiers. */
export function addressOf(context: Context): DeviceAddress | null {
  const fleet = context.req.param('fleet') ?? '';
  const device = context.req.param('device') ?? '';
  return ID_PATTERN.test(fleet) && ID_PATTERN.test(device) ? { fleet, device } : null;
}
