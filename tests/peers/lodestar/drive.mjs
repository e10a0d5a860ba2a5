// Drives a relay by Lodestar's builder client. Settings come as JSON on stdin:
//   relay, beacon    base URLs
//   relayPubkey      the key that signs bids, hex
//   secrets          the validators' secret keys, hex; every proposer of the chain must be among them
// It registers the validators and proposes four blocks, each in a way of its own, after it tried what must be refused.
// Each step that went as it should is a line of JSON on stdout. At the first that did not the script ends with the
// reason on stderr, and a status other than zero.
import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { WireFormat } from "@lodestar/api";
import { getClient } from "@lodestar/api/builder";
import { ArrayOf, ssz } from "@lodestar/types";
import { toHex } from "@lodestar/utils";
import { lowered } from "./answers.mjs";
import { Network } from "./network.mjs";
import { Proposal } from "./proposal.mjs";
import { ofAnotherBlock, ofGloas, ofProposal, ofRegistrations } from "./refusals.mjs";
import { Signer } from "./signing.mjs";

// Slots without a header after which there is something wrong.
const PATIENCE_SLOTS = 8;

const tell = (step) => console.log(JSON.stringify(step));

async function status({ relay }) {
  const answer = await relay.status();
  assert.deepEqual([answer.status, await answer.text()], [200, ""]);
  tell({ step: "status" });
}

// All validators in SSZ, then all again in JSON, with another gas limit.
async function register(world) {
  const { relay, signer } = world;
  const now = Math.floor(Date.now() / 1000);
  const message = { feeRecipient: new Uint8Array(20).fill(0xfe), gasLimit: 36_000_000, timestamp: now - 1 };
  await ofRegistrations(world, message, tell);
  const terms = {
    [WireFormat.ssz]: message,
    [WireFormat.json]: { ...message, gasLimit: 45_000_000, timestamp: now },
  };
  for (const [form, term] of Object.entries(terms)) {
    const registrations = signer.pubkeys.map((pubkey) => signer.registration({ ...term, pubkey }));
    const answer = await relay.registerValidator({ registrations }, { requestWireFormat: form });
    assert.deepEqual([answer.status, await answer.text()], [200, ""], answer.error()?.message);
    const type = ArrayOf(ssz.bellatrix.SignedValidatorRegistrationV1, registrations.length);
    tell({ step: "registered", form, registrations: lowered(type.toJson(registrations)) });
  }
}

// The next slot for which the relay has a header.
async function nextProposal(world) {
  let slot = world.network.nextSlot();
  for (const last = slot + PATIENCE_SLOTS; slot < last; slot = world.network.nextSlot()) {
    const proposal = await Proposal.begin(world, slot);
    if (proposal !== null) return proposal;
    tell({ step: "no header", slot });
  }
  throw Error(`no header in ${PATIENCE_SLOTS} slots`);
}

// A proposal in one form, which is repeated in the other.
async function propose(world, version, form) {
  const proposal = await nextProposal(world);
  await ofProposal(proposal, tell);
  const block = proposal.blinded();
  const blobs = await handIn(proposal, version, block, form);
  await handIn(proposal, version, block, form === WireFormat.ssz ? WireFormat.json : WireFormat.ssz);
  await ofAnotherBlock(proposal, version, form, tell);
  const { slot, bid } = proposal;
  const { root, hash } = await proposal.imported(block);
  assert.equal(hash, toHex(bid.header.blockHash));
  const commitments = bid.blobKzgCommitments?.length ?? 0;
  tell({ step: "proposed", version, form, slot, root, hash, value: bid.value.toString(), commitments, blobs });
}

// Hands a block in; with v1 publishes it, too. Gives the number of blobs that came back.
async function handIn(proposal, version, block, form) {
  const answer = await proposal.submit(version, block, form);
  if (version === "v1") {
    const unblinded = proposal.payload(answer, form, block);
    await proposal.publish(block, unblinded);
    return unblinded.blobs.length;
  }
  assert.deepEqual([answer.status, await answer.text()], [202, ""], answer.error()?.message);
  return 0;
}

const settings = JSON.parse(await text(process.stdin));
const network = await Network.of(settings.beacon);
const world = {
  network,
  signer: new Signer(network.config, settings.secrets),
  relay: getClient({ baseUrl: settings.relay }, { config: network.config }),
  relayUrl: settings.relay,
  relayPubkey: settings.relayPubkey,
};
tell({ step: "chain", fork: network.fork });
await status(world);
await register(world);
await ofGloas(world, tell);
for (const version of ["v1", "v2"]) {
  for (const form of [WireFormat.ssz, WireFormat.json]) await propose(world, version, form);
}
await status(world);
tell({ step: "done" });
