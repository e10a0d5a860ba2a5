// The network as its beacon node tells it, read with Lodestar's beacon client: configuration, clock, duties.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { getClient } from "@lodestar/api";
import { chainConfigFromJson, createBeaconConfig, createChainForkConfig } from "@lodestar/config";
import { SLOTS_PER_EPOCH } from "@lodestar/params";

export class Network {
  static async of(beaconUrl) {
    const client = (config) => getClient({ baseUrl: beaconUrl }, { config });
    const asking = client(createChainForkConfig({}));
    const spec = (await asking.config.getSpec()).value();
    const genesis = (await asking.beacon.getGenesis()).value();
    assert.equal(Number(spec.SLOTS_PER_EPOCH), SLOTS_PER_EPOCH, "the chain is of the mainnet preset");
    const config = createBeaconConfig(chainConfigFromJson(spec), genesis.genesisValidatorsRoot);
    return new Network(config, genesis, client(config));
  }

  constructor(config, genesis, beacon) {
    Object.assign(this, { config, genesis, beacon });
  }

  get fork() {
    return this.config.getForkName(0);
  }

  epochOf(slot) {
    return Math.floor(slot / SLOTS_PER_EPOCH);
  }

  // Milliseconds.
  startOf(slot) {
    return this.genesis.genesisTime * 1000 + slot * this.config.SLOT_DURATION_MS;
  }

  // The first slot that has not begun, never slot 0.
  nextSlot() {
    const passed = (Date.now() - this.startOf(0)) / this.config.SLOT_DURATION_MS;
    return Math.max(Math.floor(passed) + 1, 1);
  }

  async until(slot) {
    while (Date.now() < this.startOf(slot)) await sleep(this.startOf(slot) - Date.now());
  }

  async proposer(slot) {
    const duties = await this.beacon.validator.getProposerDuties({ epoch: this.epochOf(slot) });
    return duties.value().find((duty) => duty.slot === slot);
  }

  // Asks the beacon node until it has the block of this root, or the time is over.
  async imported(root, until) {
    for (;;) {
      const block = await this.beacon.beacon.getBlockV2({ blockId: root });
      if (block.ok) return block.value();
      assert.ok(Date.now() < until, `the beacon node has no block ${root}: ${block.status}`);
      await sleep(50);
    }
  }
}
