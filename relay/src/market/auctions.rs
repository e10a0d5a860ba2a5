//! Closing auctions, deciding them, and showing them.

use super::{
    HeldBid, MarketRefusal, MarketView,
    schedule::{SequencingSlot, sequencing_slots},
    view::{Clock, SlotMarket},
};
use crate::{
    events::{AuctionClosed, AuctionDecided, Event},
    l1::Accounts,
    ledger::WriteError,
    relay::Relay,
};
use alloy_primitives::{Address, B256, U256, keccak256};
use earnest_http::ApiError;
use earnest_journal::Claim;
use earnest_protocol::{
    Slot,
    auction::{
        AuctionOutcome, AuctionRecord, AuctionStatus, BidFault, BidKind, BidTerms, Clearing, Exclusion,
        NamedBid, Operator, PublishedBid, Sale, admit, award, clear,
    },
    messages::OrderingEvent,
    objects::{BidAck, RollupRegistration, SignedAuctionResult, SignedBidAck, auction_root},
    signing::Message,
    window::Window,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// What is known of a slot's auction beside its bids.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) of: SequencingSlot,
    pub(super) window: Window,
    pub(super) rollups: Vec<RollupRegistration>,
    pub(super) sale: Sale,
}

/// The terms of the auction of `slot`, by the lookahead and L1 as they are known now.
pub(super) fn terms(relay: &Relay, slot: Slot) -> Result<Terms, MarketRefusal> {
    if !relay.has_market() {
        return Err(MarketRefusal::NoMarket);
    }
    if relay.duties.read().proposer(slot.0).is_none() {
        let refusal =
            if relay.knows_proposers() { MarketRefusal::UnknownSlot(slot) } else { MarketRefusal::NotReady };
        return Err(refusal);
    }
    let of = sequencing_slots(relay).into_iter().find(|one| one.slot == slot);
    terms_of(relay, of.ok_or(MarketRefusal::NotSequencing(slot))?)
}

/// The terms of the auction of a sequencing slot.
pub(super) fn terms_of(relay: &Relay, of: SequencingSlot) -> Result<Terms, MarketRefusal> {
    let window = of.window.filter(|_| of.decided).ok_or(MarketRefusal::NotSequencing(of.slot))?;
    let nothing = MarketRefusal::NothingForSale(of.slot);
    if relay.l1.relay_of(of.slot, &of.proposer.pubkey) != Some(relay.ecdsa.address()) {
        return Err(nothing);
    }
    let rollups = relay.rollups(of.slot);
    let sale = relay.sale(&rollups);
    if sale.is_empty() { Err(nothing) } else { Ok(Terms { of, window, rollups, sale }) }
}

/// Bids' lives and accounts' deposits, as this relay knows them at one moment.
pub(super) struct Now<'a> {
    relay: &'a Relay,
    accounts: Accounts<'a>,
    now_ms: u64,
}

impl<'a> Now<'a> {
    pub(super) fn of(relay: &'a Relay) -> Self {
        Self { relay, accounts: relay.l1.accounts(), now_ms: relay.now_ms() }
    }

    /// Whether the account's escrow covers what its live and unsettled bids take up, and `more`, wei.
    pub(super) fn covers(&self, market: &MarketView, account: Address, more: U256) -> bool {
        let wanted = market.taken_up(account, self).checked_add(more);
        wanted.is_some_and(|wanted| wanted <= self.accounts.escrow(account))
    }
}

impl Clock for Now<'_> {
    fn is_past(&self, slot: Slot) -> bool {
        self.now_ms >= self.relay.clock.start_of(slot.0)
    }

    fn is_started(&self, start_ms: u64) -> bool {
        self.now_ms >= start_ms
    }

    fn is_unsettleable(&self, slot: Slot) -> bool {
        let horizon_ms = self.relay.config.market.horizon_secs.saturating_mul(1000);
        self.now_ms >= self.relay.clock.start_of(slot.0).saturating_add(horizon_ms)
    }

    fn is_settled(&self, slot: Slot, bid: &B256) -> bool {
        self.accounts.is_settled(slot, bid)
    }
}

/// Whether the slot is still the one that was sold: the same proposer, the same window. A reorg can change both. None if
/// not enough is known to tell, as for a while after a restart.
fn stands(relay: &Relay, closed: &AuctionClosed) -> Option<bool> {
    let of = sequencing_slots(relay).into_iter().find(|one| one.slot == closed.slot);
    match of {
        Some(of) if of.decided => {
            Some(of.window == Some(closed.window) && of.proposer.pubkey == closed.proposer)
        }
        Some(_) => None,
        None => {
            let proposer = relay.duties.read().proposer(closed.slot.0)?;
            relay.l1.is_opted_in(closed.slot, &proposer.pubkey)
        }
    }
}

/// Closes the auction of a slot, if its time has come and it did not close before. Whatever happens meanwhile, one close
/// of a slot is ever written.
pub(super) async fn close(relay: &Arc<Relay>, terms: Terms) -> Result<(), ApiError> {
    let slot = terms.of.slot;
    if relay.now_ms() < terms.window.close_ms {
        return Err(MarketRefusal::Open(terms.window.close_ms).into());
    }
    // What came in time and is being written is folded in first; what comes after this is late.
    drop(relay.ledger.deciding().await);
    let market = relay.ledger.views().market().slot(slot).cloned().unwrap_or_default();
    if market.closed.is_some() {
        return Ok(());
    }
    let judge = Arc::clone(relay);
    let bids = market.bids.len();
    let closed = crate::api::blocking(move || judge_bids(&judge, terms, &market)).await?;
    let value = serde_json::to_vec(&closed).map(keccak256).map_err(|_| ApiError::internal())?;
    let claim = Claim { key: key(b"auction/", slot), value };
    let event = OrderingEvent::AuctionClosed {
        slot,
        auction_root: closed.auction_root,
        winners: closed.winners.clone(),
        bid_count: bids as u64,
        first_refusal_ms: closed.window.first_refusal_ms,
    };
    let deciding = relay.ledger.deciding().await;
    let now = relay.ledger.views().market().slot(slot).map(|now| (now.closed.is_some(), now.bids.len()));
    let (done, taken) = now.unwrap_or_default();
    if done {
        return Ok(());
    }
    // Only if the clock was set back meanwhile. It was acknowledged as in time, and counts: all are judged again.
    if taken != bids {
        return Err(ApiError::unavailable("a bid came while the auction closed"));
    }
    // The bids' acknowledgements are promises: also on a full disk they are kept.
    relay.ledger.write_owed(Event::AuctionClosed(closed), vec![claim]).await?;
    drop(deciding);
    tracing::info!(%slot, bids, "an auction closed");
    metrics::counter!("earnest_relay_auctions_total", "outcome" => "closed").increment(1);
    relay.news.tell(&event);
    Ok(())
}

fn key(prefix: &[u8], slot: Slot) -> Vec<u8> {
    [prefix, &slot.0.to_be_bytes()].concat()
}

/// Which bids count, and who wins.
fn judge_bids(relay: &Relay, terms: Terms, market: &SlotMarket) -> AuctionClosed {
    let slot = terms.of.slot;
    let mut operators: BTreeMap<B256, Operator> = BTreeMap::new();
    let mut covered: HashMap<Address, bool> = HashMap::new();
    let mut excluded = Vec::new();
    let mut counted = Vec::new();
    for held in &market.bids {
        let bid = held.message();
        let operator = relay.l1.operator(slot, bid.registration_root);
        operators.extend(operator.map(|operator| (operator.registration_root, operator)));
        let judged = admit(
            bid,
            &BidTerms {
                window: &terms.window,
                received_at_ms: held.taken.received_at_ms,
                relay: relay.ecdsa.address(),
                sale: &terms.sale,
                operator: operator.as_ref(),
                kind: BidKind::Sealed,
            },
        );
        let covers = *covered.entry(bid.account).or_insert_with(|| covers(relay, bid.account));
        match judged.and(if covers { Ok(()) } else { Err(BidFault::Escrow) }) {
            Ok(()) => counted.push(held.named()),
            Err(fault) => {
                tracing::warn!(%slot, hash = %held.taken.hash, %fault, "a bid does not count");
                excluded.push((held.taken.hash, Exclusion::from(&fault)));
            }
        }
    }
    let proposer = terms.of.proposer.pubkey;
    let hashes: Vec<B256> = market.bids.iter().map(|held| held.taken.hash).collect();
    AuctionClosed {
        slot,
        window: terms.window,
        previous: terms.of.previous,
        proposer,
        rollups: terms.rollups,
        operators: operators.into_values().collect(),
        proposer_operator: relay.l1.operator_of(slot, &proposer),
        excluded,
        auction_root: auction_root(&hashes),
        winners: clear(&terms.sale, &counted).hashes(),
    }
}

/// Whether an account's escrow covers all its live and unsettled bids together.
fn covers(relay: &Relay, account: Address) -> bool {
    Now::of(relay).covers(relay.ledger.views().market(), account, U256::ZERO)
}

/// Winners and prices as they were at close.
pub(super) fn clearing(relay: &Relay, market: &SlotMarket, closed: &AuctionClosed) -> Clearing {
    let is_excluded = |held: &HeldBid| closed.excluded.iter().any(|(hash, _)| *hash == held.taken.hash);
    let counted: Vec<NamedBid<'_>> =
        market.bids.iter().filter(|held| !is_excluded(held)).map(|held| held.named()).collect();
    award(&relay.sale(&closed.rollups), &counted, &closed.winners)
}

/// Fixes the one result of a slot, once first refusal is over; none is made when the windows have started, for no
/// delegation by it could be valid.
pub(super) async fn decide(relay: &Arc<Relay>, slot: Slot) -> Result<(), ApiError> {
    let deciding = relay.ledger.deciding().await;
    let market = relay.ledger.views().market().slot(slot).cloned().unwrap_or_default();
    let Some(closed) = market.closed.clone() else { return Err(MarketRefusal::UnknownSlot(slot).into()) };
    let now_ms = relay.now_ms();
    let window = closed.window;
    if market.decided.is_some() || now_ms < window.first_refusal_ms || now_ms >= window.start_ms {
        return Ok(());
    }
    if stands(relay, &closed) == Some(false) {
        tracing::warn!(%slot, "the slot's proposer or window changed after its auction closed: there is no result");
        return Ok(());
    }
    let matches: Vec<NamedBid<'_>> = market.matches.iter().map(|held| held.named()).collect();
    let clearing = clearing(relay, &market, &closed).refused(&matches);
    let allocation = clearing.allocation(&window, closed.auction_root);
    let result = clearing.result(slot, window.close_ms, &allocation);
    let value = result.object_root().map_err(|_| ApiError::internal())?;
    let claim = Claim { key: key(b"result/", slot), value };
    let decided = AuctionDecided { result, allocation };
    let signed = sign(relay, &decided)?;
    match relay.ledger.write_owed(Event::AuctionDecided(decided), vec![claim]).await {
        Ok(()) => {}
        Err(WriteError::Claimed) => {
            tracing::error!(%slot, "another result of this slot was fixed before: none is signed now");
            return Err(ApiError::internal());
        }
        Err(error) => return Err(error.into()),
    }
    drop(deciding);
    tracing::info!(%slot, winners = signed.message.winners.len(), "an auction has its result");
    metrics::counter!("earnest_relay_auctions_total", "outcome" => "decided").increment(1);
    relay.news.tell(&OrderingEvent::AuctionResult(signed));
    Ok(())
}

/// The relay's word on a result. Deterministic; it is told to nobody before the result is durable.
fn sign(relay: &Relay, decided: &AuctionDecided) -> Result<SignedAuctionResult, ApiError> {
    SignedAuctionResult::sign(decided.result.clone(), &relay.ecdsa, &relay.config.network)
        .map_err(|_| ApiError::internal())
}

/// The allocation hash of a slot's result, if there is one and the slot is still the one that was sold.
pub(crate) fn result_of(relay: &Relay, slot: Slot) -> Option<B256> {
    let (closed, decided) = {
        let views = relay.ledger.views();
        let market = views.market().slot(slot)?;
        (market.closed.clone()?, market.decided.clone()?)
    };
    (stands(relay, &closed) != Some(false)).then_some(decided.result.allocation_hash)
}

/// The relay's word that it had a bid, which must be durable by now.
pub(super) fn acknowledge(relay: &Relay, held: &HeldBid) -> Result<SignedBidAck, ApiError> {
    if let Some(ack) = held.ack.get() {
        return Ok(ack.clone());
    }
    let message = BidAck { bid_hash: held.taken.hash, received_at_ms: held.taken.received_at_ms };
    let ack =
        SignedBidAck::sign(message, &relay.ecdsa, &relay.config.network).map_err(|_| ApiError::internal())?;
    Ok(held.ack.get_or_init(|| ack).clone())
}

/// What is public of a slot's auction.
pub(crate) fn record(relay: &Relay, slot: Slot) -> Result<AuctionRecord, ApiError> {
    let market = relay.ledger.views().market().slot(slot).cloned();
    let now_ms = relay.now_ms();
    if market.as_ref().is_some_and(|market| market.pruned) {
        return Err(MarketRefusal::NotKept(slot).into());
    }
    if let Some((market, closed)) = market.as_ref().and_then(|one| Some((one, one.closed.clone()?))) {
        return shown(relay, market, &closed, now_ms);
    }
    let terms = terms(relay, slot)?;
    let status = if now_ms < terms.window.start_ms { AuctionStatus::Open } else { AuctionStatus::Lapsed };
    Ok(AuctionRecord {
        slot,
        relay: relay.ecdsa.address(),
        network: relay.config.network,
        market: relay.config.market.contract,
        proposer: terms.of.proposer.pubkey,
        previous: terms.of.previous,
        window: terms.window,
        status,
        bid_count: market.map_or(0, |market| market.bids.len()) as u64,
        outcome: None,
    })
}

fn shown(
    relay: &Relay,
    market: &SlotMarket,
    closed: &AuctionClosed,
    now_ms: u64,
) -> Result<AuctionRecord, ApiError> {
    let excluded: HashMap<B256, &Exclusion> =
        closed.excluded.iter().map(|(hash, exclusion)| (*hash, exclusion)).collect();
    let publish = |held: &Arc<HeldBid>| {
        let (hash, bid) = (held.taken.hash, held.taken.bid.clone());
        let excluded = excluded.get(&hash).copied().cloned();
        Ok(PublishedBid { hash, bid, ack: acknowledge(relay, held)?, excluded })
    };
    let mut bids = market.bids.iter().map(publish).collect::<Result<Vec<_>, ApiError>>()?;
    bids.sort_unstable_by_key(|bid| bid.hash);
    let status = match &market.decided {
        Some(_) => AuctionStatus::Final,
        None if now_ms < closed.window.start_ms => AuctionStatus::Closed,
        None => AuctionStatus::Lapsed,
    };
    let outcome = AuctionOutcome {
        rollups: closed.rollups.clone(),
        operators: closed.operators.clone(),
        proposer_operator: closed.proposer_operator,
        auction_root: closed.auction_root,
        winners: closed.winners.clone(),
        matches: market.matches.iter().map(publish).collect::<Result<_, ApiError>>()?,
        allocation: market.decided.as_ref().map(|decided| decided.allocation.clone()),
        result: market.decided.as_deref().map(|decided| sign(relay, decided)).transpose()?,
        bids,
    };
    Ok(AuctionRecord {
        slot: closed.slot,
        relay: relay.ecdsa.address(),
        network: relay.config.network,
        market: relay.config.market.contract,
        proposer: closed.proposer,
        previous: closed.previous,
        window: closed.window,
        status,
        bid_count: outcome.bids.len() as u64,
        outcome: Some(outcome),
    })
}
