//! Settlement of a slot's won bids (design §2, §9). All that it takes is public: the relay shows bids, result, delegation and
//! receipt, and anyone may bring them to the OrderingMarket.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::{
    BlockId, BlockNumberOrTag, Filter, Log, TransactionInput, TransactionReceipt, TransactionRequest,
};
use alloy_sol_types::{SolCall, SolEvent};
use earnest_bindings::{Inbox, OrderingMarket, RollupRegistry};
use earnest_chain::{ChainError, ExecutionClient};
use earnest_protocol::auction::AuctionRecord;
use earnest_protocol::delegation::{TrustRoots, valid_allocation};
use earnest_protocol::objects::{Authority, CommitmentKind, Object, ObjectError, SignedBid};
use earnest_protocol::settlement::{
    Batch, BatchPlace, ChainState, MAX_SEGMENTS, Market, Outcome, Right, SettlementError, Terms,
};
use earnest_protocol::signing::Network;
use earnest_protocol::{RollupId, Slot, Wei};

use crate::error::ClientError;
use crate::l1_account::{Call, L1Account, L1Error};

/// Most winners of a slot that are settled: one for each rollup that a slot can sell.
const MAX_WINNERS: usize = earnest_protocol::auction::MAX_ROLLUPS;

/// A bid that won, with what shows that its windows were delegated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Its hash, by which the allocation names it.
    pub hash: B256,
    /// The bid.
    pub bid: SignedBid,
    /// The delegation with the relay's receipt.
    pub authority: Authority,
}

/// Why nothing is owed for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NothingOwed {
    /// There is no result.
    #[error("the slot's auction has no result")]
    NoResult,
    /// The winners hold nothing.
    #[error("no valid delegation carries the auction's result: the winners hold nothing, and owe nothing")]
    NoDelegation,
    /// A winner is not among the bids.
    #[error("the relay does not show the winning bid {0}")]
    NoBid(B256),
}

/// Why a settlement could not be made, or foreseen.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The execution client.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The transaction.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// The relay.
    #[error("relay: {0}")]
    Relay(#[from] ClientError),
    /// The delegation is no object of L1.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A contract answers what it cannot.
    #[error("{0} does not answer as it should: is it at the address given?")]
    Contract(&'static str),
    /// The execution client is of another chain than the auction.
    #[error("the execution client has chain id {found}, and the auction is of {expected}")]
    OtherChain {
        /// The auction's.
        expected: u64,
        /// The execution client's.
        found: u64,
    },
}

/// The bids that an auction's result names, with the delegation that carries the result.
///
/// # Errors
/// [`NothingOwed`].
pub fn owed(record: &AuctionRecord, authorities: &[Authority]) -> Result<Vec<Owed>, NothingOwed> {
    let outcome = record.outcome.as_ref().ok_or(NothingOwed::NoResult)?;
    let result = &outcome.result.as_ref().ok_or(NothingOwed::NoResult)?.message;
    if result.winners.is_empty() {
        return Ok(Vec::new());
    }
    let (network, relay, proposer) = (record.network, record.relay, Some(record.proposer));
    let trust = TrustRoots { network, relay, proposer, slasher: None };
    let carries = |authority: &&Authority| {
        valid_allocation(authority, record.slot, &trust)
            .is_ok_and(|allocation| allocation.abi_hash() == result.allocation_hash)
    };
    let authority = authorities.iter().find(carries).ok_or(NothingOwed::NoDelegation)?;
    let all = || outcome.bids.iter().chain(&outcome.matches);
    let winners = result.winners.iter().take(MAX_WINNERS);
    winners
        .map(|hash| {
            let bid = all().find(|bid| bid.hash == *hash).ok_or(NothingOwed::NoBid(*hash))?;
            Ok(Owed { hash: *hash, bid: bid.bid.clone(), authority: authority.clone() })
        })
        .collect()
}

/// A settlement that is in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The bid.
    pub bid_hash: B256,
    /// What its account's deposit was charged.
    pub charged_wei: U256,
    /// What each rollup's right brought.
    pub rights: Vec<Right>,
}

impl Settled {
    /// What logs say of the settlement of a bid; none if they are of others.
    #[must_use]
    pub fn read(logs: &[Log], market: Address, bid_hash: B256) -> Option<Self> {
        let logs = || logs.iter().filter(|log| log.inner.address == market);
        let charged = logs()
            .filter_map(|log| OrderingMarket::BidSettled::decode_log(&log.inner).ok())
            .find(|settled| settled.bidHash == bid_hash)?;
        let rights = logs()
            .filter_map(|log| OrderingMarket::RightSettled::decode_log(&log.inner).ok())
            .filter(|right| right.bidHash == bid_hash)
            .map(|right| Right {
                rollup_id: RollupId(right.rollupId),
                revenue_recipient: right.revenueRecipient,
                revenue_wei: right.revenueWei,
                proposer_wei: right.proposerWei,
                in_time: right.inTime,
            })
            .collect();
        Some(Self { bid_hash, charged_wei: charged.amountWei, rights })
    }

    /// Whether this is what the rules had foreseen.
    #[must_use]
    pub fn is(&self, outcome: &Outcome) -> bool {
        self.bid_hash == outcome.bid_hash
            && self.charged_wei == outcome.charged_wei
            && self.rights == outcome.rights
    }
}

/// An OrderingMarket on L1.
#[derive(Debug, Clone)]
pub struct SettlementDesk {
    rpc: ExecutionClient,
    rules: Market,
    rollups: Address,
    inbox: Address,
}

impl SettlementDesk {
    /// Reads what the contract was deployed with.
    ///
    /// # Errors
    /// [`SettleError`]; also if the execution client is of another chain.
    pub async fn open(rpc: ExecutionClient, market: Address, network: Network) -> Result<Self, SettleError> {
        let found = rpc.chain_id().await?;
        if found != network.chain_id {
            return Err(SettleError::OtherChain { expected: network.chain_id, found });
        }
        let horizon = ask(&rpc, market, &OrderingMarket::HORIZON_SECONDSCall {}).await?;
        let rules = Market {
            address: market,
            network,
            genesis_ms: ask(&rpc, market, &OrderingMarket::GENESIS_MSCall {}).await?,
            slot_ms: ask(&rpc, market, &OrderingMarket::SLOT_MSCall {}).await?,
            horizon_seconds: u32::try_from(horizon).map_err(|_| SettleError::Contract("OrderingMarket"))?,
        };
        let rollups = ask(&rpc, market, &OrderingMarket::ROLLUP_REGISTRYCall {}).await?;
        let inbox = ask(&rpc, market, &OrderingMarket::INBOXCall {}).await?;
        Ok(Self { rpc, rules, rollups, inbox })
    }

    /// Its rules.
    #[must_use]
    pub const fn rules(&self) -> &Market {
        &self.rules
    }

    /// What `account` has deposited for `relay`, wei.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn escrow(&self, account: Address, relay: Address) -> Result<U256, SettleError> {
        ask(&self.rpc, self.rules.address, &OrderingMarket::escrowCall { account, relay }).await
    }

    /// What `account` can claim, wei.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn credit(&self, account: Address) -> Result<U256, SettleError> {
        ask(&self.rpc, self.rules.address, &OrderingMarket::creditCall { account }).await
    }

    /// The call that settles a bid.
    ///
    /// # Errors
    /// [`SettleError::Object`].
    pub fn call(&self, owed: &Owed) -> Result<Call, SettleError> {
        Ok(Call::new(self.rules.address, &Market::call(&owed.bid, &owed.authority)?))
    }

    /// What a settlement would do now, by the rules; or why it would be refused.
    ///
    /// # Errors
    /// [`SettleError`] if the chain cannot be read.
    pub async fn foresee(&self, owed: &Owed) -> Result<Result<Outcome, SettlementError>, SettleError> {
        let chain = self.chain(owed).await?;
        Ok(self.rules.settle(&Market::call(&owed.bid, &owed.authority)?, &chain))
    }

    /// What the settlement of a bid reads of the chain.
    async fn chain(&self, owed: &Owed) -> Result<ChainState, SettleError> {
        let bid = &owed.bid.message;
        let (rpc, market, slot) = (&self.rpc, self.rules.address, bid.slot.0);
        let head = rpc.block(BlockNumberOrTag::Latest).await?.ok_or(L1Error::NoBlock)?;
        let mut chain = ChainState {
            now: head.header.timestamp,
            escrow_wei: self.escrow(bid.account, bid.relay).await?,
            ..ChainState::default()
        };
        for id in bid.rollup_ids.iter().take(MAX_WINNERS) {
            let terms = ask(rpc, self.rollups, &RollupRegistry::termsAtCall { rollupId: id.0, slot }).await?;
            chain.terms.insert(
                *id,
                Terms {
                    reserve_wei: Wei(terms.reserveWei),
                    revenue_recipient: terms.revenueRecipient,
                    relay: terms.relay,
                    inclusion_share_bps: terms.inclusionShareBps,
                    active: terms.active,
                },
            );
            if ask(rpc, market, &OrderingMarket::isSettledCall { rollupId: id.0, slot }).await? {
                chain.settled.insert(*id);
            }
            self.batches(&mut chain, *id, bid.slot, bid.committer).await?;
        }
        Ok(chain)
    }

    /// The window's batches, as far as they go without a gap.
    async fn batches(
        &self,
        chain: &mut ChainState,
        rollup_id: RollupId,
        slot: Slot,
        committer: Address,
    ) -> Result<(), SettleError> {
        for segment in 0..MAX_SEGMENTS {
            let call = Inbox::recordCall { rollupId: rollup_id.0, slot: slot.0, segment, committer };
            let record = ask(&self.rpc, self.inbox, &call).await?;
            let kind = CommitmentKind::try_from(record.kind).ok().filter(|_| record.time != 0);
            let Some(kind) = kind else { return Ok(()) };
            let place = BatchPlace { rollup_id, segment, committer };
            chain.batches.insert(place, Batch { time: record.time, kind });
            if kind == CommitmentKind::WindowSeal {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The gas that the settlement would take now.
    ///
    /// # Errors
    /// [`SettleError`], also if it would revert.
    pub async fn gas(&self, owed: &Owed) -> Result<u64, SettleError> {
        let call = self.call(owed)?;
        let request = TransactionRequest {
            to: Some(call.to.into()),
            input: TransactionInput::both(call.input),
            ..TransactionRequest::default()
        };
        Ok(self.rpc.estimate_gas(&request).await?)
    }

    /// Settles a bid, and waits until that is in a block: what it did, and its receipt.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn settle(
        &self,
        account: &L1Account,
        owed: &Owed,
        limit: Duration,
    ) -> Result<(Settled, TransactionReceipt), SettleError> {
        let receipt = account.execute(&self.call(owed)?, limit).await?;
        let settled = Settled::read(receipt.inner.logs(), self.rules.address, owed.hash);
        Ok((settled.ok_or(SettleError::Contract("OrderingMarket"))?, receipt))
    }

    /// The market's logs of these blocks.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn logs(&self, from_block: u64, to_block: u64) -> Result<Vec<Log>, SettleError> {
        let filter = Filter::new().address(self.rules.address).from_block(from_block).to_block(to_block);
        Ok(self.rpc.logs(&filter).await?)
    }
}

/// Asks a contract, by the latest state.
async fn ask<C: SolCall>(rpc: &ExecutionClient, to: Address, call: &C) -> Result<C::Return, SettleError> {
    let request = TransactionRequest {
        to: Some(to.into()),
        input: TransactionInput::both(call.abi_encode().into()),
        ..TransactionRequest::default()
    };
    let answer = rpc.call(&request, BlockId::latest()).await?;
    C::abi_decode_returns(&answer).map_err(|_| SettleError::Contract(C::SIGNATURE))
}
