//! An operator from its registration to its slash, on the devnet's L1: its validators' slots come into the relay's
//! schedule, and go from it, with the epochs that the reference-block rule gives.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{Block, TransactionInput, TransactionReceipt, TransactionRequest};
use alloy_sol_types::{SolCall, SolError, SolEvent, SolValue};
use earnest_bindings::{OrderingSlasher, Registry};
use earnest_builder_types::bls::SecretKey;
use earnest_client::{
    Call, L1Account,
    operator::{self, Act},
};
use earnest_devnet::{Network, NetworkOptions, contracts, validator::interop_key};
use earnest_protocol::{
    BlsPublicKey, RollupId, Slot,
    evidence::Fault,
    objects::{Commitment, CommitmentKind, CommitmentType, Object, OrderingCommitment, SignedCommitment},
    registry::RegistrationTree,
    signing::EcdsaSecret,
    sol,
};
use earnest_tests::patience::until;
use serde_json::{Value, json};

const ETHER: u128 = 1_000_000_000_000_000_000;
/// What the operator puts up, and what an equivocation costs on the devnet.
const COLLATERAL: u128 = 3 * ETHER;
const PENALTY: u128 = ETHER;
/// What our transactions offer over the base fee, wei.
const TIP: u64 = 1_000_000_000;
const ROLLUP: RollupId = RollupId(42_069);
/// Validators; the devnet's own operator has the first two, ours the others.
const VALIDATORS: u64 = 4;
const DEVNETS: u64 = 2;
/// Generous: the machine may be busy, and some slots may be lost.
const LIMIT: Duration = Duration::from_secs(120);

struct Slashing {
    network: Network,
    /// Our operator: its account, root, committer and validators.
    owner: L1Account,
    root: B256,
    committer: EcdsaSecret,
    ours: Vec<BlsPublicKey>,
    /// The devnet's operator's validators.
    theirs: Vec<BlsPublicKey>,
    /// What the schedule said last of each slot of ours. Slots stay in it until they are over, so that is the final word on
    /// those that are.
    seen: BTreeMap<u64, bool>,
}

impl Slashing {
    fn contract(&self, name: &str) -> Address {
        self.network.ready().contracts[name]
    }

    async fn call<C: SolCall>(&self, contract: &str, call: &C) -> C::Return {
        let request = TransactionRequest {
            to: Some(self.contract(contract).into()),
            input: TransactionInput::both(call.abi_encode().into()),
            ..TransactionRequest::default()
        };
        let answer = self.network.execution.rpc().call(&request, BlockId::latest()).await.unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }

    async fn balance(&self, account: Address) -> U256 {
        self.network.execution.rpc().balance(account, BlockNumberOrTag::Latest).await.unwrap()
    }

    fn epoch(&self, slot: u64) -> u64 {
        self.network.timing().epoch_of(Slot(slot)).0
    }

    /// Reads the schedule: for each slot ahead who proposes it, and whether it is a sequencing slot.
    async fn schedule(&mut self) -> Option<Vec<(u64, BlsPublicKey, bool)>> {
        let url = self.network.ready().relay.join("ordering/v1/schedule").unwrap();
        let body: Value = reqwest::get(url).await.ok()?.json().await.ok()?;
        let slots: Vec<_> = body["slots"]
            .as_array()?
            .iter()
            .map(|slot| {
                let number: u64 = slot["slot"].as_str().unwrap().parse().unwrap();
                let proposer: BlsPublicKey = slot["proposer"].as_str().unwrap().parse().unwrap();
                let opted_in = slot["opted_in"].as_bool().unwrap();
                assert!(opted_in || slot["window"].is_null(), "a window without a right: {slot}");
                (number, proposer, opted_in)
            })
            .collect();
        for (slot, proposer, opted_in) in &slots {
            if self.ours.contains(proposer) {
                self.seen.insert(*slot, *opted_in);
            }
        }
        Some(slots)
    }

    /// The custom error that a call would revert with, by its selector.
    async fn refusal(&self, evidence: &Evidence) -> [u8; 4] {
        let call = self.slash(evidence);
        let request = json!({
            "jsonrpc": "2.0", "id": 1, "method": "eth_call",
            "params": [{ "from": self.owner.address(), "to": call.to, "data": call.input }, "latest"],
        });
        let rpc = reqwest::Client::new().post(self.network.ready().execution.clone());
        let answer: Value = rpc.json(&request).send().await.unwrap().json().await.unwrap();
        let data: Bytes = serde_json::from_value(answer["error"]["data"].clone())
            .unwrap_or_else(|_| panic!("it would not revert: {answer}"));
        data[..4].try_into().unwrap()
    }

    /// The call that slashes our operator.
    fn slash(&self, evidence: &Evidence) -> Call {
        let detail = sol::EquivocationEvidence { other: evidence.other.clone() }.abi_encode();
        let call = Registry::slashCommitment_0Call {
            registrationRoot: self.root,
            commitment: Registry::SignedCommitment::abi_decode(&evidence.judged.abi_encode()).unwrap(),
            evidence: (U256::from(u8::from(Fault::Equivocation)), Bytes::from(detail))
                .abi_encode_params()
                .into(),
        };
        Call::new(self.contract("Registry"), &call)
    }

    /// A microblock of our committer for one place, with these transactions.
    fn microblock(&self, slot: Slot, tx_root: B256) -> sol::SignedCommitment {
        let ordering = OrderingCommitment {
            rollup_id: ROLLUP,
            slot,
            segment: 0,
            number: 0,
            parent: B256::ZERO,
            first_index: 0,
            tx_count: 1,
            tx_root,
            timestamp_ms: 0,
            forced_inclusion_head: 0,
            kind: CommitmentKind::Microblock,
        };
        let commitment = Commitment {
            commitment_type: CommitmentType::Ordering.into(),
            payload: ordering.abi_encode().into(),
            request_hash: B256::ZERO,
            slasher: self.contract("OrderingSlasher"),
        };
        let signed =
            SignedCommitment::sign(commitment, &self.committer, &self.network.ready().network).unwrap();
        (&signed).into()
    }

    /// Registers our validators' keys, each with its own signature, and opts in. The first epoch in which they count.
    async fn joins(&self, keys: &[SecretKey]) -> u64 {
        let owner = self.owner.address();
        let tree = registrations(&self.network, owner, keys);
        let committer = self.committer.address();
        let contracts = operator::Contracts {
            registry: self.contract("Registry"),
            slasher: self.contract("OrderingSlasher"),
            market: None,
        };
        let call = |act: Act| act.call(&contracts).unwrap();
        let register = call(Act::Register { tree, owner, collateral: U256::from(COLLATERAL) });
        self.owner.execute(&register, LIMIT).await.unwrap();
        let opt_in = call(Act::OptIn { root: self.root, committer });
        // Refused while the fraud window runs.
        let opted_in =
            until("the opt-in", LIMIT, async || self.owner.execute(&opt_in, LIMIT).await.ok()).await;
        self.counts_from(&opted_in).await
    }

    async fn block_of(&self, receipt: &TransactionReceipt) -> Block {
        let number = receipt.block_number.unwrap();
        self.network.execution.rpc().block(number.into()).await.unwrap().unwrap()
    }

    /// The first epoch whose proposers are judged by a state that has this transaction.
    async fn counts_from(&self, receipt: &TransactionReceipt) -> u64 {
        let block = self.block_of(receipt).await;
        let clock = self.network.beacon.clock();
        let epoch = clock.epoch_of(clock.slot_at(block.header.timestamp * 1_000).unwrap());
        epoch + 1 + self.network.ready().optin_delay
    }

    /// Has somebody else show the equivocation: the collateral moves. The first epoch in which our operator counts no more.
    async fn is_slashed(&self, evidence: &Evidence, slot: Slot) -> u64 {
        let ready = self.network.ready();
        let secret = EcdsaSecret::from_bytes(&ready.accounts[1].private_key.0).unwrap();
        let challenger = L1Account::new(self.network.execution.rpc().clone(), secret, ready.network.chain_id);
        let (before, burnt) = (self.balance(challenger.address()).await, self.balance(Address::ZERO).await);
        let receipt = challenger.execute(&self.slash(evidence), LIMIT).await.unwrap();

        // A fifth to who showed it, three tenths to the rollup, the rest to nobody.
        let data =
            self.call("Registry", &Registry::getOperatorDataCall { registrationRoot: self.root }).await;
        assert_eq!(data.collateralWei.to::<u128>(), COLLATERAL - PENALTY);
        assert!(!data.slashedAt.is_zero());
        // Not by the receipt's price: EthereumJS leaves the base fee out of it.
        let base = self.block_of(&receipt).await.header.base_fee_per_gas.unwrap();
        let spent = U256::from(receipt.gas_used * (base + TIP));
        assert_eq!(self.balance(challenger.address()).await + spent - before, U256::from(PENALTY / 5));
        assert_eq!(self.balance(Address::ZERO).await - burnt, U256::from(PENALTY / 2));
        let logs = receipt.inner.logs().iter();
        let shares: Vec<_> =
            logs.filter_map(|log| Registry::SlashShared::decode_log(&log.inner).ok()).collect();
        assert_eq!(shares.len(), 1);
        assert_eq!((shares[0].registrationRoot, shares[0].rewarded), (self.root, challenger.address()));
        let harmed = U256::from(PENALTY * 3 / 10);
        assert_eq!(shares[0].harmedWei, harmed);
        let credit = Registry::creditCall { account: shares[0].harmed };
        assert_eq!(self.call("Registry", &credit).await, harmed);
        let judged = OrderingSlasher::wasJudgedCall {
            signer: self.committer.address(),
            rollupId: ROLLUP.0,
            slot: slot.0,
            fault: Fault::Equivocation.into(),
        };
        assert!(self.call("OrderingSlasher", &judged).await);
        self.counts_from(&receipt).await
    }
}

/// What shows an equivocation.
struct Evidence {
    judged: sol::SignedCommitment,
    other: sol::SignedCommitment,
}

fn registrations(network: &Network, owner: Address, keys: &[SecretKey]) -> Arc<RegistrationTree> {
    contracts::registrations(owner, keys, &network.ready().network).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_registers_equivocates_is_slashed_and_leaves_the_schedule() {
    let options = NetworkOptions {
        validators: VALIDATORS,
        opted_in: DEVNETS,
        rollups: vec![],
        bare_rollups: vec![ROLLUP.0],
        ..NetworkOptions::default()
    };
    let network = Network::start(&options).await.unwrap();
    let keys: Vec<_> = (0..VALIDATORS).map(|index| interop_key(index).unwrap()).collect();
    let (theirs, ours) = keys.split_at(usize::try_from(DEVNETS).unwrap());
    let secret = EcdsaSecret::from_bytes(&network.ready().accounts[0].private_key.0).unwrap();
    let owner = L1Account::new(network.execution.rpc().clone(), secret, network.ready().network.chain_id);
    let mut slashing = Slashing {
        root: registrations(&network, owner.address(), ours).root(),
        theirs: theirs.iter().map(SecretKey::public_key).collect(),
        ours: ours.iter().map(SecretKey::public_key).collect(),
        committer: EcdsaSecret::random(),
        network,
        owner,
        seen: BTreeMap::new(),
    };

    let from = slashing.joins(ours).await;
    let first = until("a slot of the operator's", LIMIT, async || {
        let slots = slashing.schedule().await?;
        slots.iter().find(|(_, key, opted_in)| slashing.ours.contains(key) && *opted_in).map(|slot| slot.0)
    })
    .await;

    // Two commitments for one place. The rollup's terms are in force by that slot, so that its owner is the one harmed.
    let slot = Slot(first + 120);
    let [one, other] = [1, 2].map(|root| slashing.microblock(slot, B256::repeat_byte(root)));
    let evidence = Evidence { judged: one.clone(), other: other.clone() };
    let twice = Evidence { judged: one.clone(), other: one.clone() };
    assert_eq!(slashing.refusal(&twice).await, OrderingSlasher::SameCommitment::SELECTOR);
    let until_epoch = slashing.is_slashed(&evidence, slot).await;
    // Once is all: not the same again, nor the other way round.
    assert_eq!(slashing.refusal(&evidence).await, Registry::SlashingAlreadyOccurred::SELECTOR);
    let turned = Evidence { judged: other, other: one };
    assert_eq!(slashing.refusal(&turned).await, OrderingSlasher::AlreadyJudged::SELECTOR);

    // In the end the other operator's slots are sequencing slots, and none of ours.
    let gone = until("an epoch without the operator", LIMIT, async || {
        let slots = slashing.schedule().await?;
        let shows = |keys: &[BlsPublicKey], epoch: u64, is: bool| {
            slots.iter().any(|(slot, key, opted_in)| {
                keys.contains(key) && slashing.epoch(*slot) == epoch && *opted_in == is
            })
        };
        let epochs = slots.iter().map(|(slot, ..)| slashing.epoch(*slot));
        epochs
            .filter(|epoch| *epoch >= until_epoch)
            .find(|epoch| shows(&slashing.theirs, *epoch, true) && shows(&slashing.ours, *epoch, false))
    })
    .await;
    assert!(slashing.epoch(first) >= from && gone >= until_epoch && from < until_epoch);
    for (slot, opted_in) in &slashing.seen {
        let epoch = slashing.epoch(*slot);
        if epoch <= gone {
            let counts = (from..until_epoch).contains(&epoch);
            assert_eq!(*opted_in, counts, "slot {slot} of epoch {epoch}, {from} to {until_epoch}");
        }
    }
    slashing.network.stop().await;
}
