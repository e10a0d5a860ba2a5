//! What is done to the relay while the network runs.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use earnest_builder_types::{BlindedBeaconBlock, ForkCodec, SignedBlindedBeaconBlock};

use super::{
    gate::Gate,
    ledger::{Row, Source},
    proposer::Produced,
    run::Run,
};
use crate::patience::now_ms;

impl Run {
    /// The relay dies when the beacon node has its header, and is started again. The client asks a relay for a payload
    /// once, so this slot may be lost; no other.
    pub async fn killed_in_the_clients_own_slot(&mut self, slot: u64) {
        self.network.at(slot - 1, 1, 2).await;
        self.settle_to(slot - 2).await;
        self.network.at(slot - 1, 19, 20).await;
        let given = self.network.relay.next_header(self.network.clock.slot_duration()).await;
        let after = now_ms().saturating_sub(self.network.clock.start_of(slot));
        self.network.relay.kill().await;
        let took = self.network.relay.start(&self.network.peers.beacon_url).await;
        let given = if given { "gave its header" } else { "gave no header" };
        self.note(
            slot,
            &format!("relay {given}, killed {after} ms into the slot, up again in {} ms", took.as_millis()),
        );
        let rows = self.drive(slot + 1..=slot + 1, &BTreeMap::new()).await;
        let outcome = rows.iter().find(|row| row.slot == slot).map(|row| row.source);
        self.findings.push(format!(
            "relay killed when the client had its header (slot {slot}): the slot was {}",
            match outcome {
                Some(Source::Missed) => "lost, for the client hands a signed block in once",
                Some(Source::Local) => "proposed locally: the header had not reached the client",
                Some(Source::Relay { .. }) => "the relay's: it had published before it died",
                _ => "lost, though the relay says that it published",
            }
        ));
    }

    /// As before, in slots of the harness's own validator, which hands its signed block in when the relay is back: the
    /// header is honoured, another block under it never is.
    pub async fn killed_and_asked_again(&mut self, from: u64, own_slots: &[u64]) {
        let mut tried = false;
        for slot in from..=*own_slots.last().unwrap() {
            if own_slots.contains(&slot) && !tried {
                tried = self.kill_and_ask_again(slot).await;
            }
            self.drive(slot..=slot, &BTreeMap::new()).await;
        }
        self.expect(tried, "no slot of the own validator had a header of the relay");
    }

    /// False if there was no header.
    async fn kill_and_ask_again(&mut self, slot: u64) -> bool {
        let beacon = self.network.peers.beacon_url.clone();
        self.proposed = slot;
        self.network.at(slot, 0, 1).await;
        let block = match self.network.own.produce(slot).await {
            Produced::Blinded(block) => block,
            Produced::Local(block) => {
                self.network.own.publish(block).await.unwrap();
                self.note(slot, "own validator: no header");
                return false;
            }
        };
        let signed = self.network.own.sign(block.clone());
        let other = self.network.own.sign(with_graffiti(block));

        self.network.relay.kill().await;
        let took = self.network.relay.start(&beacon).await;
        let honoured = self.network.own.hand_in(&signed).await;
        self.expect(honoured.is_ok(), &format!("slot {slot}: not honoured after kill -9: {honoured:?}"));
        let first = self.another_block(&other).await;
        self.expect(
            first.contains("another block"),
            &format!("slot {slot}: refused for another reason: {first}"),
        );
        let again = self.network.relay.client.submit_blinded_v2(&signed).await;
        self.expect(again.is_ok(), &format!("slot {slot}: the same block again is refused: {again:?}"));

        self.network.relay.kill().await;
        self.network.relay.start(&beacon).await;
        let second = self.another_block(&other).await;
        self.findings.push(format!(
            "relay killed between header and payload (slot {slot}), up again in {} ms: header honoured: {}; another block \
             under it: {first}; after one more kill: {second}",
            took.as_millis(),
            honoured.is_ok(),
        ));
        self.note(slot, "own validator: relay killed after the header and after the payload");
        true
    }

    /// Asks for the payload with another block under the same header; what the relay says.
    async fn another_block(&mut self, block: &SignedBlindedBeaconBlock) -> String {
        match self.network.relay.client.submit_blinded_v2(block).await {
            Ok(()) => {
                self.broken.push("the relay took two blocks for one slot".to_owned());
                "TAKEN".to_owned()
            }
            Err(error) => error.to_string(),
        }
    }

    /// The relay is stopped for three slots. It comes back behind a gate before the beacon node.
    pub async fn stopped_and_cut(&mut self, from: u64) {
        self.drive(from..=from, &BTreeMap::new()).await;
        self.network.at(from, 4, 5).await;
        self.network.relay.stop().await;
        for slot in from + 1..=from + 3 {
            self.note(slot, "relay stopped");
        }
        self.network.at(from + 3, 1, 2).await;
        let gate = Gate::open(self.network.peers.beacon_url.clone()).await;
        self.network.relay.start(&gate.url).await;
        self.note(from + 4, "relay back");
        let rows = self.drive(from + 4..=from + 6, &BTreeMap::new()).await;
        let registrations = self.network.relay.counter("earnest_relay_registrations_total").await;
        let down = rows.iter().filter(|row| (from + 1..=from + 3).contains(&row.slot));
        let local = down.filter(|row| row.source == Source::Local).count();
        self.expect(local == 3, &format!("{local} of 3 slots without a relay were proposed locally"));
        let served = rows.iter().find(|row| row.slot > from + 3 && row.is_of_the_relay()).map(|row| row.slot);
        self.expect(served.is_some(), "the relay serves nothing after it was stopped");
        self.findings.push(format!(
            "relay stopped for slots {} to {}: {local} local blocks; it serves again from slot {served:?}, with {registrations} \
             new registrations",
            from + 1,
            from + 3,
        ));
        self.cut(gate, from + 6).await;
    }

    /// The relay's event stream is cut for two slots, everything else works.
    async fn cut(&mut self, gate: Gate, from: u64) {
        self.network.at(from, 4, 5).await;
        gate.cut_events();
        self.drive(from + 1..=from + 2, &BTreeMap::new()).await;
        self.network.at(from + 2, 4, 5).await;
        gate.mend();
        for slot in from + 2..=from + 3 {
            self.note(slot, "no events reach the relay");
        }
        self.drive(from + 3..=from + 6, &BTreeMap::new()).await;
        self.settle_all().await;
        let rows: Vec<Row> = self.network.rows(from + 1..=from + 6).cloned().collect();
        let told = |source: fn(&Row) -> bool| rows.iter().filter(|row| source(row)).count();
        let (relays, local) = (told(Row::is_of_the_relay), told(|row| row.source == Source::Local));
        self.expect(relays + local == rows.len(), "a slot was missed while the relay's events were cut");
        let back = rows.iter().skip(3).any(Row::is_of_the_relay);
        self.expect(back, "the relay serves nothing after its events came back");
        self.findings.push(format!(
            "relay's events cut for slots {} and {}: in slots {} to {} {local} local blocks, {relays} of the relay",
            from + 2,
            from + 3,
            from + 1,
            from + 6,
        ));
    }
}

/// Another block under the same header.
fn with_graffiti(block: BlindedBeaconBlock) -> BlindedBeaconBlock {
    match block {
        BlindedBeaconBlock::Fulu(mut block) => {
            block.body.graffiti = B256::repeat_byte(0x99);
            BlindedBeaconBlock::Fulu(block)
        }
        other => panic!("a {} block", other.fork()),
    }
}
