//! What was pending before a restart, from the journal.

use std::collections::BTreeMap;

use earnest_journal::{Journal, KIND_CLAIMS, Log, ReadError};
use earnest_protocol::{
    RollupId,
    tx::{TxRules, validate},
};

use super::RollupState;
use crate::{board::Board, records::Event};

/// How far back it is looked for, milliseconds: what is older, the rollup has executed. An open window counts whole.
const BACK_MS: u64 = 120_000;
const READ_ENTRIES: usize = 64;
const READ_BYTES: usize = 4 << 20;

/// Counts what was placed lately, before anything more is accepted. Blocks on the disk.
///
/// # Errors
/// When the journal cannot be read.
pub(crate) fn restore(
    journal: &Journal,
    board: &Board,
    states: &BTreeMap<RollupId, RollupState>,
    rules: &BTreeMap<RollupId, TxRules>,
    now_ms: u64,
) -> Result<(), ReadError> {
    if states.is_empty() {
        return Ok(());
    }
    let open = states.keys().filter_map(|id| board.open_window(*id)).map(|open| open.position).min();
    let recent = first_since(journal, now_ms.saturating_sub(BACK_MS))?;
    let mut next = open.map_or(recent, |open| open.min(recent));
    loop {
        let entries = journal.read(next, READ_ENTRIES, READ_BYTES)?;
        let Some(last) = entries.last() else { return Ok(()) };
        next = last.position.saturating_add(1);
        for entry in entries.iter().filter(|entry| entry.kind != KIND_CLAIMS) {
            let Ok(Event::Ordered(body)) = Event::from_entry(entry) else { continue };
            let Ok(ordering) = body.ordering() else { continue };
            let id = ordering.rollup_id;
            let (Some(state), Some(rules)) = (states.get(&id), rules.get(&id)) else { continue };
            let placed: Vec<_> =
                body.transactions.into_iter().filter_map(|raw| validate(raw, rules).ok()).collect();
            state.restore(placed.iter());
        }
    }
}

/// The first position whose entry is not older than `since_ms`, or the head.
fn first_since(journal: &Journal, since_ms: u64) -> Result<u64, ReadError> {
    let (mut low, mut high) = (0, journal.head());
    while low < high {
        let middle = low.midpoint(high);
        match journal.read(middle, 1, 1)?.first() {
            Some(entry) if entry.at_ms < since_ms => low = middle.saturating_add(1),
            _ => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use alloy_primitives::{Address, Bytes, U256};
    use earnest_chain::ExecutionClient;
    use earnest_journal::{Batch, Options};
    use earnest_protocol::{
        Slot,
        objects::Policy,
        ordering::{Limits, WindowConfig, WindowEngine},
    };

    use super::*;
    use crate::{
        records::OrderedBody,
        rollup_state::{Reading, StateError, tests::tx},
    };

    #[tokio::test]
    async fn what_was_placed_before_a_restart_still_counts() {
        let id = RollupId(7);
        let rules = TxRules { chain_id: 7, max_bytes: 100, max_gas: 1, opaque: true };
        let placed = validate(Bytes::from_static(b"anything"), &rules).unwrap();
        let config = WindowConfig {
            rollup_id: id,
            slot: Slot(3),
            forced_inclusion_head: 0,
            policy: Policy::Fcfs,
            limits: Limits::default(),
        };
        let mut engine = WindowEngine::open(config, Arc::default());
        engine.push(Arc::new(placed.clone())).unwrap();
        let body = OrderedBody::of(&engine.draft(1).unwrap(), Address::ZERO);
        let folder = tempfile::tempdir().unwrap();
        let options = Options { free_space_floor: 0, ..Options::default() };
        let journal = Journal::open(folder.path(), options).unwrap();
        journal.append(0, Batch { records: vec![body.to_record()], claims: vec![] }).unwrap();
        let at_ms = journal.read(0, 1, 1).unwrap()[0].at_ms;

        for (now_ms, next) in [(at_ms + 1, placed.nonce + 1), (at_ms + BACK_MS + 1, placed.nonce)] {
            let rpc = ExecutionClient::new("http://127.0.0.1:1".parse().unwrap()).unwrap();
            let states: BTreeMap<_, _> = [(id, RollupState::new(rpc))].into();
            restore(&journal, &Board::new([id]), &states, &[(id, rules)].into(), now_ms).unwrap();
            let (state, now) = (&states[&id], Instant::now());
            let reading = Reading { nonce: placed.nonce, balance: U256::MAX, at: now };
            state.accounts.lock().merge(placed.sender, reading, now).unwrap();
            let other = earnest_protocol::tx::ValidatedTx { sender: placed.sender, ..tx(99, 0) };
            assert_eq!(state.reserve(&other).await.unwrap_err(), StateError::Nonce { next, found: 99 });
        }
    }
}
