// A proposal through the relay, as a consensus client makes it: header, blinded block, payload.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { WireFormat } from "@lodestar/api";
import { CELLS_PER_EXT_BLOB, ForkName, isForkPostDeneb, isForkPostElectra } from "@lodestar/params";
import { ssz, sszTypesFor } from "@lodestar/types";
import { toHex } from "@lodestar/utils";
import { keccak_256 } from "@noble/hashes/sha3";
import { written } from "./answers.mjs";
import { bidIsSigned } from "./signing.mjs";

// Pause between two looks for a header.
const LOOK_MS = 50;
// The part of a slot in which headers are asked for.
const HEADER_PART = 1 / 2;

export class Proposal {
  // Begins the proposal of a slot at its start; none if the relay has no header in time.
  static async begin(world, slot) {
    await world.network.until(slot);
    const { network, signer } = world;
    const duty = await network.proposer(slot);
    const randaoReveal = signer.randaoReveal(duty.pubkey, slot, network.epochOf(slot));
    const produced = await network.beacon.validator.produceBlockV3({ slot, randaoReveal, graffiti: "lodestar" });
    const local = produced.value().block;
    const parent = await network.beacon.beacon.getBlockHeader({ blockId: toHex(local.parentRoot) });
    const parentState = parent.value().header.message.stateRoot;
    const proposal = new Proposal(world, { slot, duty, local, parentState });
    return (await proposal.askForHeader()) ? proposal : null;
  }

  constructor(world, known) {
    Object.assign(this, world, known, { types: sszTypesFor(world.network.fork) });
  }

  get fork() {
    return this.network.fork;
  }

  get parentHash() {
    return this.local.body.executionPayload.parentHash;
  }

  header(form, overrides = {}) {
    const wanted = { slot: this.slot, parentHash: this.parentHash, proposerPubkey: this.duty.pubkey, ...overrides };
    const headers = { "Date-Milliseconds": `${Date.now()}`, "X-Timeout-Ms": "1000" };
    return this.relay.getHeader(wanted, { responseWireFormat: form, headers });
  }

  // The header in both forms. A better bid may come between the two: then both are asked for again.
  async askForHeader() {
    const until = this.network.startOf(this.slot + HEADER_PART);
    for (; Date.now() < until; await sleep(LOOK_MS)) {
      const answers = await Promise.all([this.header(WireFormat.ssz), this.header(WireFormat.json)]);
      if (answers.some((answer) => answer.status === 204)) continue;
      const type = this.types.SignedBuilderBid;
      const asSsz = written(answers[0], WireFormat.ssz, this.fork, type);
      const asJson = written(answers[1], WireFormat.json, this.fork, type);
      if (toHex(asSsz.signature) !== toHex(asJson.signature)) continue;
      assert.ok(type.equals(asSsz, asJson), "SSZ and JSON are two bids");
      this.checkBid(answers[0], asSsz);
      this.bid = asSsz.message;
      return true;
    }
    return false;
  }

  // What a proposer has to know of a bid before it signs.
  checkBid(answer, signed) {
    const { header, pubkey, blobKzgCommitments } = signed.message;
    const type = this.types.BuilderBid;
    const inner = type.serialize(signed.message);
    assert.ok(Buffer.from(inner).equals(answer.ssz().subarray(-inner.length)), "the bid's own bytes");
    assert.equal(toHex(pubkey), this.relayPubkey);
    assert.ok(bidIsSigned(this.network.config, type, signed), "the relay's signature does not verify");
    const built = this.local.body.executionPayload;
    for (const field of ["parentHash", "prevRandao"]) assert.equal(toHex(header[field]), toHex(built[field]), field);
    for (const field of ["timestamp", "blockNumber"]) assert.equal(header[field], built[field], field);
    if (isForkPostDeneb(this.fork)) {
      assert.ok(blobKzgCommitments.length <= this.network.config.getMaxBlobsPerBlock(0));
    }
  }

  // A signed block around the bid's header.
  blinded({ graffiti = new Uint8Array(32), header = this.bid.header, message = {}, signedBy = this.duty.pubkey } = {}) {
    const { executionPayload: _, ...shared } = this.local.body;
    const body = { ...shared, graffiti, executionPayloadHeader: header };
    if (isForkPostDeneb(this.fork)) body.blobKzgCommitments = this.bid.blobKzgCommitments;
    if (isForkPostElectra(this.fork)) body.executionRequests = this.bid.executionRequests;
    const stateRoot = this.stateRoot(header.blockHash);
    const block = { ...this.local, stateRoot, body, ...message };
    return this.signer.block(signedBy, this.types.BlindedBeaconBlock, block);
  }

  // The state transition of the devnet's beacon node, whose reduced state's root is a hash.
  stateRoot(blockHash) {
    const { slot, proposerIndex, body } = this.local;
    const parts = ["earnest devnet state", this.parentState, ssz.UintNum64.serialize(slot)];
    parts.push(ssz.UintNum64.serialize(proposerIndex), body.randaoReveal, blockHash);
    return keccak_256(Buffer.concat(parts.map((part) => Buffer.from(part))));
  }

  submit(version, signedBlindedBlock, form) {
    const args = { signedBlindedBlock: { data: signedBlindedBlock } };
    const init = { requestWireFormat: form, responseWireFormat: form };
    return version === "v1" ? this.relay.submitBlindedBlock(args, init) : this.relay.submitBlindedBlockV2(args, init);
  }

  // The payload of an answer of v1, which has to be the one that the header promised.
  payload(answer, form, { message }) {
    const bundled = isForkPostDeneb(this.fork);
    const type = bundled ? this.types.ExecutionPayloadAndBlobsBundle : this.types.ExecutionPayload;
    const value = written(answer, form, this.fork, type);
    const payload = bundled ? value.executionPayload : value;
    const { transactions, withdrawals, ...fields } = payload;
    const transactionsRoot = ssz.bellatrix.Transactions.hashTreeRoot(transactions);
    const withdrawalsRoot = ssz.capella.Withdrawals.hashTreeRoot(withdrawals);
    const header = { ...fields, transactionsRoot, withdrawalsRoot };
    assert.ok(
      this.types.ExecutionPayloadHeader.equals(header, message.body.executionPayloadHeader),
      "the payload is not the header's",
    );
    const { commitments, proofs, blobs } = bundled ? value.blobsBundle : { commitments: [], proofs: [], blobs: [] };
    if (bundled) {
      assert.ok(ssz.deneb.BlobKzgCommitments.equals(commitments, message.body.blobKzgCommitments));
      const each = this.fork === ForkName.fulu ? CELLS_PER_EXT_BLOB : 1;
      assert.deepEqual([blobs.length, proofs.length], [commitments.length, commitments.length * each]);
    }
    return { payload, proofs, blobs };
  }

  // Publishes the whole block, as a proposer does with what v1 gives it.
  async publish({ message, signature }, { payload, proofs, blobs }) {
    const { executionPayloadHeader: _, ...shared } = message.body;
    const whole = { ...message, body: { ...shared, executionPayload: payload } };
    assert.equal(toHex(this.types.BeaconBlock.hashTreeRoot(whole)), this.root(message), "another root unblinded");
    const signedBlockContents = { signedBlock: { message: whole, signature }, kzgProofs: proofs, blobs };
    (await this.network.beacon.beacon.publishBlockV2({ signedBlockContents })).assertOk();
  }

  root(message) {
    return toHex(this.types.BlindedBeaconBlock.hashTreeRoot(message));
  }

  // The beacon node has the block with the payload that was bid.
  async imported({ message }) {
    const root = this.root(message);
    const block = await this.network.imported(root, this.network.startOf(this.slot + 4));
    assert.equal(toHex(this.types.BeaconBlock.hashTreeRoot(block.message)), root);
    const header = await this.network.beacon.beacon.getBlockHeader({ blockId: root });
    assert.ok(header.value().canonical, "the block is not on the chain");
    return { root, hash: toHex(block.message.body.executionPayload.blockHash) };
  }
}
