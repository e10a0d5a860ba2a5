// What the relay must refuse, sent by Lodestar's own client.
import assert from "node:assert/strict";
import { WireFormat } from "@lodestar/api";
import { getClient } from "@lodestar/api/builder";
import { createChainForkConfig } from "@lodestar/config";
import { ForkName } from "@lodestar/params";
import { ssz } from "@lodestar/types";
import { toHex } from "@lodestar/utils";
import { refusal } from "./answers.mjs";

const FORMS = [WireFormat.ssz, WireFormat.json];

// Blocks and questions that are not those of this slot, before its own block is handed in.
export async function ofProposal(proposal, tell) {
  const refused = async (what, answer, says) => {
    const message = await refusal(await answer, 400);
    assert.match(message, says, what);
    tell({ step: "refused", what, message });
  };
  const good = proposal.blinded();
  const other = proposal.signer.pubkeys.find((key) => toHex(key) !== toHex(proposal.duty.pubkey));
  for (const [what, block, says] of badBlocks(proposal, other)) {
    for (const form of FORMS) {
      for (const version of ["v1", "v2"]) {
        await refused(`${what}, ${version} ${form}`, proposal.submit(version, block, form), says);
      }
    }
  }
  const bytes = proposal.types.SignedBlindedBeaconBlock.serialize(good);
  const cut = { signedBlindedBlock: { data: good, bytes: bytes.subarray(0, -1) } };
  for (const method of ["submitBlindedBlock", "submitBlindedBlockV2"]) {
    const answer = proposal.relay[method](cut, { requestWireFormat: WireFormat.ssz });
    await refused(`cut short, ${method}`, answer, /SSZ/);
  }
  for (const fork of OTHER_FORKS.filter((fork) => fork !== proposal.fork)) {
    const relay = getClient({ baseUrl: proposal.relayUrl }, { config: configOf(fork) });
    const says = new RegExp(`slot ${proposal.slot} is ${proposal.fork}, not ${fork}`);
    for (const form of FORMS) {
      const block = { data: form === WireFormat.ssz ? good : completed(fork, good), bytes };
      const answer = relay.submitBlindedBlock({ signedBlindedBlock: block }, { requestWireFormat: form });
      await refused(`as ${fork}, ${form}`, answer, says);
    }
  }

  await refused("header for another's slot", proposal.header(WireFormat.ssz, { proposerPubkey: other }), /propose/);
  await refused("header for a past slot", proposal.header(WireFormat.ssz, { slot: proposal.slot - 1 }), /past/);
  const nothing = await proposal.header(WireFormat.ssz, { parentHash: new Uint8Array(32).fill(7) });
  assert.deepEqual([nothing.status, nothing.value(), await nothing.text()], [204, undefined, ""]);
  tell({ step: "nothing", what: "header upon an unknown parent" });
}

function badBlocks(proposal, other) {
  const { header } = proposal.bid;
  const unknown = { ...header, blockHash: new Uint8Array(32).fill(7) };
  const changed = { ...header, gasUsed: header.gasUsed + 1 };
  const proposerIndex = proposal.duty.validatorIndex + 1;
  return [
    ["unknown header", proposal.blinded({ header: unknown }), /not one that this relay offered/],
    ["changed header", proposal.blinded({ header: changed }), /not the one that this relay offered/],
    ["signature of another", proposal.blinded({ signedBy: other }), /signature/],
    ["another's index", proposal.blinded({ message: { proposerIndex } }), /propose/],
  ];
}

// Another block around the header whose payload was given out.
export async function ofAnotherBlock(proposal, version, form, tell) {
  const block = proposal.blinded({ graffiti: new Uint8Array(32).fill(9) });
  const message = await refusal(await proposal.submit(version, block, form), 400);
  assert.match(message, /another block of this slot/);
  tell({ step: "refused", what: `another block, ${version} ${form}`, message });
}

// Forks that a client may take the chain to be in.
const OTHER_FORKS = [ForkName.capella, ForkName.deneb, ForkName.electra, ForkName.fulu];

// The block, and what only this fork's blocks have.
function completed(fork, { message, signature }) {
  const body = { ...ssz[fork].BlindedBeaconBlockBody.defaultValue(), ...message.body };
  const header = { ...ssz[fork].ExecutionPayloadHeader.defaultValue(), ...message.body.executionPayloadHeader };
  return { message: { ...message, body: { ...body, executionPayloadHeader: header } }, signature };
}

// A configuration whose chain is in a fork from its start.
function configOf(fork) {
  const forks = Object.values(ForkName).slice(1);
  const epoch = (one) => (forks.indexOf(one) <= forks.indexOf(fork) ? 0 : Infinity);
  return createChainForkConfig(Object.fromEntries(forks.map((one) => [`${one.toUpperCase()}_FORK_EPOCH`, epoch(one)])));
}

// Registrations that are not taken.
export async function ofRegistrations({ relay, signer }, message, tell) {
  const [first] = signer.pubkeys;
  const forged = { ...signer.registration({ ...message, pubkey: first }), signature: new Uint8Array(96).fill(1) };
  const changed = signer.registration({ ...message, pubkey: first });
  changed.message = { ...changed.message, gasLimit: 1 };
  const early = signer.registration({ ...message, pubkey: first, timestamp: message.timestamp + 3600 });
  const cases = [
    ["no signature", forged, /signature/],
    ["signature of another message", changed, /signature/],
    ["from the future", early, /future/],
  ];
  for (const [what, registration, says] of cases) {
    for (const form of FORMS) {
      const answer = await relay.registerValidator({ registrations: [registration] }, { requestWireFormat: form });
      const said = await refusal(answer, 400);
      assert.match(said, says, what);
      assert.ok(said.includes(toHex(first)), `the refusal names the validator: ${said}`);
      tell({ step: "refused", what: `registration, ${what}, ${form}`, message: said });
    }
  }
}

// Calls of a fork to come, which this relay does not serve.
export async function ofGloas({ relayUrl, signer }, tell) {
  const relay = getClient({ baseUrl: relayUrl }, { config: configOf(ForkName.gloas) });
  const [proposerPubkey] = signer.pubkeys;
  const root = new Uint8Array(32);
  const { SignedBeaconBlock, SignedBuilderRequestAuth, BuilderPreferencesRequest } = ssz.gloas;
  const answers = {
    getExecutionPayloadBid: await relay.getExecutionPayloadBid({
      ...{ slot: 1, parentHash: root, parentRoot: root, proposerPubkey },
      ...{ requestAuth: SignedBuilderRequestAuth.defaultValue(), dateMilliseconds: 1, timeoutMs: 1 },
    }),
    submitSignedBeaconBlock: await relay.submitSignedBeaconBlock({
      signedBlock: { data: SignedBeaconBlock.defaultValue() },
    }),
    submitBuilderPreferences: await relay.submitBuilderPreferences({
      proposerPubkey,
      request: BuilderPreferencesRequest.defaultValue(),
    }),
  };
  for (const [what, answer] of Object.entries(answers)) {
    tell({ step: "refused", what, message: await refusal(answer, 404) });
  }
}
