//! What became of the slots under each fault.

use std::fmt;

use super::ledger::{Row, Source};

/// What is wrong while some slots pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing, from the start.
    Nothing,
    /// Nothing, after a fault.
    Mended,
    /// mev-boost was killed.
    MevBoostKilled,
    /// mev-boost takes connections and says nothing.
    MevBoostHangs,
    /// mev-boost says what is no HTTP.
    MevBoostGarbage,
    /// mev-boost answers too late.
    MevBoostLate,
    /// The gateway was killed.
    GatewayKilled,
    /// The gateway stands still.
    GatewayHangs,
    /// What the gateway sends to the relay is garbled.
    GatewayGarbage,
    /// What the gateway sends to the relay comes too late.
    GatewayLate,
    /// The relay answers every request with JSON that means nothing.
    RelayNonsense,
    /// The relay says what is no HTTP.
    RelayGarbage,
    /// The relay answers too late.
    RelayLate,
    /// The relay was killed.
    RelayKilled,
    /// The relay takes connections and says nothing.
    RelayHangs,
    /// The other relay bids more, for blocks without what was promised.
    Outbid,
    /// The sidecar was killed.
    SidecarKilled,
    /// The relay is killed when the beacon node has its header, and started again at once.
    KilledAfterHeader,
    /// The same, and it is not back in this slot.
    GoneAfterHeader,
    /// A block was lost: the sidecar's circuit breaker is open.
    BreakerOpen,
}

impl Fault {
    /// Whether the sidecar cannot know what the relay holds.
    #[must_use]
    pub const fn of_the_relay(self) -> bool {
        matches!(
            self,
            Self::RelayNonsense | Self::RelayGarbage | Self::RelayLate | Self::RelayKilled | Self::RelayHangs
        )
    }

    /// Whether mev-boost is of no use.
    #[must_use]
    pub const fn of_mev_boost(self) -> bool {
        matches!(
            self,
            Self::MevBoostKilled | Self::MevBoostHangs | Self::MevBoostGarbage | Self::MevBoostLate
        )
    }

    /// Whether the gateway constrains nothing.
    #[must_use]
    pub const fn of_the_gateway(self) -> bool {
        matches!(self, Self::GatewayKilled | Self::GatewayHangs | Self::GatewayGarbage | Self::GatewayLate)
    }

    /// Whether the relay is killed in the slot.
    #[must_use]
    pub const fn after_the_header(self) -> bool {
        matches!(self, Self::KilledAfterHeader | Self::GoneAfterHeader)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "none",
            Self::Mended => "none, after one",
            Self::MevBoostKilled => "mev-boost killed",
            Self::MevBoostHangs => "mev-boost hangs",
            Self::MevBoostGarbage => "mev-boost answers garbage",
            Self::MevBoostLate => "mev-boost answers late",
            Self::GatewayKilled => "gateway killed",
            Self::GatewayHangs => "gateway hangs",
            Self::GatewayGarbage => "gateway sends garbage",
            Self::GatewayLate => "gateway sends late",
            Self::RelayNonsense => "relay answers JSON without sense",
            Self::RelayGarbage => "relay answers garbage",
            Self::RelayLate => "relay answers late",
            Self::RelayKilled => "relay killed",
            Self::RelayHangs => "relay hangs",
            Self::Outbid => "other relay bids more, unproven",
            Self::SidecarKilled => "sidecar killed",
            Self::KilledAfterHeader => "relay killed after its header, back at once",
            Self::GoneAfterHeader => "relay killed after its header, and gone",
            Self::BreakerOpen => "circuit breaker open after that",
        })
    }
}

/// The slots under one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// All.
    pub slots: usize,
    /// With a delegation of the sidecar, whose constraints therefore matter.
    pub delegated: usize,
    /// Of them, those whose delegation carries what an auction sold.
    pub sold: usize,
    /// With constraints that the relay holds.
    pub constrained: usize,
    /// The relay's block, with proofs of what was promised.
    pub proven: usize,
    /// The relay's block, passed through.
    pub relay: usize,
    /// mev-boost's block, passed through.
    pub mev_boost: usize,
    /// The beacon node's own block.
    pub local: usize,
    /// No block.
    pub missed: usize,
}

/// What a slot is beside its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "columns of a table")]
pub struct Is {
    /// The sidecar delegated it.
    pub delegated: bool,
    /// The delegation carries what an auction sold.
    pub sold: bool,
    /// The relay holds constraints.
    pub constrained: bool,
    /// The sidecar saw proofs of them.
    pub proven: bool,
}

impl Count {
    /// Counts one slot more.
    pub fn add(&mut self, row: &Row, is: Is) {
        let Is { delegated, sold, constrained, proven } = is;
        self.slots += 1;
        self.delegated += usize::from(delegated);
        self.sold += usize::from(sold);
        self.constrained += usize::from(constrained);
        let of = match row.source {
            Source::Relay { .. } if proven => &mut self.proven,
            Source::Relay { .. } => &mut self.relay,
            Source::MevBoost { .. } => &mut self.mev_boost,
            Source::Local => &mut self.local,
            Source::Missed | Source::Lost => &mut self.missed,
        };
        *of += 1;
    }

    /// Slots with a block.
    #[must_use]
    pub const fn proposed(&self) -> usize {
        self.slots - self.missed
    }
}

/// A table of them.
#[must_use]
pub fn table(counts: &[(Fault, Count)]) -> String {
    let mut lines = vec![
        "| fault | slots | of them delegated | sold by an auction | constrained | proposed | proven | passed through, relay | passed through, mev-boost | local | missed |"
            .to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for (fault, count) in counts {
        let Count { slots, delegated, sold, constrained, proven, relay, mev_boost, local, missed } = count;
        let proposed = count.proposed();
        lines.push(format!(
            "| {fault} | {slots} | {delegated} | {sold} | {constrained} | {proposed} | {proven} | {relay} | {mev_boost} | {local} | {missed} |"
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;

    #[test]
    fn every_slot_is_in_one_column() {
        let value = U256::from(1);
        let of = |source| Row { slot: 1, proposer: 0, source, payload: None, note: String::new() };
        let mut count = Count::default();
        for (source, proven) in [
            (Source::Relay { value }, true),
            (Source::Relay { value }, false),
            (Source::MevBoost { value }, false),
            (Source::Local, false),
            (Source::Local, false),
            (Source::Missed, false),
            (Source::Lost, false),
        ] {
            count.add(&of(source), Is { delegated: true, sold: proven, constrained: proven, proven });
        }
        assert_eq!(count.proposed(), 5);
        let text = table(&[(Fault::RelayHangs, count)]);
        assert_eq!(text.lines().last().unwrap(), "| relay hangs | 7 | 7 | 1 | 1 | 5 | 1 | 1 | 1 | 2 | 2 |");
    }
}
