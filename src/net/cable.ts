/**
 * CABLES of a conf: `[bridge]=[mac|.vlan]`, and the interface names they give. Pure.
 */

/** A veth pair: `NAMEn` on the host, `ethn` in the subhost. */
export interface VethCable {
  readonly kind: 'veth';
  /** Host end, `NAMEn`. */
  readonly host: string;
  /** Subhost end, `ethn`. */
  readonly inside: string;
  readonly bridge?: string;
  /** MAC address of the subhost's end, lower case, `aa:bb:cc:dd:ee:ff`. */
  readonly mac?: string;
}

/** A VLAN on the host end of the veth before it. */
export interface VlanCable {
  readonly kind: 'vlan';
  /** `NAMEn.N` */
  readonly host: string;
  /** Host end of the veth it lies on. */
  readonly parent: string;
  readonly vlanId: number;
  readonly bridge?: string;
}

export type CableSpec = VethCable | VlanCable;
