use super::*;
use crate::{
    fixtures::{
        NETWORK, SLOT, START_MS, authority_of, bls_secret, committer, delegation, ecdsa_secret, entry, relay,
    },
    objects::OrderingBid,
};
use alloy_primitives::Bytes;
use proptest::prelude::*;

const SLOT_MS: u64 = 12_000;
/// The slot's start.
const AT: u64 = START_MS / 1_000 + 60;
const RECIPIENT: Address = Address::repeat_byte(0x77);

fn market() -> Market {
    Market {
        address: Address::repeat_byte(0x4d),
        network: NETWORK,
        genesis_ms: AT * 1_000 - SLOT.0 * SLOT_MS,
        slot_ms: SLOT_MS,
        horizon_seconds: 3_600,
    }
}

fn bid(prices: &[U256]) -> OrderingBid {
    OrderingBid {
        slot: SLOT,
        rollup_ids: (1..).map(RollupId).take(prices.len()).collect(),
        amount_wei: Wei(prices.iter().sum()),
        account: ecdsa_secret(9).address(),
        registration_root: B256::repeat_byte(3),
        committer: committer().address(),
        relay: relay().address(),
        delegate: bls_secret(4).public_key(),
        url: entry(RollupId(1)).url,
        matches: B256::ZERO,
        nonce: 1,
        expiry: AT,
    }
}

fn entries(bid: &OrderingBid, prices: &[U256]) -> Vec<AllocationEntry> {
    let won = bid.rollup_ids.iter().zip(prices).map(|(id, price)| AllocationEntry {
        bid_hash: bid.hash(&market().domain()),
        account: bid.account,
        price_wei: Wei(*price),
        ..entry(*id)
    });
    // A rollup that the bid did not win, and one that nobody bought.
    won.chain([entry(RollupId(900)), AllocationEntry { bid_hash: B256::ZERO, ..entry(RollupId(901)) }])
        .collect()
}

fn call_of(bid: &OrderingBid, entries: Vec<AllocationEntry>) -> sol::settleCall {
    let allocation = SlotAllocation { slot: SLOT, start_ms: START_MS, auction_root: B256::ZERO, entries };
    let signed = SignedBid::sign(bid.clone(), &ecdsa_secret(9), &market().domain()).unwrap();
    Market::call(&signed, &authority_of(delegation(&allocation), START_MS - 1)).unwrap()
}

fn call(prices: &[U256]) -> sol::settleCall {
    let bid = bid(prices);
    call_of(&bid, entries(&bid, prices))
}

fn terms(inclusion_share_bps: u16) -> Terms {
    Terms {
        reserve_wei: Wei::default(),
        revenue_recipient: RECIPIENT,
        relay: relay().address(),
        inclusion_share_bps,
        active: true,
    }
}

fn chain(shares: &[u16]) -> ChainState {
    ChainState {
        now: AT + 1,
        escrow_wei: U256::MAX,
        terms: (1..).map(RollupId).zip(shares.iter().map(|share| terms(*share))).collect(),
        ..ChainState::default()
    }
}

fn record(chain: &mut ChainState, rollup: u64, segment: u16, time: u64, kind: CommitmentKind) {
    let place = BatchPlace { rollup_id: RollupId(rollup), segment, committer: committer().address() };
    chain.batches.insert(place, Batch { time, kind });
}

fn wei(amounts: &[u64]) -> Vec<U256> {
    amounts.iter().copied().map(U256::from).collect()
}

#[test]
fn each_rollup_and_the_proposer_get_their_shares() {
    let mut chain = chain(&[2_500, 2_500]);
    record(&mut chain, 1, 0, AT - 12, CommitmentKind::SegmentSeal);
    record(&mut chain, 1, 1, AT, CommitmentKind::WindowSeal);
    record(&mut chain, 2, 0, AT + 1, CommitmentKind::WindowSeal);
    let outcome = market().settle(&call(&wei(&[1_001, 500])), &chain).unwrap();
    assert_eq!(outcome.charged_wei, U256::from(1_501));
    assert_eq!(outcome.proposer, crate::fixtures::proposer().public_key());
    let right = |rollup, revenue: u64, proposer: u64, in_time| Right {
        rollup_id: RollupId(rollup),
        revenue_recipient: RECIPIENT,
        revenue_wei: U256::from(revenue),
        proposer_wei: U256::from(proposer),
        in_time,
    };
    assert_eq!(outcome.rights, [right(1, 751, 250, true), right(2, 500, 0, false)]);
}

#[test]
fn a_window_is_in_time_only_with_all_its_batches() {
    type Records<'a> = &'a [(u16, u64, CommitmentKind)];
    let cases: [(Records<'_>, bool); 6] = [
        (&[(0, AT, CommitmentKind::WindowSeal)], true),
        (&[(0, AT, CommitmentKind::SegmentSeal)], false),
        (&[(1, AT, CommitmentKind::WindowSeal)], false),
        (&[(0, AT + 1, CommitmentKind::SegmentSeal), (1, AT, CommitmentKind::WindowSeal)], false),
        (&[(0, AT, CommitmentKind::SegmentSeal), (1, AT, CommitmentKind::WindowSeal)], true),
        (&[(0, AT, CommitmentKind::SegmentSeal), (2, AT, CommitmentKind::WindowSeal)], false),
    ];
    for (records, expected) in cases {
        let mut chain = chain(&[5_000]);
        for (segment, time, kind) in records {
            record(&mut chain, 1, *segment, *time, *kind);
        }
        let outcome = market().settle(&call(&wei(&[10])), &chain).unwrap();
        assert_eq!(outcome.rights[0].in_time, expected, "{records:?}");
    }
    let endless = |seals: u16| {
        let mut chain = chain(&[5_000]);
        for segment in 0..seals {
            record(&mut chain, 1, segment, AT, CommitmentKind::SegmentSeal);
        }
        record(&mut chain, 1, seals, AT, CommitmentKind::WindowSeal);
        market().settle(&call(&wei(&[10])), &chain).unwrap().rights[0].in_time
    };
    assert!(endless(MAX_SEGMENTS - 1));
    assert!(!endless(MAX_SEGMENTS));
}

#[test]
fn it_settles_from_the_slot_until_the_horizon() {
    let call = call(&wei(&[10]));
    let at =
        |now| market().settle(&call, &ChainState { now, ..chain(&[0]) }).map(|outcome| outcome.charged_wei);
    assert_eq!(at(AT), Err(SettlementError::TooEarly(u128::from(AT) + 1)));
    assert_eq!(at(AT + 1), Ok(U256::from(10)));
    assert_eq!(at(AT + 3_600), Ok(U256::from(10)));
    assert_eq!(at(AT + 3_601), Err(SettlementError::TooLate(u128::from(AT) + 3_600)));
}

#[test]
fn malformed_keys_and_signatures_are_refused() {
    let good = call(&wei(&[10]));
    let refused = |change: &dyn Fn(&mut sol::settleCall)| {
        let mut call = good.clone();
        change(&mut call);
        market().settle(&call, &chain(&[0])).unwrap_err()
    };
    let zero = sol::G1Point { x_a: B256::ZERO, x_b: B256::ZERO, y_a: B256::ZERO, y_b: B256::ZERO };
    let invalid = SettlementError::InvalidDelegation;
    assert_eq!(refused(&|call| call.bidSignature = Bytes::new()), SettlementError::BadBidSignature);
    assert_eq!(refused(&|call| call.bid.account = Address::ZERO), SettlementError::BadBidSignature);
    assert_eq!(refused(&|call| call.receipt.signature = Bytes::new()), invalid("relay's signature"));
    assert_eq!(refused(&|call| call.delegation.delegation.delegate = zero.clone()), invalid("delegate"),);
    assert_eq!(
        refused(&|call| call.delegation.delegation.proposer = zero.clone()),
        invalid("proposer's signature"),
    );
    assert_eq!(refused(&|call| call.delegation.signature.x_c0_b.0[31] ^= 1), invalid("proposer's signature"),);
}

#[test]
fn every_refusal_has_its_name() {
    let id = RollupId(1);
    let all = [
        (SettlementError::TooEarly(1), "TooEarly"),
        (SettlementError::TooLate(1), "TooLate"),
        (SettlementError::AlreadySettled(id), "AlreadySettled"),
        (SettlementError::BadBidSignature, "BadBidSignature"),
        (SettlementError::InvalidDelegation(""), "InvalidDelegation"),
        (SettlementError::BidExpired, "BidExpired"),
        (SettlementError::NotAllocated(""), "NotAllocated"),
        (SettlementError::EscrowTooLow(U256::ZERO), "EscrowTooLow"),
        (SettlementError::NotForSale(id, ""), "NotForSale"),
    ];
    for (error, name) in all {
        assert_eq!(error.name(), name);
    }
    let unreachable = SettlementError::from(DelegationError::NoEntry(id));
    assert_eq!(unreachable, SettlementError::InvalidDelegation("entry"));
    let unreachable = SettlementError::from(DelegationError::WrongProposer);
    assert_eq!(unreachable, SettlementError::InvalidDelegation("proposer"));
}

fn any_price() -> impl Strategy<Value = U256> {
    (any::<[u8; 32]>(), 3usize..32).prop_map(|(bytes, zeros)| {
        let mut bytes = bytes;
        bytes[..zeros].fill(0);
        U256::from_be_bytes(bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_that_is_charged_is_credited(
        rights in proptest::collection::vec((any_price(), 0u16..=10_000, any::<bool>()), 1..6),
    ) {
        let prices: Vec<U256> = rights.iter().map(|(price, ..)| *price).collect();
        let shares: Vec<u16> = rights.iter().map(|(_, share, _)| *share).collect();
        let mut chain = chain(&shares);
        chain.escrow_wei = prices.iter().sum();
        for (rollup, (_, _, in_time)) in (1..).zip(&rights) {
            record(&mut chain, rollup, 0, AT + u64::from(!in_time), CommitmentKind::WindowSeal);
        }
        let outcome = market().settle(&call(&prices), &chain).unwrap();
        prop_assert_eq!(outcome.charged_wei, chain.escrow_wei);
        let credited: U256 = outcome.rights.iter().map(|right| right.revenue_wei + right.proposer_wei).sum();
        prop_assert_eq!(credited, outcome.charged_wei);
        for (right, (price, share, in_time)) in outcome.rights.iter().zip(&rights) {
            let expected = if *in_time { *price * U256::from(*share) / U256::from(10_000) } else { U256::ZERO };
            prop_assert_eq!(right.proposer_wei, expected);
            prop_assert_eq!(right.in_time, *in_time);
        }
        chain.escrow_wei = chain.escrow_wei.saturating_sub(U256::ONE);
        if !outcome.charged_wei.is_zero() {
            let refused = market().settle(&call(&prices), &chain);
            prop_assert_eq!(refused, Err(SettlementError::EscrowTooLow(chain.escrow_wei)));
        }
    }

    #[test]
    fn shares_are_exact_and_monotone(price: [u8; 32], more: [u8; 32], bps: u16, other: u16) {
        let (price, more) = (U256::from_be_bytes(price), U256::from_be_bytes(more));
        let share = proposer_share(price, bps);
        prop_assert!(share <= price);
        prop_assert!(share <= proposer_share(price.saturating_add(more), bps));
        if bps <= other {
            prop_assert!(share <= proposer_share(price, other));
        }
        let small = price >> 20usize;
        let (exact, _) = (small * U256::from(bps.min(10_000))).div_rem(U256::from(10_000));
        prop_assert_eq!(proposer_share(small, bps), exact);
    }

    /// A bid that was not signed as it is, or another than the entries name, charges nobody.
    #[test]
    fn no_changed_bid_settles(field in 0usize..12, byte in 1u8..) {
        let mut call = call(&wei(&[10, 20]));
        let bid = &mut call.bid;
        match field {
            0 => bid.slot ^= u64::from(byte),
            1 => bid.rollupIds[0] ^= u64::from(byte),
            2 => bid.amountWei ^= U256::from(byte),
            3 => bid.account.0[7] ^= byte,
            4 => bid.registrationRoot.0[9] ^= byte,
            5 => bid.committer.0[3] ^= byte,
            6 => bid.relay.0[2] ^= byte,
            7 => bid.delegate = Bytes::from(vec![byte; 48]),
            8 => bid.url.push(char::from(byte)),
            9 => bid.matches.0[0] ^= byte,
            10 => bid.nonce ^= u64::from(byte),
            _ => bid.expiry ^= u64::from(byte),
        }
        prop_assert!(market().settle(&call, &chain(&[0, 0])).is_err());
        // Nor does it if the account signs the change, but the allocation names the bid before.
        let secret = ecdsa_secret(9);
        call.bidSignature = secret.sign(call.bid.eip712_signing_hash(&market().domain().eip712())).unwrap().into();
        prop_assert!(market().settle(&call, &chain(&[0, 0])).is_err());
    }

    #[test]
    fn no_times_overflow(genesis_ms: u64, slot_ms: u64, horizon_seconds: u32, slot: u64, now: u64) {
        let market = Market { genesis_ms, slot_ms, horizon_seconds, ..market() };
        let mut call = call(&wei(&[1]));
        call.bid.slot = slot;
        let chain = ChainState { now, ..chain(&[0]) };
        prop_assert!(market.settle(&call, &chain).is_err());
    }
}
