//! The delegation of one slot, from the configuration. Pure. Where the market decides, its outcome takes this place.

use alloy_primitives::B256;
use earnest_protocol::Wei;
use earnest_protocol::objects::{AllocationEntry, Delegation, SlotAllocation};

use crate::config::GatewayConfig;
use crate::delegation_plan::Duty;

/// The delegation of `duty`'s slot to the configured gateway, which holds all its rollups unbought.
#[must_use]
pub fn delegation(duty: &Duty, gateway: &GatewayConfig) -> Delegation {
    let entries = gateway
        .rollups
        .iter()
        .map(|rollup| AllocationEntry {
            rollup_id: *rollup,
            bid_hash: B256::ZERO,
            account: gateway.account,
            committer: gateway.committer,
            delegate: gateway.delegate,
            price_wei: Wei::default(),
            url: gateway.url.clone(),
        })
        .collect();
    let allocation = SlotAllocation {
        slot: duty.window.slot,
        start_ms: duty.window.start_ms,
        auction_root: B256::ZERO,
        entries,
    };
    Delegation {
        proposer: duty.key,
        delegate: gateway.delegate,
        committer: gateway.committer,
        slot: duty.window.slot,
        metadata: allocation.to_metadata(),
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, FixedBytes};
    use earnest_protocol::window::Timing;
    use earnest_protocol::{RollupId, Slot};

    use super::*;

    #[test]
    fn the_allocation_names_the_window_and_every_rollup() {
        let window = Timing::new(0, 1_000, 8).window(Slot(20), None).unwrap();
        let duty = Duty { key: FixedBytes::repeat_byte(1), window };
        let gateway = GatewayConfig {
            committer: Address::repeat_byte(2),
            delegate: FixedBytes::repeat_byte(3),
            url: "http://127.0.0.1:1".to_owned(),
            rollups: vec![RollupId(10), RollupId(11)],
            relay_address: Address::ZERO,
            account: Address::repeat_byte(4),
        };
        let delegation = delegation(&duty, &gateway);
        let allocation = delegation.allocation().unwrap();
        assert_eq!((delegation.slot, delegation.proposer), (Slot(20), duty.key));
        assert_eq!(allocation.start_ms, window.start_ms);
        for rollup in gateway.rollups {
            assert_eq!(allocation.entry(rollup).unwrap().committer, gateway.committer);
        }
    }
}
