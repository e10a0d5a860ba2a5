//! The ordering market of a devnet, whole and from outside: operators bid, one wins, the delegation carries it, a searcher's
//! transaction stands on it, its batch is on L1, and the bid is paid to the wei.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::{path::Path, time::Duration};

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rpc_types_eth::{TransactionInput, TransactionRequest};
use alloy_sol_types::{SolCall, SolValue};
use earnest_bindings::{Inbox, OrderingMarket, RollupRegistry};
use earnest_client::{GatewayClient, Limits, RelayClient};
use earnest_devnet::{Network, NetworkOptions, Ready, ReadyOperator};
use earnest_protocol::{
    RollupId,
    auction::{AuctionRecord, AuctionStatus},
    objects::{Object, SlotAllocation, pubkey_to_sol},
    receipt::PreconfReceipt,
};
use earnest_tests::{
    account::Account,
    binary::run,
    patience::{now_ms, until},
};

const ROLLUP: RollupId = RollupId(42_070);
/// Generous: the machine may be busy, and some slots may be lost.
const LIMIT: Duration = Duration::from_secs(240);

struct Market {
    network: Network,
    relay: RelayClient,
}

impl Market {
    fn ready(&self) -> &Ready {
        self.network.ready()
    }

    async fn call<C: SolCall>(&self, contract: &str, call: &C) -> C::Return {
        let request = TransactionRequest {
            to: Some(self.ready().contracts[contract].into()),
            input: TransactionInput::both(call.abi_encode().into()),
            ..TransactionRequest::default()
        };
        let answer = self.network.execution.rpc().call(&request, BlockId::latest()).await.unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }

    async fn escrow(&self, account: Address) -> U256 {
        let relay = self.ready().relay_address;
        self.call("OrderingMarket", &OrderingMarket::escrowCall { account, relay }).await
    }

    fn operator(&self, owner: Address) -> &ReadyOperator {
        self.ready().operators.iter().find(|operator| operator.owner == owner).unwrap()
    }

    async fn auction(&self, slot: u64) -> Option<AuctionRecord> {
        let record = self.relay.auction(slot).await.ok()?;
        (record.status == AuctionStatus::Final).then_some(record)
    }

    /// Sends to whoever holds the rollup's open window, as a searcher does that is sent on, until one is held for which both
    /// operators bid: of the first ones one may have come too late.
    async fn order(&self) -> (PreconfReceipt, AuctionRecord) {
        let account = Account::of(&self.ready().accounts[0].private_key.0, ROLLUP);
        let gateways: Vec<GatewayClient> = self
            .ready()
            .operators
            .iter()
            .map(|operator| GatewayClient::new(&operator.gateway, Limits::default()).unwrap())
            .collect();
        let mut nonce = 0;
        until("a receipt of a window that both bid for", LIMIT, async || {
            for gateway in &gateways {
                let Ok(receipt) = gateway.submit(ROLLUP, &account.transfer(nonce)).await else { continue };
                nonce += 1;
                let record = self.auction(receipt.slot.0).await.expect("the slot's auction has its result");
                let bids = &record.outcome.as_ref().unwrap().bids;
                let bid = |owner| bids.iter().any(|bid| bid.bid.message.account == owner);
                if self.ready().operators.iter().all(|operator| bid(operator.owner)) {
                    return Some((receipt, record));
                }
            }
            None
        })
        .await
    }

    async fn earnest(&self, arguments: &[&str], folder: &Path) -> (Option<i32>, String) {
        let output = run(arguments, folder).await;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), said)
    }
}

fn allocation(record: &AuctionRecord) -> &SlotAllocation {
    record.outcome.as_ref().unwrap().allocation.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_bid_for_won_delegated_ordered_landed_and_paid_for() {
    let options = NetworkOptions {
        operators: 2,
        market: true,
        rollups: vec![],
        bare_rollups: vec![ROLLUP.0],
        ..NetworkOptions::default()
    };
    let network = Network::start(&options).await.unwrap();
    let relay = RelayClient::new(&network.ready().relay, Limits::default()).unwrap();
    let market = Market { network, relay };
    let ready = market.ready();
    assert_eq!(ready.operators.len(), 2);
    assert!(ready.terms_from <= ready.first_slot, "the rollups' terms are in force from the start");
    let folder = tempfile::tempdir().unwrap();

    let (receipt, record) = market.order().await;
    receipt.verify(&market.network.trust()).unwrap();
    let slot = receipt.slot.0;
    highest_won(&market, &record);
    let entry = allocation(&record).entry(ROLLUP).unwrap().clone();
    let delegated = receipt.authority.delegation.message.allocation().unwrap();
    assert_eq!(delegated, *allocation(&record), "the delegation carries the result");
    let result = record.outcome.as_ref().unwrap().result.clone().unwrap();
    assert_eq!(delegated.abi_hash(), result.message.allocation_hash);
    assert_eq!(entry.committer, market.operator(entry.account).committer);

    lands(&market, slot, entry.committer).await;
    verified(&market, slot, folder.path()).await;
    paid(&market, &record, folder.path()).await;
    market.network.stop().await;
}

/// The operator that bids more wins, whoever proposes the slot, and pays what it bid.
fn highest_won(market: &Market, record: &AuctionRecord) {
    let outcome = record.outcome.as_ref().unwrap();
    let entry = allocation(record).entry(ROLLUP).unwrap();
    let highest = outcome.bids.iter().map(|bid| bid.bid.message.amount_wei).max().unwrap();
    assert_eq!(entry.price_wei, highest, "pay as bid");
    assert_eq!(entry.account, market.ready().operators[0].owner, "the rollup is worth more to the first one");
}

/// The window's batch is on L1, in time or not, by the holder.
async fn lands(market: &Market, slot: u64, committer: Address) {
    let call = Inbox::recordCall { rollupId: ROLLUP.0, slot, segment: 0, committer };
    until("the batch", LIMIT, async || {
        let record = market.call("Inbox", &call).await;
        (record.time != 0).then_some(())
    })
    .await;
    // Past t(n), when it can be settled.
    market.network.beacon.wait_for_slot(slot + 1).await;
    until("a later block", LIMIT, async || {
        let head =
            market.network.execution.rpc().block(alloy_eips::BlockNumberOrTag::Latest).await.ok()??;
        let start = market.network.beacon.clock().start_of(slot);
        (head.header.timestamp * 1_000 > start).then_some(())
    })
    .await;
    assert!(now_ms() > market.network.beacon.clock().start_of(slot));
}

async fn verified(market: &Market, slot: u64, folder: &Path) {
    let (slot, ready) = (slot.to_string(), market.ready());
    let (relay, address) = (ready.relay.to_string(), ready.relay_address.to_string());
    let verify = ["market", "verify", &slot, "--relay", &relay, "--address", &address];
    let (code, said) = market.earnest(&verify, folder).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the auction holds"), "{said}");
    let other = Address::repeat_byte(9).to_string();
    let verify = ["market", "verify", &slot, "--relay", &relay, "--address", &other];
    assert_eq!(market.earnest(&verify, folder).await.0, Some(3), "another relay's word");
}

/// `earnest market settle`: what it says beforehand is what it does, to the wei.
async fn paid(market: &Market, record: &AuctionRecord, folder: &Path) {
    let ready = market.ready();
    let entry = allocation(record).entry(ROLLUP).unwrap();
    let slot = record.slot.0;
    let terms = RollupRegistry::termsAtCall { rollupId: ROLLUP.0, slot };
    let terms = market.call("RollupRegistry", &terms).await;
    let batch = Inbox::recordCall { rollupId: ROLLUP.0, slot, segment: 0, committer: entry.committer };
    let batch = market.call("Inbox", &batch).await;
    let in_time = batch.kind == 2 && batch.time * 1_000 <= market.network.beacon.clock().start_of(slot);
    // ⌊price · bps / 10,000⌋ for the proposer, if the batch was in time.
    let share = entry.price_wei.0 * U256::from(terms.inclusionShareBps) / U256::from(10_000);
    let share = if in_time { share } else { U256::ZERO };
    let revenue = entry.price_wei.0 - share;

    let key_hash: B256 = keccak256(pubkey_to_sol(&record.proposer).unwrap().abi_encode());
    let books = async || {
        let credit = OrderingMarket::creditCall { account: terms.revenueRecipient };
        let proposer = OrderingMarket::proposerCreditCall { proposerKeyHash: key_hash };
        let credit = market.call("OrderingMarket", &credit).await;
        let proposer = market.call("OrderingMarket", &proposer).await;
        (market.escrow(entry.account).await, credit, proposer)
    };
    let before = books().await;
    assert_eq!(before.0, market.operator(entry.account).escrow_wei.0, "nothing was charged yet");

    std::fs::write(folder.join("key"), ready.accounts[1].private_key.to_string()).unwrap();
    let (number, relay, rpc) = (slot.to_string(), ready.relay.to_string(), ready.execution.to_string());
    let settle = ["market", "settle", &number, "--relay", &relay, "--rpc", &rpc];
    let (code, said) = market.earnest(&[&settle[..], &["--dry-run"]].concat(), folder).await;
    assert_eq!(code, Some(0), "{said}");
    let foreseen =
        format!("rollup {ROLLUP}: {revenue} wei to {}, {share} wei to the proposer", terms.revenueRecipient);
    assert!(said.contains(&foreseen) && said.contains("would be settled with about"), "{foreseen}: {said}");
    assert_eq!(books().await, before, "a dry run pays nothing");

    let (code, said) = market.earnest(&[&settle[..], &["--key-file", "key"]].concat(), folder).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&foreseen) && said.contains("settled with"), "{said}");
    let after = books().await;
    assert_eq!(before.0 - after.0, entry.price_wei.0, "the winner is charged what it bid");
    assert_eq!((after.1 - before.1, after.2 - before.2), (revenue, share));
    let is_settled = OrderingMarket::isSettledCall { rollupId: ROLLUP.0, slot };
    assert!(market.call("OrderingMarket", &is_settled).await);

    // Once is all, and saying so is no failure.
    let (code, said) = market.earnest(&[&settle[..], &["--key-file", "key"]].concat(), folder).await;
    assert!(code == Some(0) && said.contains("is settled"), "{said}");
    assert_eq!(books().await, after);
}
