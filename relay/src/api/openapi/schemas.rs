//! Shapes of bodies, for the document alone; a test holds every answer of the relay against them.
#![expect(dead_code, reason = "they are never made")]

use utoipa::ToSchema;

/// An unsigned integer in decimal.
#[derive(ToSchema)]
#[schema(example = "1234", pattern = "^[0-9]+$")]
pub(crate) struct Integer(String);

/// 20 bytes: an address.
#[derive(ToSchema)]
#[schema(pattern = "^0x[0-9a-fA-F]{40}$")]
pub(crate) struct AddressHex(String);

/// 32 bytes: a hash or a root.
#[derive(ToSchema)]
#[schema(pattern = "^0x[0-9a-f]{64}$")]
pub(crate) struct Hash(String);

/// 48 bytes: a BLS public key.
#[derive(ToSchema)]
#[schema(pattern = "^0x[0-9a-f]{96}$")]
pub(crate) struct PublicKey(String);

/// 96 bytes: a BLS signature.
#[derive(ToSchema)]
#[schema(pattern = "^0x[0-9a-f]{192}$")]
pub(crate) struct BlsSignatureHex(String);

/// 65 bytes, r‖s‖v: an ECDSA signature over the signing root.
#[derive(ToSchema)]
#[schema(pattern = "^0x[0-9a-f]{130}$")]
pub(crate) struct EcdsaSignatureHex(String);

/// Any bytes.
#[derive(ToSchema)]
#[schema(pattern = "^0x([0-9a-f]{2})*$")]
pub(crate) struct Hex(String);

/// An error answer.
#[derive(ToSchema)]
pub(crate) struct Problem {
    /// A name that a program can act on, else the HTTP status.
    code: ProblemCode,
    /// What is wrong, and what would be right.
    message: String,
    /// Seconds until another try makes sense.
    #[schema(nullable = false)]
    retry_after: Option<u64>,
}

/// A name, or the HTTP status.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ProblemCode {
    Status(u16),
    Name(String),
}

/// Who acts for a proposer in one slot.
#[derive(ToSchema)]
pub(crate) struct Delegation {
    proposer: PublicKey,
    /// Whose constraints count.
    delegate: PublicKey,
    /// Whose commitments count.
    committer: AddressHex,
    slot: Integer,
    /// `abi.encode(uint8 version, SlotAllocation)`, or nothing.
    metadata: Hex,
}

/// A delegation, signed by the proposer (message type 2).
#[derive(ToSchema)]
pub(crate) struct SignedDelegation {
    message: Delegation,
    /// 0 unless the signature is over another.
    nonce: Integer,
    /// `keccak256("earnest.v1")` unless the signature is over another.
    signing_id: Hash,
    signature: BlsSignatureHex,
}

/// When the relay had a delegation.
#[derive(ToSchema)]
pub(crate) struct DelegationReceipt {
    slot: Integer,
    delegation_hash: Hash,
    /// Unix milliseconds.
    received_at_ms: Integer,
}

/// A receipt, signed by the relay (message type 0x103).
#[derive(ToSchema)]
pub(crate) struct SignedDelegationReceipt {
    message: DelegationReceipt,
    nonce: Integer,
    signing_id: Hash,
    signature: EcdsaSignatureHex,
}

/// A delegation with the relay's receipt of it: all that is needed to judge who holds a window.
#[derive(ToSchema)]
pub(crate) struct Authority {
    delegation: SignedDelegation,
    receipt: SignedDelegationReceipt,
}

/// One thing that a block must keep.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Constraint {
    /// 0x01: `payload` is `abi.encode((uint64 slot, bytes signedTx))`, and the block holds the transaction.
    #[schema(value_type = String, example = "0x01")]
    constraint_type: String,
    payload: Hex,
}

/// What the block of a slot must keep.
#[derive(ToSchema)]
pub(crate) struct ConstraintsMessage {
    proposer: PublicKey,
    delegate: PublicKey,
    slot: Integer,
    constraints: Vec<Constraint>,
    /// Who may read them; empty is everyone.
    receivers: Vec<PublicKey>,
}

/// Constraints, signed by the delegate (message type 4).
#[derive(ToSchema)]
pub(crate) struct SignedConstraints {
    message: ConstraintsMessage,
    nonce: Integer,
    signing_id: Hash,
    signature: BlsSignatureHex,
}

/// Constraints with the relay's word on them.
#[derive(ToSchema)]
pub(crate) struct ReceiptedConstraints {
    constraints: SignedConstraints,
    receipt: SignedConstraintReceipt,
    /// What keeps them out of every block of the slot, if they were dropped.
    dropped: Option<String>,
}

/// One message, or a list of them.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ConstraintsBody {
    One(SignedConstraints),
    Many(Vec<SignedConstraints>),
}

/// Whether the relay holds constraints.
#[derive(ToSchema)]
pub(crate) struct ConstraintReceipt {
    slot: Integer,
    constraints_hash: Hash,
    /// Unix milliseconds.
    received_at_ms: Integer,
    status: ConstraintStatus,
}

/// Whether constraints bind.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConstraintStatus {
    Held,
    Dropped,
}

/// A receipt, signed by the relay (message type 0x104).
#[derive(ToSchema)]
pub(crate) struct SignedConstraintReceipt {
    message: ConstraintReceipt,
    nonce: Integer,
    signing_id: Hash,
    signature: EcdsaSignatureHex,
}

/// A receipt, or a list of them, as the request was.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ConstraintReceipts {
    One(SignedConstraintReceipt),
    Many(Vec<SignedConstraintReceipt>),
}

/// What the relay enforces.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Capabilities {
    constraint_types: Vec<Integer>,
}

/// A signed bid, as the Builder API has it, and the proofs that its block keeps the slot's constraints.
#[derive(ToSchema)]
pub(crate) struct HeaderWithProofs {
    /// Name of the fork.
    #[schema(example = "fulu")]
    version: String,
    data: BidWithProofs,
}

/// The bid, the proofs, and the relay's signature over the bid.
#[derive(ToSchema)]
pub(crate) struct BidWithProofs {
    /// `BuilderBid` of the fork.
    #[schema(value_type = Object)]
    message: String,
    proofs: ConstraintProofs,
    signature: BlsSignatureHex,
}

/// One proof for each constraint, in their order.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConstraintProofs {
    constraint_types: Vec<Integer>,
    /// Of type 1: `abi.encode(InclusionProof{bytes signedTx, uint64 index, bytes32[] branch})`, the branch from the
    /// transaction to the header's `transactions_root`.
    payloads: Vec<Hex>,
}

/// The relay's view of time and rights.
#[derive(ToSchema)]
pub(crate) struct Schedule {
    /// Address that signs receipts.
    relay: AddressHex,
    /// Key that signs bids.
    pubkey: PublicKey,
    /// The slot that runs now.
    current_slot: Integer,
    /// The slots known from the current one on.
    slots: Vec<ScheduledSlot>,
}

/// One slot of the lookahead.
#[derive(ToSchema)]
pub(crate) struct ScheduledSlot {
    slot: Integer,
    /// When it starts, Unix milliseconds.
    start_ms: Integer,
    proposer: PublicKey,
    validator_index: Integer,
    /// Whether it is a sequencing slot.
    opted_in: bool,
    /// Times of the window that ends with it; of sequencing slots only.
    #[schema(required)]
    window: Option<Window>,
    #[schema(required)]
    delegation: Option<DelegationState>,
    /// Messages of constraints held.
    constraints: u64,
}

/// When rollups' transactions are ordered; Unix milliseconds.
#[derive(ToSchema)]
pub(crate) struct Window {
    slot: Integer,
    /// When the auction closes.
    close_ms: Integer,
    /// Until when the slot's proposer may match a winning bid.
    first_refusal_ms: Integer,
    /// When ordering starts.
    start_ms: Integer,
    /// When ordering ends.
    seal_ms: Integer,
    /// Until when the relay takes constraints for the slot.
    constraint_cutoff_ms: Integer,
    /// When the slot starts.
    slot_ms: Integer,
}

/// Who acts in a slot.
#[derive(ToSchema)]
pub(crate) struct DelegationState {
    committer: AddressHex,
    delegate: PublicKey,
    /// Unix milliseconds.
    received_at_ms: Integer,
    /// The rollups' holders, if the delegation carries an allocation.
    #[schema(required)]
    allocation: Option<SlotAllocation>,
}

/// The market's outcome for one slot.
#[derive(ToSchema)]
pub(crate) struct SlotAllocation {
    slot: Integer,
    start_ms: Integer,
    auction_root: Hash,
    entries: Vec<AllocationEntry>,
}

/// Who orders one rollup.
#[derive(ToSchema)]
pub(crate) struct AllocationEntry {
    rollup_id: Integer,
    bid_hash: Hash,
    account: AddressHex,
    committer: AddressHex,
    delegate: PublicKey,
    price_wei: Integer,
    url: String,
}

/// An operator's bid for a set of rollups in one slot, all or nothing.
#[derive(ToSchema)]
pub(crate) struct OrderingBid {
    slot: Integer,
    /// Ascending, each once.
    rollup_ids: Vec<Integer>,
    amount_wei: Integer,
    /// The operator's owner, who signs and pays.
    account: AddressHex,
    registration_root: Hash,
    committer: AddressHex,
    relay: AddressHex,
    delegate: PublicKey,
    /// At most 256 bytes.
    url: String,
    /// Zero, or the winner that is matched by first refusal.
    matches: Hash,
    /// Another one for every bid of an account and slot.
    nonce: Integer,
    /// Unix seconds; not before the auction closes.
    expiry: Integer,
}

/// A bid, signed by its account (EIP-712, domain of the OrderingMarket).
#[derive(ToSchema)]
pub(crate) struct SignedBid {
    message: OrderingBid,
    signature: EcdsaSignatureHex,
}

/// When the relay had a bid.
#[derive(ToSchema)]
pub(crate) struct BidAck {
    bid_hash: Hash,
    /// Unix milliseconds.
    received_at_ms: Integer,
}

/// An acknowledgement, signed by the relay (message type 0x101). Keep it: it shows a bid left out.
#[derive(ToSchema)]
pub(crate) struct SignedBidAck {
    message: BidAck,
    nonce: Integer,
    signing_id: Hash,
    signature: EcdsaSignatureHex,
}

/// The L1 network.
#[derive(ToSchema)]
pub(crate) struct Network {
    #[schema(pattern = "^0x[0-9a-f]{8}$")]
    genesis_fork_version: String,
    chain_id: Integer,
}

/// A rollup's terms.
#[derive(ToSchema)]
pub(crate) struct RollupRegistration {
    rollup_id: Integer,
    reserve_wei: Integer,
    reserve_committer: AddressHex,
    revenue_recipient: AddressHex,
    inclusion_share_bps: Integer,
    max_batch_bytes: Integer,
    max_tx_gas: Integer,
    policy: Policy,
    required_level: Integer,
    opaque: bool,
    active: bool,
    relay: AddressHex,
    uri: String,
}

/// Order within a microblock.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    Fcfs,
    PriorityFee,
}

/// What sells here.
#[derive(ToSchema)]
pub(crate) struct MarketRollups {
    /// The slot at which these registrations are in force.
    slot: Integer,
    relay: AddressHex,
    network: Network,
    /// The OrderingMarket: verifying contract of bids.
    market: AddressHex,
    rollups: Vec<RollupRegistration>,
}

/// How far an auction is.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuctionStatus {
    Open,
    Closed,
    Final,
    Lapsed,
}

/// A slot's auction.
#[derive(ToSchema)]
pub(crate) struct AuctionRecord {
    slot: Integer,
    relay: AddressHex,
    network: Network,
    market: AddressHex,
    proposer: PublicKey,
    /// The sequencing slot before it, where it bears on the window.
    #[schema(required)]
    previous: Option<Integer>,
    window: Window,
    status: AuctionStatus,
    bid_count: Integer,
    /// None before close.
    #[schema(required)]
    outcome: Option<AuctionOutcome>,
}

/// What was bid, and what became of it.
#[derive(ToSchema)]
pub(crate) struct AuctionOutcome {
    rollups: Vec<RollupRegistration>,
    operators: Vec<Operator>,
    /// Who has the first refusal.
    #[schema(required)]
    proposer_operator: Option<Operator>,
    /// By ascending hash.
    bids: Vec<PublishedBid>,
    auction_root: Hash,
    /// At close, ascending.
    winners: Vec<Hash>,
    matches: Vec<PublishedBid>,
    /// None before first refusal is over.
    #[schema(required)]
    allocation: Option<SlotAllocation>,
    #[schema(required)]
    result: Option<SignedAuctionResult>,
}

/// An operator by the Registry's state at the slot's reference block.
#[derive(ToSchema)]
pub(crate) struct Operator {
    registration_root: Hash,
    owner: AddressHex,
    committer: AddressHex,
}

/// A bid that was taken.
#[derive(ToSchema)]
pub(crate) struct PublishedBid {
    hash: Hash,
    bid: SignedBid,
    ack: SignedBidAck,
    /// Why it did not count, if it did not.
    #[schema(nullable = false)]
    excluded: Option<Exclusion>,
}

/// Why a bid did not count.
#[derive(ToSchema)]
pub(crate) struct Exclusion {
    code: String,
    message: String,
}

/// Who won, after first refusal.
#[derive(ToSchema)]
pub(crate) struct AuctionResult {
    slot: Integer,
    auction_root: Hash,
    winners: Vec<Hash>,
    /// `keccak256(abi.encode(SlotAllocation))`.
    allocation_hash: Hash,
    closed_at_ms: Integer,
}

/// A result, signed by the relay (message type 0x102). One for each slot.
#[derive(ToSchema)]
pub(crate) struct SignedAuctionResult {
    message: AuctionResult,
    nonce: Integer,
    signing_id: Hash,
    signature: EcdsaSignatureHex,
}
