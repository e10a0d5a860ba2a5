//! The clock of the market: auctions close and are decided in their time, whatever else happens.

use super::{
    auctions::{close, decide, terms_of},
    schedule::{SequencingSlot, sequencing_slots},
};
use crate::{events::AuctionClosed, relay::Relay};
use earnest_chain::SlotClock;
use earnest_http::ApiError;
use earnest_protocol::{
    Slot,
    messages::{OrderingEvent, SequencingWindow},
    window::Window,
};
use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

/// Pause before what failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Holds the auctions until shutdown.
pub(crate) async fn run(relay: Arc<Relay>) -> Result<(), Infallible> {
    let shutdown = relay.tasks.token();
    let mut told = Told::default();
    loop {
        let pause = if round(&relay, &mut told).await {
            SlotClock::until(relay.now_ms(), next_ms(&relay))
        } else {
            RETRY
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
            () = relay.lookahead_changed.notified() => {}
        }
    }
}

/// What listeners were told.
#[derive(Default)]
struct Told {
    opened: BTreeSet<Slot>,
    sealed: Option<Slot>,
    lookahead: Vec<SequencingWindow>,
    /// Slots whose auctions could not go on when it was last tried, as the log says.
    stuck: BTreeSet<Slot>,
}

/// Does everything whose time has come; false if something is to be tried again.
async fn round(relay: &Arc<Relay>, told: &mut Told) -> bool {
    let slots = sequencing_slots(relay);
    tell(relay, &slots, told);
    if !relay.has_market() {
        return true;
    }
    let mut well = true;
    for of in slots {
        let slot = of.slot;
        let Ok(terms) = terms_of(relay, of) else { continue };
        let now_ms = relay.now_ms();
        if now_ms < terms.window.close_ms {
            if told.opened.insert(slot) {
                let rollups = terms.sale.lots().iter().map(|lot| lot.rollup_id).collect();
                relay.news.tell(&OrderingEvent::AuctionOpened { slot, window: terms.window, rollups });
            }
            continue;
        }
        let (closed, bids) = {
            let views = relay.ledger.views();
            let market = views.market().slot(slot);
            (
                market.is_some_and(|market| market.closed.is_some()),
                market.is_some_and(|market| !market.bids.is_empty()),
            )
        };
        // Too late for a result, bids are shown all the same.
        if !closed && (bids || now_ms < terms.window.start_ms) {
            well &= told.well_done(slot, &close(relay, terms).await);
        }
    }
    let undecided = relay.ledger.views().market().undecided();
    let now_ms = relay.now_ms();
    let due = |closed: &Arc<AuctionClosed>| {
        (closed.window.first_refusal_ms..closed.window.start_ms).contains(&now_ms)
    };
    for closed in undecided.into_iter().filter(due) {
        well &= told.well_done(closed.slot, &decide(relay, closed.slot).await);
    }
    told.opened = told.opened.split_off(&Slot(relay.current_slot()));
    told.stuck = told.stuck.split_off(&Slot(relay.current_slot()));
    well
}

impl Told {
    /// Whether it was done. It is tried again soon if not, and said once.
    fn well_done(&mut self, slot: Slot, done: &Result<(), ApiError>) -> bool {
        match done {
            Ok(()) => _ = self.stuck.remove(&slot),
            Err(error) if self.stuck.insert(slot) => {
                tracing::error!(%slot, error = error.message, "an auction could not go on; it is tried again");
            }
            Err(_) => {}
        }
        done.is_ok()
    }
}

/// Tells of a lookahead that changed and of windows that ended.
fn tell(relay: &Relay, slots: &[SequencingSlot], told: &mut Told) {
    let lookahead = lookahead(relay, slots);
    // That slots pass is no news.
    let current = relay.current_slot();
    told.lookahead.retain(|one| one.slot.0 >= current);
    if lookahead != told.lookahead {
        told.lookahead.clone_from(&lookahead);
        relay.news.tell(&OrderingEvent::Lookahead(lookahead));
    }
    let now_ms = relay.now_ms();
    let sealed = slots.iter().filter_map(|of| of.window).filter(|window| window.seal_ms <= now_ms);
    let last = sealed.clone().map(|window| window.slot).max();
    // Those that ended before the relay was up are no news.
    if let Some(before) = told.sealed {
        for Window { slot, seal_ms, .. } in sealed.filter(|window| window.slot > before) {
            relay.news.tell(&OrderingEvent::Sealed { slot, seal_ms });
        }
    }
    told.sealed = told.sealed.max(last).or(Some(Slot(0)));
}

/// The sequencing slots from the one that runs now on.
pub(crate) fn lookahead(relay: &Relay, slots: &[SequencingSlot]) -> Vec<SequencingWindow> {
    let current = relay.current_slot();
    let ahead = slots.iter().filter(|of| of.slot.0 >= current);
    ahead
        .map(|of| SequencingWindow { slot: of.slot, proposer: of.proposer.pubkey, window: of.window })
        .collect()
}

/// When the next thing is to be done; at each slot's start at the latest.
fn next_ms(relay: &Relay) -> u64 {
    let now_ms = relay.now_ms();
    let next_slot = relay.clock.start_of(relay.clock.next_slot(now_ms.saturating_add(1)));
    let windows: Vec<Window> = sequencing_slots(relay).into_iter().filter_map(|of| of.window).collect();
    let undecided = relay.ledger.views().market().undecided();
    let of_closed = undecided.iter().map(|closed| closed.window.first_refusal_ms);
    let times = windows.iter().flat_map(|window| [window.close_ms, window.first_refusal_ms, window.seal_ms]);
    times.chain(of_closed).filter(|time_ms| *time_ms > now_ms).fold(next_slot, u64::min)
}
