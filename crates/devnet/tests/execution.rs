//! The execution clients that are installed, each driven as a beacon node drives it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::{BlockNumberOrTag, eip2718::Encodable2718, eip4788::BEACON_ROOTS_ADDRESS};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_rpc_types_engine::{ForkchoiceState, PayloadAttributes, PayloadId, PayloadStatusEnum};
use alloy_rpc_types_eth::{Filter, TransactionRequest};
use alloy_sol_types::{SolCall, SolEvent};
use earnest_bindings::Inbox;
use earnest_builder_types::{ExecutionRequests, ForkName};
use earnest_chain::AccountState;
use earnest_devnet::{
    beacon::{BuiltPayload, Engine, NewPayload},
    execution::{ExecutionBinary, ExecutionNode, ExecutionOptions, GenesisOptions},
};
use earnest_protocol::{
    RollupId, Slot, inbox, merkle,
    objects::{Commitment, CommitmentKind, OrderingCommitment, SignedCommitment},
    signing::{EcdsaSecret, Network},
};

const FORK: ForkName = ForkName::Electra;
const NETWORK: Network = Network { genesis_fork_version: [0x20, 0, 0, 0x89], chain_id: 3_151_908 };

fn account() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x51; 32]).unwrap()
}

/// A chain being built, one block after the other.
struct Chain {
    node: ExecutionNode,
    head: B256,
    timestamp: u64,
    nonce: u64,
}

impl Chain {
    async fn start(binary: ExecutionBinary) -> Self {
        let genesis = GenesisOptions {
            chain_id: NETWORK.chain_id,
            timestamp: 1_700_000_000,
            accounts: vec![(account().address(), U256::from(10).pow(U256::from(20)))],
            ..GenesisOptions::default()
        };
        let options = ExecutionOptions { genesis, binary: Some(binary), ..ExecutionOptions::default() };
        let begun = Instant::now();
        let node = ExecutionNode::start(&options).await.unwrap();
        println!("{} is up after {:?}", node.name(), begun.elapsed());
        let head = node.genesis_block_hash();
        Self { node, head, timestamp: 1_700_000_000, nonce: 0 }
    }

    /// Sends a transaction of the funded account to the client's public pool.
    async fn send(&mut self, to: TxKind, input: Bytes) -> B256 {
        let tx = TxEip1559 {
            chain_id: NETWORK.chain_id,
            nonce: self.nonce,
            gas_limit: 3_000_000,
            max_fee_per_gas: 1_000_000_000,
            max_priority_fee_per_gas: 1,
            to,
            value: U256::ZERO,
            access_list: Default::default(),
            input,
        };
        let signature = account().sign(tx.signature_hash()).unwrap();
        let signature = Signature::from_raw(signature.as_slice()).unwrap();
        let raw = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
        self.nonce += 1;
        self.node.rpc().send_raw_transaction(&raw).await.unwrap()
    }

    fn state(&self) -> ForkchoiceState {
        ForkchoiceState {
            head_block_hash: self.head,
            safe_block_hash: B256::ZERO,
            finalized_block_hash: B256::ZERO,
        }
    }

    fn beacon_root(&self) -> B256 {
        keccak256(self.timestamp.to_be_bytes())
    }

    /// Begins to build the block after the head.
    async fn begin(&mut self) -> PayloadId {
        self.timestamp += 2;
        let attributes = PayloadAttributes {
            timestamp: self.timestamp,
            prev_randao: keccak256("randao"),
            suggested_fee_recipient: Address::repeat_byte(0xfe),
            withdrawals: Some(Vec::new()),
            parent_beacon_block_root: Some(self.beacon_root()),
            slot_number: None,
            target_gas_limit: None,
        };
        let engine = self.node.engine();
        let updated = engine.forkchoice_updated(FORK, self.state(), Some(attributes)).await.unwrap();
        assert_eq!(updated.payload_status.status, PayloadStatusEnum::Valid);
        updated.payload_id.unwrap()
    }

    fn judged(&self, built: &BuiltPayload) -> NewPayload {
        NewPayload {
            fork: FORK,
            payload: built.payload.to_engine(),
            versioned_hashes: Vec::new(),
            parent_beacon_block_root: self.beacon_root(),
            execution_requests: built.execution_requests.clone(),
        }
    }

    /// Makes a built payload the head.
    async fn accept(&mut self, built: &BuiltPayload) {
        let requests = &built.execution_requests;
        let computed = built.payload.computed_block_hash(Some(self.beacon_root()), Some(requests)).unwrap();
        assert_eq!(computed, built.payload.block_hash());
        let status = self.node.engine().new_payload(self.judged(built)).await.unwrap();
        assert_eq!(status.status, PayloadStatusEnum::Valid);
        self.head = built.payload.block_hash();
        let updated = self.node.engine().forkchoice_updated(FORK, self.state(), None).await.unwrap();
        assert_eq!(updated.payload_status.status, PayloadStatusEnum::Valid);
        assert_eq!(self.node.engine().latest_block().await.unwrap().hash, self.head);
    }

    /// Builds until a payload holds `count` transactions, for it may be taken before they are in, and accepts it.
    async fn block_with(&mut self, count: usize) -> BuiltPayload {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let id = self.begin().await;
            let built = self.node.engine().get_payload(FORK, id).await.unwrap();
            if built.payload.transactions().len() == count {
                self.accept(&built).await;
                return built;
            }
            assert!(Instant::now() < deadline, "no payload with {count} transactions");
        }
    }

    async fn call<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let input: Bytes = call.abi_encode().into();
        let request = TransactionRequest::default().to(to).input(input.into());
        let answer = self.node.rpc().call(&request, BlockNumberOrTag::Latest.into()).await.unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }
}

fn batch() -> (Vec<Bytes>, OrderingCommitment, SignedCommitment) {
    let txs: Vec<Bytes> = (1..=5u8).map(|n| Bytes::from(vec![n; 100 + usize::from(n)])).collect();
    let hashes: Vec<B256> = txs.iter().map(keccak256).collect();
    let seal = OrderingCommitment {
        rollup_id: RollupId(77),
        slot: Slot(9),
        segment: 0,
        number: 1,
        parent: keccak256("parent"),
        first_index: 5,
        tx_count: 0,
        tx_root: merkle::root(0, &hashes),
        timestamp_ms: 1_700_000_000_000,
        forced_inclusion_head: 0,
        kind: CommitmentKind::WindowSeal,
    };
    let committer = EcdsaSecret::from_bytes(&[0x33; 32]).unwrap();
    let signed =
        SignedCommitment::sign(Commitment::of_ordering(&seal, Address::ZERO), &committer, &NETWORK).unwrap();
    (txs, seal, signed)
}

async fn builds_blocks_that_record_a_batch(binary: ExecutionBinary) {
    let mut chain = Chain::start(binary).await;
    assert_eq!(chain.node.rpc().block_number().await.unwrap(), 0);

    let code = earnest_bindings::inbox_creation_code(NETWORK.genesis_fork_version);
    let deployed = chain.send(TxKind::Create, code).await;
    chain.block_with(1).await;
    let receipt = chain.node.rpc().receipt(deployed).await.unwrap().unwrap();
    assert!(receipt.status());
    let before = receipt.block_hash.unwrap();
    let address = receipt.contract_address.unwrap();
    assert_eq!(address, account().address().create(0));

    let (txs, seal, signed) = batch();
    let calldata = inbox::encode_submit(&txs, &signed, None).unwrap();
    let submitted = chain.send(TxKind::Call(address), calldata).await;
    let built = chain.block_with(1).await;
    let receipt = chain.node.rpc().receipt(submitted).await.unwrap().unwrap();
    assert!(receipt.status());
    let after = receipt.block_hash.unwrap();
    let tip = U256::from(receipt.gas_used);
    assert_eq!(built.value, tip, "one wei of tip per gas");

    let committer = signed.committer(&NETWORK).unwrap();
    let stored =
        chain.call(address, &Inbox::recordCall { rollupId: 77, slot: 9, segment: 0, committer }).await;
    assert_eq!((stored.txRoot, stored.count, stored.kind), (seal.tx_root, 5, 2));
    assert_eq!(stored.time, built.payload.timestamp());
    let filter = Filter::new().address(address).event_signature(Inbox::BatchRecorded::SIGNATURE_HASH);
    let logs = chain.node.rpc().logs(&filter.from_block(0u64)).await.unwrap();
    assert_eq!(logs.len(), 1);
    let event = Inbox::BatchRecorded::decode_log(&logs[0].inner).unwrap();
    assert_eq!((event.rollupId, event.slot, event.committer, event.txRoot), (77, 9, committer, seal.tx_root));

    // What accounts had on a block, named by its hash: before the second transaction and after it.
    let (sender, nobody) = (account().address(), Address::repeat_byte(0x77));
    for (block, nonce) in [(before, 1), (after, 2)] {
        let states = chain.node.rpc().account_states(&[sender, nobody], block.into()).await.unwrap();
        let at = chain.node.rpc().block_by_hash(block).await.unwrap().unwrap().header.number;
        let balance = chain.node.rpc().balance(sender, at.into()).await.unwrap();
        assert_eq!(states[0], AccountState { nonce, balance });
        assert_eq!(states[1], AccountState { nonce: 0, balance: U256::ZERO });
    }
    let unknown = chain.node.rpc().account_states(&[sender], B256::repeat_byte(0x99).into()).await;
    assert!(unknown.is_err(), "{unknown:?}");

    let third = chain.block_with(0).await;
    assert_eq!(third.payload.block_number(), chain.node.rpc().block_number().await.unwrap());
    assert!(third.payload.block_number() >= 3);
    assert_eq!(third.execution_requests, ExecutionRequests::default());

    // EIP-4788: the block's timestamp leads to its parent beacon block's root.
    let word = B256::from(U256::from(third.payload.timestamp()));
    let request = TransactionRequest::default().to(BEACON_ROOTS_ADDRESS).input(Bytes::from(word.0).into());
    let root = chain.node.rpc().call(&request, BlockNumberOrTag::Latest.into()).await.unwrap();
    assert_eq!(root.as_ref(), chain.beacon_root().as_slice());

    // A payload that says something else than its hash is refused, and the head stays.
    let id = chain.begin().await;
    let built = chain.node.engine().get_payload(FORK, id).await.unwrap();
    let mut lie = chain.judged(&built);
    lie.parent_beacon_block_root = keccak256("another root");
    let status = chain.node.engine().new_payload(lie).await.unwrap();
    assert!(matches!(status.status, PayloadStatusEnum::Invalid { .. }), "{status:?}");
    assert_eq!(chain.node.engine().latest_block().await.unwrap().hash, chain.head);

    chain.node.stop().await.unwrap();
}

#[tokio::test]
async fn geth() {
    // Where there is none EthereumJS takes its place, which the next test covers.
    let Some(binary) = ExecutionBinary::find_geth() else { return };
    builds_blocks_that_record_a_batch(binary).await;
}

#[tokio::test]
async fn ethereumjs() {
    let binary = ExecutionBinary::find_ethereumjs().expect("run crates/devnet/peers/install");
    builds_blocks_that_record_a_batch(binary).await;
}
