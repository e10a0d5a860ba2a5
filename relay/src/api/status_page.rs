//! `GET /`: what the relay does, for people. One page without scripts or anything from elsewhere.

mod page;
mod text;

use crate::relay::Relay;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use earnest_protocol::Slot;
use http::{HeaderValue, header};
use page::{ComingSlot, DelegatedSlot, DeliveredPayload, Page, STYLE};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

/// How long a page is shown to all who ask.
const MADE_FOR: Duration = Duration::from_secs(1);
/// Slots shown.
const SLOTS: usize = 16;
/// Payloads shown.
const PAYLOADS: usize = 16;

/// Nothing may be loaded, run, sent or framed; the one style sheet is named by its hash.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    policy.parse().ok()
});

/// The page that was made last.
#[derive(Debug, Default)]
pub(crate) struct StatusPage(Mutex<Option<(Instant, Bytes)>>);

pub(crate) async fn get(State(relay): State<Arc<Relay>>) -> Response {
    let mut response = relay.status_page.html(&relay).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(policy) = &*POLICY {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    }
    response
}

impl StatusPage {
    /// The page, made anew once a second at most.
    fn html(&self, relay: &Relay) -> Bytes {
        let mut made = self.0.lock();
        match &*made {
            Some((at, page)) if at.elapsed() < MADE_FOR => page.clone(),
            _ => {
                let page = Bytes::from(look(relay).to_string());
                *made = Some((Instant::now(), page.clone()));
                page
            }
        }
    }
}

/// What there is to show now.
fn look(relay: &Relay) -> Page {
    let (now_ms, slot) = (relay.now_ms(), relay.current_slot());
    let proposers: Vec<_> = relay.duties.read().lookahead.from_slot(slot).copied().collect();
    let views = relay.ledger.views();
    let mut slots = Vec::new();
    let mut delegations = Vec::new();
    let mut more_slots = 0_usize;
    for proposer in proposers {
        let taken = views.delegation(proposer.slot, &proposer.pubkey);
        if let Some(taken) = &taken {
            let message = &taken.delegation.message;
            delegations.push(DelegatedSlot {
                slot: proposer.slot,
                proposer: proposer.pubkey,
                committer: message.committer,
                delegate: message.delegate,
                received_at_ms: taken.received_at_ms,
                entries: message.allocation().map(|allocation| allocation.entries).unwrap_or_default(),
            });
        }
        if slots.len() == SLOTS {
            more_slots = more_slots.saturating_add(1);
            continue;
        }
        let constraints = views.constraints(proposer.slot);
        let of_proposer = constraints
            .iter()
            .map(|held| &held.taken.constraints.message)
            .filter(|message| message.proposer == proposer.pubkey);
        slots.push(ComingSlot {
            slot: proposer.slot,
            start_ms: relay.clock.start_of(proposer.slot),
            validator_index: proposer.validator_index,
            proposer: proposer.pubkey,
            registered: views.registrations().timestamp(&proposer.pubkey).is_some(),
            opted_in: relay.l1.is_opted_in(Slot(proposer.slot), &proposer.pubkey),
            committer: taken.map(|taken| taken.delegation.message.committer),
            constraints: of_proposer.map(|message| message.constraints.len()).sum(),
            best: relay.book.leading(proposer.slot, &proposer.pubkey),
        });
    }
    let delivered = views.delivered(u64::MAX).take(PAYLOADS).map(|payload| DeliveredPayload {
        slot: payload.trace.slot,
        block_number: payload.block_number,
        block_hash: payload.trace.block_hash,
        value: payload.trace.value,
        builder: payload.trace.builder_pubkey,
        transactions: payload.transactions,
        imported: views.is_imported(payload.trace.slot, payload.block_root),
    });
    Page {
        ready: relay.health.ready(),
        address: relay.ecdsa.address(),
        pubkey: relay.book.pubkey(),
        chain_id: relay.config.network.chain_id,
        genesis_fork_version: relay.config.network.genesis_fork_version,
        slot,
        epoch: relay.clock.epoch_of(slot),
        registered: views.registrations().len(),
        bids: relay.received.len(),
        builders: relay.received.builders_from(slot),
        now_ms,
        refresh_secs: relay.clock.slot_duration().as_secs().max(2),
        slots,
        more_slots,
        delegations,
        delivered: delivered.collect(),
    }
}
