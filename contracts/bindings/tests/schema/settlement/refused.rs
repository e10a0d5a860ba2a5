//! Bids that do not settle.

use super::{Cases, RIGHTS, SECONDS, SLOT, Scene, entry, stranger, terms};
use crate::examples;
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    RollupId, Slot, Wei,
    objects::{AllocationEntry, DelegationReceipt},
    signing::{EcdsaSignature, Signed},
    sol,
};

pub(super) fn refused_times(cases: &mut Cases) {
    cases.refuses("at the slot's start", "TooEarly", |scene| scene.chain.now = scene.slot_seconds());
    cases.refuses("long before the slot", "TooEarly", |scene| {
        scene.chain.now = scene.slot_seconds() - 96 * 12;
    });
    cases.refuses("a second after the horizon", "TooLate", |scene| {
        scene.chain.now = scene.slot_seconds() + u64::from(SECONDS.horizon_seconds) + 1;
    });
    cases.refuses("a second time", "AlreadySettled", |scene| {
        scene.earlier = Some(scene.call());
    });
    cases.refuses("one of its rollups settled", "AlreadySettled", |scene| {
        let mut earlier = Scene::new(scene.market, &RIGHTS[1..]);
        earlier.bid.nonce = 1;
        scene.earlier = Some(earlier.call());
    });
    cases.refuses("the same rights under another bid", "AlreadySettled", |scene| {
        scene.earlier = Some(scene.call());
        scene.bid.nonce = 9;
    });
}

pub(super) fn refused_bids(cases: &mut Cases) {
    let refused = "BadBidSignature";
    cases.refuses("signed by another account", refused, |scene| scene.bidder = stranger());
    cases.refuses("signed for another market", refused, |scene| scene.bid_domain.market = Address::ZERO);
    cases.refuses("signed for another chain", refused, |scene| scene.bid_domain.chain_id = 1);
    cases.refuses_changed("account of zero", refused, |call| {
        (call.bid.account, call.bidSignature) = (Address::ZERO, Bytes::from(vec![0; 65]));
    });
    cases.refuses_changed("another amount than signed", refused, |call| call.bid.amountWei += U256::from(1));
    cases.refuses_changed("another nonce than signed", refused, |call| call.bid.nonce += 1);
    cases.refuses_changed("another operator than signed", refused, |call| {
        call.bid.registrationRoot = B256::ZERO;
    });
    cases.refuses_changed("v of zero or one", refused, |call| {
        let mut signature = call.bidSignature.to_vec();
        signature[64] -= 27;
        call.bidSignature = signature.into();
    });
    cases.refuses_changed("high s", refused, |call| {
        let order =
            U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
        let mut signature = call.bidSignature.to_vec();
        let s = U256::from_be_slice(&signature[32..64]);
        signature[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
        signature[64] = 55 - signature[64];
        call.bidSignature = signature.into();
    });
    cases.refuses_changed("compact signature", refused, |call| {
        call.bidSignature = call.bidSignature.slice(..64);
    });
    cases.refuses_changed("a byte after the signature", refused, |call| {
        call.bidSignature = [&call.bidSignature[..], &[0]].concat().into();
    });
    cases.refuses("lapsed before any close", "BidExpired", |scene| {
        scene.bid.expiry = scene.start_ms / 1_000 - 49;
    });
    cases.refuses("lapsed in 1970", "BidExpired", |scene| scene.bid.expiry = 0);
}

pub(super) fn refused_delegations(cases: &mut Cases) {
    let refused = "InvalidDelegation";
    cases.refuses("delegation of another slot", refused, |scene| scene.delegation_slot = Slot(SLOT.0 + 1));
    cases.refuses("no metadata", refused, |scene| scene.metadata = |_| Vec::new());
    cases.refuses("metadata cut short", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes.truncate(bytes.len() - 32);
            bytes
        };
    });
    cases.refuses("a word after the metadata", refused, |scene| {
        scene.metadata = |bytes| [bytes, vec![0; 32]].concat();
    });
    cases.refuses("metadata with a longer way to the same entries", refused, |scene| {
        scene.metadata = |mut bytes| {
            // The allocation one word later, an empty word before it.
            bytes[63] = 0x60;
            bytes.splice(64..64, [0; 32]);
            bytes
        };
    });
    cases.refuses("metadata with a dirty padding", refused, |scene| {
        scene.metadata = |mut bytes| {
            *bytes.last_mut().unwrap() = 1;
            bytes
        };
    });
    cases.refuses("metadata with a slot out of range", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[64] = 1;
            bytes
        };
    });
    cases.refuses("metadata with entries without end", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[192..224].fill(0xff);
            bytes
        };
    });
    cases.refuses("metadata of version 0", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[31] = 0;
            bytes
        };
    });
    cases.refuses("metadata of version 2", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[31] = 2;
            bytes
        };
    });
    cases.refuses("an entry's URL that is no text", refused, |scene| {
        scene.metadata = |mut bytes| {
            let at = bytes.windows(8).rposition(|window| window == b"https://").unwrap();
            bytes[at] = 0xff;
            bytes
        };
    });
    cases.refuses("another's entry with a URL beyond ASCII", refused, |scene| {
        scene.others[0].url = "https://gäteway.example/".into();
    });
    cases.refuses("another's entry with too long a URL", refused, |scene| {
        scene.others[0].url = "u".repeat(257);
    });
    cases.refuses("an entry with a delegate of 47 bytes", refused, |scene| {
        scene.metadata = |mut bytes| {
            // The length is the only word of 48.
            let word = U256::from(48).to_be_bytes::<32>();
            let at = bytes.chunks(32).position(|chunk| chunk == word).unwrap();
            bytes[at * 32 + 31] = 47;
            bytes[at * 32 + 32 + 47] = 0;
            bytes
        };
    });
    cases.refuses("a rollup with two entries", refused, |scene| {
        scene.others.push(AllocationEntry { bid_hash: examples::hash("another"), ..entry(4_242, 5) });
    });
    cases.refuses("a rollup with two entries side by side", refused, |scene| {
        scene.others.push(scene.others[0].clone());
    });
    cases.refuses("allocation of another slot", refused, |scene| scene.allocation_slot = Slot(SLOT.0 - 1));
    cases.refuses("start at the slot", refused, |scene| {
        scene.start_ms = scene.slot_ms();
        scene.bid.expiry = u64::MAX;
    });
    cases.refuses("start after all time", refused, |scene| {
        scene.start_ms = u64::MAX;
        scene.bid.expiry = u64::MAX;
    });
    cases.refuses("signed by the proposer of another chain", refused, |scene| {
        scene.proposer_network.chain_id += 1;
    });
    cases.refuses("signed under another fork version", refused, |scene| {
        scene.proposer_network.genesis_fork_version = [0; 4];
    });
    cases.refuses_changed("another nonce than the proposer's", refused, |call| call.delegation.nonce += 1);
    cases.refuses_changed("another signing id than the proposer's", refused, |call| {
        call.delegation.signingId = B256::ZERO;
    });
    cases.refuses_changed("signature of nothing by nobody", refused, |call| {
        let zero = B256::ZERO;
        call.delegation.signature = sol::G2Point {
            x_c0_a: zero,
            x_c0_b: zero,
            x_c1_a: zero,
            x_c1_b: zero,
            y_c0_a: zero,
            y_c0_b: zero,
            y_c1_a: zero,
            y_c1_b: zero,
        };
    });
    cases.refuses_changed("signature off the curve", refused, |call| {
        call.delegation.signature.y_c1_b.0[31] ^= 1;
    });
}

/// A delegation that is no delegation, and yet receipted: its keys are changed before the relay signs.
fn receipted(cases: &mut Cases, name: &str, change: impl FnOnce(&mut sol::SignedDelegation)) {
    let scene = Scene::new(cases.market, &RIGHTS);
    let mut call = scene.call();
    change(&mut call.delegation);
    let message = DelegationReceipt {
        slot: SLOT,
        delegation_hash: alloy_primitives::keccak256(call.delegation.delegation.abi_encode()),
        received_at_ms: scene.received_at_ms,
    };
    let receipt = Signed::<_, EcdsaSignature>::sign(message, &scene.relay, &scene.relay_network).unwrap();
    call.receipt.receipt.delegationHash = receipt.message.delegation_hash;
    call.receipt.signature = receipt.signature.into();
    cases.add(name, &scene, &call, Err("InvalidDelegation"));
}

pub(super) fn refused_receipts(cases: &mut Cases) {
    let refused = "InvalidDelegation";
    cases.refuses("receipt of another slot", refused, |scene| scene.receipt_slot = Slot(SLOT.0 + 1));
    cases.refuses("receipt of another delegation", refused, |scene| {
        scene.receipt_hash = Some(examples::hash("another"));
    });
    cases.refuses("received at the start", refused, |scene| scene.received_at_ms = scene.start_ms);
    cases.refuses("received long after", refused, |scene| scene.received_at_ms = u64::MAX);
    cases.refuses("another relay's receipt", refused, |scene| scene.relay = stranger());
    cases.refuses("receipt for another chain", refused, |scene| scene.relay_network.chain_id += 1);
    cases.refuses("bid for another relay", refused, |scene| {
        scene.bid.relay = stranger().address();
    });
    cases.refuses_changed("a time that the relay did not sign", refused, |call| {
        call.receipt.receipt.receivedAtMs -= 1;
    });
    cases.refuses_changed("receipt without a signature", refused, |call| {
        call.receipt.signature = Bytes::new();
    });
    let mut scene = Scene::new(cases.market, &RIGHTS);
    scene.bid.relay = Address::ZERO;
    let mut call = scene.call();
    call.receipt.signature = Bytes::new();
    cases.add("a relay of zero, which every bad signature recovers to", &scene, &call, Err(refused));
    let zero = sol::G1Point { x_a: B256::ZERO, x_b: B256::ZERO, y_a: B256::ZERO, y_b: B256::ZERO };
    receipted(cases, "receipted, of a delegate at infinity", |signed| {
        signed.delegation.delegate = zero.clone();
    });
    receipted(cases, "receipted, of a delegate off the curve", |signed| {
        signed.delegation.delegate.y_b.0[31] ^= 1;
    });
    receipted(cases, "receipted, of a delegate in another encoding", |signed| {
        signed.delegation.delegate.x_a.0[0] = 1;
    });
    receipted(cases, "receipted, of a delegate outside the subgroup", |signed| {
        signed.delegation.delegate = crate::registry::off_subgroup_key();
    });
    receipted(cases, "receipted, of another delegate than signed", |signed| {
        signed.delegation.delegate = signed.delegation.proposer.clone();
    });
    receipted(cases, "receipted, of another proposer than signed", |signed| {
        signed.delegation.proposer = signed.delegation.delegate.clone();
    });
    receipted(cases, "receipted, of a proposer at infinity, who signs everything", |signed| {
        let word = B256::ZERO;
        signed.delegation.proposer = zero.clone();
        signed.signature = sol::G2Point {
            x_c0_a: word,
            x_c0_b: word,
            x_c1_a: word,
            x_c1_b: word,
            y_c0_a: word,
            y_c0_b: word,
            y_c1_a: word,
            y_c1_b: word,
        };
    });
}

pub(super) fn refused_allocations(cases: &mut Cases) {
    let refused = "NotAllocated";
    cases.refuses("a bid that won nothing", refused, |scene| scene.won.clear());
    cases.refuses("a bid that won half of what it wants", refused, |scene| {
        scene.won.pop();
    });
    cases.refuses("half for the price of all", refused, |scene| {
        scene.won.pop();
        scene.won[0].price_wei = Wei(scene.bid.amountWei);
    });
    cases.refuses("more rollups than it bid for", refused, |scene| {
        scene.won.push(entry(4_244, 0));
        scene.chain.terms.insert(RollupId(4_244), terms(0, 0));
    });
    cases.refuses("another rollup than it bid for", refused, |scene| {
        scene.won[1].rollup_id = RollupId(4_244);
        scene.chain.terms.insert(RollupId(4_244), terms(0, 0));
    });
    cases.refuses("a bid for no rollup", refused, |scene| {
        scene.bid.rollupIds.clear();
        scene.won.clear();
        scene.bid.amountWei = U256::ZERO;
    });
    cases.refuses("a bid for descending rollups", refused, |scene| scene.bid.rollupIds.reverse());
    cases.refuses("a bid for a rollup twice", refused, |scene| {
        scene.bid.rollupIds = vec![4_242, 4_242, 4_243];
    });
    cases.refuses("another account's entry", refused, |scene| {
        scene.won[1].account = stranger().address();
    });
    cases.refuses("another committer than bid", refused, |scene| {
        scene.won[1].committer = stranger().address();
    });
    cases.refuses("another delegate than bid", refused, |scene| {
        scene.won[1].delegate = examples::proposer().public_key();
    });
    cases.refuses("a bid with a delegate of 47 bytes", refused, |scene| {
        scene.bid.delegate = scene.bid.delegate.slice(..47);
    });
    cases.refuses("another URL than bid", refused, |scene| scene.won[1].url.push('?'));
    cases.refuses("a bid with a URL beyond ASCII", refused, |scene| {
        scene.bid.url = "https://gäteway.example/".into();
    });
    cases.refuses("a wei less than bid", refused, |scene| {
        scene.won[1].price_wei = Wei(U256::from(776));
    });
    cases.refuses("a wei more than bid", refused, |scene| {
        scene.won[1].price_wei = Wei(U256::from(778));
    });
    cases.refuses("prices that overflow to the bid", refused, |scene| {
        scene.won[0].price_wei = Wei(U256::MAX);
        scene.won[1].price_wei = Wei(U256::from(1_000_781));
    });
}

pub(super) fn refused_terms(cases: &mut Cases) {
    cases.refuses("a wei short in escrow", "EscrowTooLow", |scene| scene.chain.escrow_wei -= U256::from(1));
    cases.refuses("nothing in escrow", "EscrowTooLow", |scene| scene.chain.escrow_wei = U256::ZERO);
    let refused = "NotForSale";
    cases.refuses("a rollup that does not sell", refused, |scene| scene.terms(4_243).active = false);
    cases.refuses("a rollup without terms", refused, |scene| {
        scene.chain.terms.remove(&RollupId(4_243));
    });
    cases.refuses("a rollup of another relay", refused, |scene| {
        scene.terms(4_243).relay = stranger().address();
    });
    cases.refuses("a wei below a reserve", refused, |scene| {
        scene.terms(4_243).reserve_wei = Wei(U256::from(778));
    });
}
