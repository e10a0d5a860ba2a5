//! What an operator can measure: every metric of the relay by name, and the gauges that are read once a second.
//!
//! Those of requests (`earnest_http_…`) are of the server, by route and status.

use crate::relay::Relay;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// How often gauges are read.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A label and its values; none if these are not known before.
type Label = (&'static str, &'static [&'static str]);

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Its labels, each with its values if these are few.
    pub(crate) labels: &'static [Label],
    pub(crate) meaning: &'static str,
}

const fn counter(name: &'static str, meaning: &'static str) -> Meter {
    Meter { name, kind: Kind::Counter, labels: &[], meaning }
}

const fn gauge(name: &'static str, meaning: &'static str) -> Meter {
    Meter { name, kind: Kind::Gauge, labels: &[], meaning }
}

const fn histogram(name: &'static str, meaning: &'static str) -> Meter {
    Meter { name, kind: Kind::Histogram, labels: &[], meaning }
}

impl Meter {
    const fn by(mut self, labels: &'static [Label]) -> Self {
        self.labels = labels;
        self
    }
}

/// Every metric; `README.md` has the same in a table.
pub(crate) const METERS: &[Meter] = &[
    counter("earnest_relay_headers_total", "Requests for a header in time; `no` is 204")
        .by(&[("served", &["yes", "no"])]),
    histogram("earnest_relay_header_delay_seconds", "From `Date-Milliseconds` of a request to its arrival"),
    histogram(
        "earnest_relay_header_slot_seconds",
        "Time into the slot at which a header was asked for; 0 before it",
    ),
    counter("earnest_relay_payloads_total", "Blinded blocks").by(&[("outcome", &["delivered", "refused"])]),
    histogram(
        "earnest_relay_payload_seconds",
        "From a blinded block to its answer, with the wait of an early one",
    ),
    histogram(
        "earnest_relay_payload_slot_seconds",
        "Time into the slot at which a blinded block came; 0 before it",
    ),
    counter(
        "earnest_relay_delivered_gwei_total",
        "What proposers were promised by payloads delivered, in gwei",
    ),
    histogram(
        "earnest_relay_publish_seconds",
        "Publishing a block, until the first beacon node took it or none will",
    )
    .by(&[("outcome", &["imported", "broadcast", "refused", "unreachable", "unsure"])]),
    counter("earnest_relay_submissions_total", "Builders' blocks")
        .by(&[("outcome", &["best", "held", "worse", "full", "refused"])]),
    histogram("earnest_relay_submission_seconds", "From a submission's head to its answer"),
    counter("earnest_relay_received_bids_total", "Bids for the data API; `left_out` found the channel full")
        .by(&[("outcome", &["written", "not_written", "left_out"])]),
    gauge("earnest_relay_received_bids", "Bids that the data API can show"),
    gauge(
        "earnest_relay_bidding_builders",
        "Builders with a bid for this slot or a later one that passed its checks",
    ),
    gauge("earnest_relay_top_bid_eth", "Value of the bid that last came to lead, in ether; 0 if none leads"),
    counter("earnest_relay_top_bid_updates_total", "Changes of the bid that leads"),
    histogram("earnest_relay_simulation_seconds", "From a builder's turn at simulation to what came of it")
        .by(&[("outcome", &["valid", "invalid", "unavailable"])]),
    counter("earnest_relay_demotions_total", "Blocks whose simulation failed, and with them their builders"),
    gauge("earnest_relay_beacon_node_usable", "1 for a beacon node that is in order").by(&[("node", &[])]),
    gauge("earnest_relay_slots_without_block", "Slots since that of the head's block"),
    gauge("earnest_relay_streams", "Streams open").by(&[("stream", &["top_bid", "constraints", "events"])]),
    counter("earnest_relay_streams_dropped_total", "Streams that the relay ended").by(&[
        ("stream", &["top_bid", "constraints", "events"]),
        ("reason", &["stopping", "slow", "silent", "chatty"]),
    ]),
    counter("earnest_relay_registrations_total", "Registrations taken"),
    gauge("earnest_relay_registrations", "Validators registered"),
    gauge("earnest_relay_registrations_bytes", "Bytes of memory that the registrations take"),
    counter("earnest_relay_delegations_total", "Delegations taken"),
    gauge(
        "earnest_relay_delegated_slots",
        "Slots from this one on that the lookahead shows and that are delegated",
    ),
    counter("earnest_relay_constraints_total", "Messages of constraints taken"),
    counter("earnest_relay_constraint_receipts_total", "Receipts of constraints signed")
        .by(&[("status", &["held", "dropped"])]),
    counter("earnest_relay_constraints_dropped_total", "Messages of constraints that could be in no block"),
    counter(
        "earnest_relay_constraints_undone_total",
        "Messages of constraints in whose place a block had something else of the same sender",
    ),
    gauge("earnest_relay_constraints", "Messages of constraints held for this slot and later ones"),
    counter("earnest_relay_bids_total", "Bids for ordering rights").by(&[("outcome", &["taken", "refused"])]),
    counter("earnest_relay_matches_total", "Matches of winners, by first refusal")
        .by(&[("outcome", &["taken", "refused"])]),
    counter("earnest_relay_auctions_total", "Auctions; each closes, and then its result is decided")
        .by(&[("outcome", &["closed", "decided"])]),
    gauge("earnest_relay_sealed_bids", "Bids in auctions that did not close yet"),
    gauge(
        "earnest_relay_registry_block",
        "Newest block of L1 up to which the Registry is followed; 0 where it is not",
    ),
    gauge("earnest_relay_registry_head", "Newest block of its execution client"),
    gauge("earnest_relay_registry_lag_blocks", "Blocks between the two"),
    gauge(
        "earnest_relay_registry_faulty",
        "1 if the last question to its execution client failed; the log says why",
    ),
    counter("earnest_relay_registry_faults_total", "Questions that failed"),
    counter("earnest_relay_registry_reorgs_total", "Reorganisations of L1 that took back what was followed"),
    gauge("earnest_relay_registry_operators", "Operators that count, by the newest reference block known"),
    gauge("earnest_relay_registry_keys", "Their validators"),
    gauge("earnest_relay_slot", "The slot that runs now"),
    gauge("earnest_relay_lookahead_slots", "Slots from this one on whose proposers are known"),
    gauge("earnest_relay_ready", "1 if the relay can do its work, as `/readyz` says"),
    gauge("earnest_relay_journal_records", "Records in the journal"),
    gauge("earnest_relay_journal_bytes", "Bytes of the journal on the disk"),
    gauge("earnest_relay_journal_room_bytes", "Bytes free on its disk; 0 if it takes nothing at all"),
    gauge("earnest_relay_journal_writable", "1 if it takes what is new"),
    gauge("earnest_relay_info", "Always 1; its labels say what runs, and by what address")
        .by(&[("version", &[]), ("relay", &[])]),
    histogram(
        "earnest_http_request_seconds",
        "From a request to the head of its answer, of every role of the process",
    )
    .by(&[("route", &[]), ("status", &[])]),
    counter("earnest_http_limited_total", "Requests refused because their client sent too many"),
    counter("earnest_http_bodies_refused_total", "Bodies refused because as many bytes are held as may be")
        .by(&[("budget", &["client", "process"])]),
    counter("earnest_http_connections_refused_total", "Connections closed because their client has too many"),
    counter("earnest_http_panics_total", "Requests that met a defect, answered by 500"),
];

/// Describes every metric, and sets those of them that count to what they begin with.
pub(crate) fn declare() {
    for meter in METERS {
        let Meter { name, kind, labels, meaning } = *meter;
        match kind {
            Kind::Counter => {
                metrics::describe_counter!(name, meaning);
                for series in series(labels) {
                    metrics::counter!(name, &series).increment(0);
                }
            }
            Kind::Gauge => metrics::describe_gauge!(name, meaning),
            Kind::Histogram => metrics::describe_histogram!(name, meaning),
        }
    }
}

/// Every combination of the labels' values.
fn series(labels: &'static [Label]) -> Vec<Vec<(&'static str, &'static str)>> {
    let mut all = vec![Vec::new()];
    for (label, values) in labels {
        let longer = |before: &Vec<_>| {
            let before = before.clone();
            values.iter().map(move |value| [before.as_slice(), &[(*label, *value)]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// Reads the gauges until shutdown.
pub(crate) async fn run(relay: Arc<Relay>) -> Result<(), Infallible> {
    let shutdown = relay.tasks.token();
    let info = ("version", env!("CARGO_PKG_VERSION"));
    let address = relay.ecdsa.address().to_string();
    metrics::gauge!("earnest_relay_info", info.0 => info.1, "relay" => address).set(1.0);
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => read(&relay),
        }
    }
}

fn read(relay: &Relay) {
    let slot = relay.current_slot();
    let proposers: Vec<_> = relay.duties.read().lookahead.from_slot(slot).copied().collect();
    let views = relay.ledger.views();
    let held = views.registrations();
    let (registrations, registration_bytes) = (held.len(), held.bytes());
    let delegated = proposers.iter().filter(|one| views.delegation(one.slot, &one.pubkey).is_some()).count();
    let sealed = views.market().sealed();
    let constraints: usize = proposers.iter().map(|one| views.constraints(one.slot).len()).sum();
    drop(views);
    let (records, bytes) = relay.ledger.size();
    let gauges = [
        ("earnest_relay_slot", float(slot)),
        ("earnest_relay_lookahead_slots", float(proposers.len() as u64)),
        ("earnest_relay_delegated_slots", float(delegated as u64)),
        ("earnest_relay_constraints", float(constraints as u64)),
        ("earnest_relay_sealed_bids", float(sealed as u64)),
        ("earnest_relay_registrations", float(registrations as u64)),
        ("earnest_relay_registrations_bytes", float(registration_bytes as u64)),
        ("earnest_relay_received_bids", float(relay.received.len() as u64)),
        ("earnest_relay_bidding_builders", float(relay.received.builders_from(slot) as u64)),
        ("earnest_relay_journal_records", float(records)),
        ("earnest_relay_journal_bytes", float(bytes)),
        ("earnest_relay_journal_room_bytes", float(relay.ledger.room())),
        ("earnest_relay_journal_writable", f64::from(u8::from(relay.ledger.writable().is_ok()))),
        ("earnest_relay_ready", f64::from(u8::from(relay.health.ready().is_ok()))),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name).set(value);
    }
    relay.l1.figures().show("relay");
}

/// Exact up to 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_readme_has_every_metric() {
        let readme = include_str!("../README.md");
        let shown: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `earnest_")).collect();
        let expected: Vec<String> = METERS
            .iter()
            .map(|meter| {
                let label = |(name, values): &Label| {
                    let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                    let colon = if values.is_empty() { "" } else { ": " };
                    format!("`{name}`{colon}{}", values.join(", "))
                };
                let labels: Vec<String> = meter.labels.iter().map(label).collect();
                let kind = format!("{:?}", meter.kind).to_lowercase();
                format!("| `{}` | {kind} | {} | {} |", meter.name, labels.join("; "), meter.meaning)
            })
            .collect();
        assert_eq!(shown, expected, "as it should be:\n{}\n", expected.join("\n"));
    }

    #[test]
    fn every_combination_of_labels_is_a_series() {
        assert_eq!(series(&[]), [vec![]]);
        assert_eq!(
            series(&[("a", &["1", "2"]), ("b", &["3"])]),
            [vec![("a", "1"), ("b", "3")], vec![("a", "2"), ("b", "3")]]
        );
        assert_eq!(series(&[("a", &[])]), Vec::<Vec<_>>::new());
    }
}
