// Signatures by Lodestar's means: its configuration's domains, its types' roots, its BLS library.
import { PublicKey, SecretKey, Signature, verify } from "@chainsafe/blst";
import { createBeaconConfig } from "@lodestar/config";
import {
  DOMAIN_APPLICATION_BUILDER,
  DOMAIN_BEACON_PROPOSER,
  DOMAIN_RANDAO,
  ForkName,
} from "@lodestar/params";
import { ssz } from "@lodestar/types";
import { toHex } from "@lodestar/utils";

// The Builder API signs for the genesis fork, and for no validators' root.
function builderDomain(config) {
  return createBeaconConfig(config, new Uint8Array(32)).getDomainAtFork(ForkName.phase0, DOMAIN_APPLICATION_BUILDER);
}

function signingRoot(type, message, domain) {
  return ssz.phase0.SigningData.hashTreeRoot({ objectRoot: type.hashTreeRoot(message), domain });
}

export class Signer {
  constructor(config, secrets) {
    this.config = config;
    this.keys = secrets.map((secret) => SecretKey.fromHex(secret));
    this.byPubkey = new Map(this.keys.map((key) => [key.toPublicKey().toHex(), key]));
  }

  get pubkeys() {
    return this.keys.map((key) => key.toPublicKey().toBytes());
  }

  sign(pubkey, type, message, domain) {
    return this.byPubkey.get(toHex(pubkey)).sign(signingRoot(type, message, domain)).toBytes();
  }

  registration(message) {
    const type = ssz.bellatrix.ValidatorRegistrationV1;
    return { message, signature: this.sign(message.pubkey, type, message, builderDomain(this.config)) };
  }

  randaoReveal(pubkey, slot, epoch) {
    return this.sign(pubkey, ssz.Epoch, epoch, this.config.getDomain(slot, DOMAIN_RANDAO));
  }

  block(pubkey, type, message) {
    const domain = this.config.getDomain(message.slot, DOMAIN_BEACON_PROPOSER);
    return { message, signature: this.sign(pubkey, type, message, domain) };
  }
}

// Whether the key that a bid names has signed it.
export function bidIsSigned(config, type, { message, signature }) {
  const root = signingRoot(type, message, builderDomain(config));
  const key = PublicKey.fromBytes(message.pubkey, true);
  return verify(root, key, Signature.fromBytes(signature, true, true));
}
