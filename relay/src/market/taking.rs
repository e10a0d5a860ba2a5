//! Taking bids and matches.

use super::{
    HeldBid, MarketConfig, MarketRefusal,
    auctions::{Now, Terms, acknowledge, clearing, close, terms},
    view::SlotMarket,
};
use crate::{
    api::blocking,
    events::{AuctionClosed, BidTaken, Event},
    ledger::WriteError,
    relay::Relay,
};
use alloy_primitives::B256;
use earnest_http::ApiError;
use earnest_journal::Claim;
use earnest_protocol::{
    Slot,
    auction::{BidFault, BidKind, BidTerms, Sale, admit_signed, check_match},
    objects::{OrderingBid, SignedBid, SignedBidAck},
    window::Window,
};
use std::sync::Arc;

/// Takes a bid before close; the same one again has the acknowledgement it had.
pub(crate) async fn take_bid(relay: &Arc<Relay>, bid: SignedBid) -> Result<SignedBidAck, ApiError> {
    let taken = take(relay, bid, BidKind::Sealed).await;
    let outcome = if taken.is_ok() { "taken" } else { "refused" };
    metrics::counter!("earnest_relay_bids_total", "outcome" => outcome).increment(1);
    taken
}

/// Takes a match of a winner of `slot` by its proposer, between close and the end of first refusal.
pub(crate) async fn take_match(
    relay: &Arc<Relay>,
    slot: Slot,
    bid: SignedBid,
) -> Result<SignedBidAck, ApiError> {
    if bid.message.slot != slot {
        return Err(MarketRefusal::Bid(BidFault::WrongSlot(bid.message.slot)).into());
    }
    let taken = take(relay, bid, BidKind::FirstRefusal).await;
    let outcome = if taken.is_ok() { "taken" } else { "refused" };
    metrics::counter!("earnest_relay_matches_total", "outcome" => outcome).increment(1);
    taken
}

/// What costs is checked first; from then on everything is done to the end, also if the one who asked goes away.
async fn take(relay: &Arc<Relay>, bid: SignedBid, kind: BidKind) -> Result<SignedBidAck, ApiError> {
    let message = &bid.message;
    message.check().map_err(|error| MarketRefusal::Bid(BidFault::Form(error)))?;
    let (slot, hash) = (message.slot, message.hash(&relay.market_domain()));
    // Only to the letter: who guesses a bid must not learn that it was made. Another signature of it is judged first.
    if let Some(held) = find(relay, slot, hash).filter(|held| held.taken.bid.signature == bid.signature) {
        return acknowledge(relay, &held);
    }
    let ground = Ground::of(relay, slot, kind).await?;
    let checker = Arc::clone(relay);
    let (ground, bid) = blocking(move || {
        let judged = ground.judge(&checker, &bid);
        judged.map(|()| (ground, bid))
    })
    .await??;
    let taker = Arc::clone(relay);
    let taken = relay.tasks.detach(async move { write(&taker, &ground, hash, bid).await });
    taken.await.map_err(|_| ApiError::internal())?
}

fn find(relay: &Relay, slot: Slot, hash: B256) -> Option<Arc<HeldBid>> {
    relay.ledger.views().market().slot(slot)?.held(hash).cloned()
}

/// What a bid is judged on.
enum Ground {
    /// An open auction.
    Open(Box<Terms>),
    /// A closed one, in first refusal.
    Closed(Arc<AuctionClosed>, Sale),
}

impl Ground {
    async fn of(relay: &Arc<Relay>, slot: Slot, kind: BidKind) -> Result<Self, ApiError> {
        let closed = || relay.ledger.views().market().slot(slot).and_then(|market| market.closed.clone());
        match (kind, closed()) {
            (BidKind::Sealed, Some(closed)) => Err(MarketRefusal::Closed(closed.window.close_ms).into()),
            (BidKind::Sealed, None) => {
                let terms = terms(relay, slot)?;
                if relay.now_ms() >= terms.window.close_ms {
                    return Err(MarketRefusal::Closed(terms.window.close_ms).into());
                }
                Ok(Self::Open(Box::new(terms)))
            }
            (BidKind::FirstRefusal, Some(closed)) => {
                let sale = relay.sale(&closed.rollups);
                Ok(Self::Closed(closed, sale))
            }
            (BidKind::FirstRefusal, None) => {
                // The clock may be about to close it.
                close(relay, terms(relay, slot)?).await?;
                let closed = closed().ok_or_else(ApiError::internal)?;
                let sale = relay.sale(&closed.rollups);
                Ok(Self::Closed(closed, sale))
            }
        }
    }

    fn judge(&self, relay: &Relay, bid: &SignedBid) -> Result<(), MarketRefusal> {
        let operator = relay.l1.operator(bid.message.slot, bid.message.registration_root);
        let (window, sale, kind) = match self {
            Self::Open(terms) => (&terms.window, &terms.sale, BidKind::Sealed),
            Self::Closed(closed, sale) => (&closed.window, sale, BidKind::FirstRefusal),
        };
        let received_at_ms = relay.now_ms();
        in_time(window, kind, received_at_ms)?;
        let relay_address = relay.ecdsa.address();
        let operator = operator.as_ref();
        let terms = BidTerms { window, received_at_ms, relay: relay_address, sale, operator, kind };
        admit_signed(bid, &terms, &relay.market_domain())?;
        if let Self::Closed(closed, _) = self {
            let market = relay.ledger.views().market().slot(bid.message.slot).cloned().unwrap_or_default();
            let winners = clearing(relay, &market, closed).winners;
            check_match(&winners, &bid.message, closed.proposer_operator.as_ref())?;
        }
        Ok(())
    }

    fn window(&self) -> &Window {
        match self {
            Self::Open(terms) => &terms.window,
            Self::Closed(closed, _) => &closed.window,
        }
    }

    const fn kind(&self) -> BidKind {
        match self {
            Self::Open(_) => BidKind::Sealed,
            Self::Closed(..) => BidKind::FirstRefusal,
        }
    }
}

fn in_time(window: &Window, kind: BidKind, now_ms: u64) -> Result<(), MarketRefusal> {
    match kind {
        BidKind::Sealed if now_ms >= window.close_ms => Err(MarketRefusal::Closed(window.close_ms)),
        BidKind::FirstRefusal if now_ms >= window.first_refusal_ms => {
            Err(MarketRefusal::RefusalOver(window.first_refusal_ms))
        }
        _ => Ok(()),
    }
}

async fn write(
    relay: &Arc<Relay>,
    ground: &Ground,
    hash: B256,
    bid: SignedBid,
) -> Result<SignedBidAck, ApiError> {
    let slot = bid.message.slot;
    let deciding = relay.ledger.deciding().await;
    if let Some(held) = find(relay, slot, hash) {
        return acknowledge(relay, &held);
    }
    let received_at_ms = relay.now_ms();
    in_time(ground.window(), ground.kind(), received_at_ms)?;
    not_over(relay.ledger.views().market().slot(slot), ground)?;
    has_room(relay, ground.kind(), &bid.message)?;
    let claim = Claim { key: claim_key(&bid.message), value: hash };
    let nonce = bid.message.nonce;
    let taken = BidTaken { received_at_ms, hash, bid };
    relay.ledger.write(Event::Bid(taken), vec![claim]).await.map_err(|error| match error {
        WriteError::Claimed => MarketRefusal::NonceUsed(nonce).into(),
        error => ApiError::from(error),
    })?;
    drop(deciding);
    // What is bid is nobody's before close, the log's neither.
    tracing::info!(%slot, %hash, "took a bid");
    let held = find(relay, slot, hash).ok_or_else(ApiError::internal)?;
    acknowledge(relay, &held)
}

/// Whatever the clock says, and whatever window was in force when the bid was judged: nothing comes behind a close that is
/// written, nor behind a result.
fn not_over(market: Option<&SlotMarket>, ground: &Ground) -> Result<(), MarketRefusal> {
    let Some(market) = market else { return Ok(()) };
    match (ground, &market.closed) {
        (Ground::Open(_), Some(closed)) => Err(MarketRefusal::Closed(closed.window.close_ms)),
        (Ground::Closed(closed, _), _) if market.decided.is_some() => {
            Err(MarketRefusal::RefusalOver(closed.window.first_refusal_ms))
        }
        _ => Ok(()),
    }
}

/// Most bids of one account for a slot of which `taken` places are taken: a sixteenth of what is free, at least one, so that
/// a few accounts together leave others theirs.
fn share(bounds: &MarketConfig, taken: usize) -> usize {
    let free = bounds.bids_per_slot.saturating_sub(taken);
    bounds.bids_per_account.min((free / 16).max(1))
}

/// Nonce, bounds and escrow: all that other bids bear on.
fn has_room(relay: &Relay, kind: BidKind, bid: &OrderingBid) -> Result<(), MarketRefusal> {
    let bounds = &relay.config.market;
    let views = relay.ledger.views();
    let market = views.market();
    if let Some(of_slot) = market.slot(bid.slot) {
        let mut own = of_slot.of_account(bid.account).peekable();
        if own.peek().is_some() {
            let own: Vec<_> = own.collect();
            if own.iter().any(|held| held.message().nonce == bid.nonce) {
                return Err(MarketRefusal::NonceUsed(bid.nonce));
            }
            let share = share(bounds, of_slot.bids.len());
            if kind == BidKind::Sealed && own.len() >= share {
                return Err(MarketRefusal::TooManyOfAccount(share));
            }
        }
        if kind == BidKind::Sealed && of_slot.bids.len() >= bounds.bids_per_slot {
            return Err(MarketRefusal::Full(bounds.bids_per_slot));
        }
        if of_slot.matches.iter().any(|held| held.message().matches == bid.matches) {
            return Err(MarketRefusal::Matched);
        }
    }
    if Now::of(relay).covers(market, bid.account, bid.amount_wei.0) {
        Ok(())
    } else {
        Err(MarketRefusal::Bid(BidFault::Escrow))
    }
}

/// One bid of an account's nonce in a slot.
fn claim_key(bid: &OrderingBid) -> Vec<u8> {
    [b"bid/".as_slice(), &bid.slot.0.to_be_bytes(), bid.account.as_slice(), &bid.nonce.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bls, damaged};
    use alloy_primitives::{Address, U256};
    use earnest_protocol::{RollupId, Wei, objects::MarketDomain, signing::EcdsaSecret};

    /// However many accounts bid as often as they may, another still has room.
    #[test]
    fn a_few_accounts_do_not_fill_an_auction() {
        let bounds = MarketConfig::default();
        assert_eq!(
            [0, 8, 9, 500, 968, 984, 1_000].map(|taken| share(&bounds, taken)),
            [62, 62, 61, 31, 2, 1, 1]
        );
        for accounts in [1, 16, 64] {
            let mut bids = vec![0_usize; accounts];
            loop {
                let taken: usize = bids.iter().sum();
                let Some(more) = bids.iter_mut().find(|own| **own < share(&bounds, taken)) else { break };
                if taken == bounds.bids_per_slot {
                    break;
                }
                *more += 1;
            }
            let taken: usize = bids.iter().sum();
            assert!(taken < bounds.bids_per_slot, "{accounts} accounts took all");
        }
    }

    #[test]
    fn any_bytes_are_a_bid_or_an_error() {
        let secret = EcdsaSecret::from_bytes(&[7; 32]).unwrap();
        let domain = MarketDomain { chain_id: 1337, market: Address::repeat_byte(1) };
        let message = OrderingBid {
            slot: Slot(7),
            rollup_ids: vec![RollupId(1), RollupId(2)],
            amount_wei: Wei(U256::from(5)),
            account: secret.address(),
            registration_root: B256::repeat_byte(2),
            committer: Address::repeat_byte(3),
            relay: Address::repeat_byte(4),
            delegate: bls(2).public_key(),
            url: "http://gateway.example".into(),
            matches: B256::ZERO,
            nonce: 1,
            expiry: 2,
        };
        let signed = SignedBid::sign(message, &secret, &domain).unwrap();
        let good = serde_json::to_vec(&signed).unwrap();
        bolero::check!().with_iterations(1000).with_type::<(Vec<u8>, Vec<(u16, u8)>, u16)>().for_each(
            |(bytes, changes, length)| {
                for body in [bytes.clone(), damaged(&good, changes, *length)] {
                    let Ok(read) = serde_json::from_slice::<SignedBid>(&body) else { continue };
                    let _ = claim_key(&read.message);
                    if read != signed {
                        read.verify(&domain).unwrap_err();
                    }
                }
            },
        );
    }
}
