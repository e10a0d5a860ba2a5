//! What L1 and the beacon chain say of a slot's auction, read by whoever verifies rather than believed of the relay.

use std::time::Duration;

use alloy_primitives::Address;
use clap::Args;
use earnest_builder_types::BlsPublicKey;
use earnest_chain::registry::{Follower, OptedIn, OptedInOperator, RegistryConfig, RegistryView, Standing};
use earnest_chain::{BeaconClient, ChainError};
use earnest_protocol::auction::{Finding, Operator};
use earnest_protocol::objects::RollupRegistration;
use earnest_protocol::signing::Network;
use earnest_protocol::window::{Timing, Window};
use earnest_protocol::{Epoch, Slot};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::failure::Failure;

/// Where L1 is, and what stands on it.
#[derive(Debug, Default, Args)]
pub(crate) struct L1Args {
    /// An L1 execution client: then operators, committers, the proposer's operator and the window are checked against the
    /// contracts. For slots of the last epochs.
    #[arg(long, requires_all = ["beacon", "registry", "slasher"])]
    rpc: Option<Url>,
    /// A beacon node, for the clock and the proposers.
    #[arg(long, requires = "rpc")]
    beacon: Option<Url>,
    /// Address of the Registry.
    #[arg(long, requires = "rpc")]
    registry: Option<Address>,
    /// Address of the slasher whose opt-ins count.
    #[arg(long, requires = "rpc")]
    slasher: Option<Address>,
    /// Address of the RollupRegistry: then the rollups' terms are checked, too.
    #[arg(long, requires = "rpc")]
    rollups: Option<Address>,
    /// The block in which the contracts were deployed, or an earlier one.
    #[arg(long, default_value_t = 0)]
    from_block: u64,
    /// Epochs from the reference block to the epoch before the proposers' own, as the network has it.
    #[arg(long, default_value_t = 2)]
    optin_delay: u64,
    /// Seconds that reading the contracts' events may take.
    #[arg(long, default_value_t = 600)]
    l1_timeout: u64,
}

/// Which auction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of {
    pub(crate) network: Network,
    pub(crate) market: Address,
    pub(crate) relay: Address,
    pub(crate) slot: Slot,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The slot's proposer, if the beacon node still says who it is.
    pub(crate) proposer: Option<BlsPublicKey>,
    /// The slot's window, if all that bears on it is known.
    pub(crate) window: Option<Window>,
    /// The rollups that name the relay; none if the RollupRegistry was not read.
    pub(crate) rollups: Option<Vec<RollupRegistration>>,
    /// Those who count by the reference block.
    pub(crate) operators: Vec<Operator>,
    /// The proposer's, if the proposer is known.
    pub(crate) proposer_operator: Option<Option<Operator>>,
    /// What is wrong before any bid is looked at.
    pub(crate) findings: Vec<Finding>,
}

/// Reads L1, if there is one to read.
pub(crate) async fn read(args: &L1Args, of: Of) -> Result<Option<Facts>, Failure> {
    let (Some(rpc), Some(beacon), Some(registry), Some(slasher)) =
        (&args.rpc, &args.beacon, args.registry, args.slasher)
    else {
        return Ok(None);
    };
    let failed = |what: &'static str| move |error: ChainError| Failure::new(format!("{what}: {error}"));
    let beacon = BeaconClient::new([beacon.clone()]).map_err(failed("beacon node"))?;
    let clock = beacon.slot_clock().await.map_err(failed("beacon node"))?;
    let timing = Timing::new(clock.genesis_time_ms(), clock.slot_ms(), clock.slots_per_epoch());
    let config = RegistryConfig {
        execution: rpc.clone(),
        registry,
        slasher,
        market: Some(of.market),
        rollups: args.rollups,
        from_block: args.from_block,
        optin_delay: args.optin_delay,
        poll_ms: 500,
        logs_range: 2_000,
    };
    let (follower, mut view) = Follower::new(config, of.network, None).map_err(failed("registry"))?;
    let stop = CancellationToken::new();
    let following = tokio::spawn(follower.run(clock, stop.clone()));
    let limit = Duration::from_secs(args.l1_timeout);
    let caught_up = tokio::time::timeout(limit, caught_up(&mut view)).await;
    stop.cancel();
    // It never fails, and what it knows is in the view.
    let _ = following.await;
    match caught_up {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => return Err(Failure::new(format!("registry: {reason}"))),
        Err(_) => {
            let reason = format!("no Registry at {registry} was read to the head within {limit:?}");
            return Err(Failure::new(reason));
        }
    }
    let proposers = proposers(&beacon, &timing, of.slot).await;
    facts(&view, &timing, of, &proposers, args.rollups.is_some()).map(Some)
}

async fn caught_up(view: &mut RegistryView) -> Result<(), String> {
    loop {
        match view.standing() {
            Standing::Current => return Ok(()),
            Standing::Faulty(reason) => return Err(reason),
            Standing::CatchingUp => {}
        }
        if !view.changed().await {
            return Err("the follower ended".to_owned());
        }
    }
}

/// Who proposes from the first slot that bears on the window of `slot`, by ascending slot; nothing if the beacon node does not
/// say.
async fn proposers(beacon: &BeaconClient, timing: &Timing, slot: Slot) -> Vec<(Slot, BlsPublicKey)> {
    let mut proposers = Vec::new();
    let (first, last) = (timing.epoch_of(timing.bears_on(slot)), timing.epoch_of(slot));
    for epoch in first.0..=last.0 {
        match beacon.proposer_duties(epoch).await {
            Ok(duties) => proposers.extend(duties.proposers.iter().map(|one| (Slot(one.slot), one.pubkey))),
            Err(error) => {
                tracing::warn!(epoch, %error, "the beacon node does not say who proposed");
                return Vec::new();
            }
        }
    }
    proposers
}

fn facts(
    view: &RegistryView,
    timing: &Timing,
    of: Of,
    proposers: &[(Slot, BlsPublicKey)],
    with_rollups: bool,
) -> Result<Facts, Failure> {
    let epoch = timing.epoch_of(of.slot);
    let set = |epoch: Epoch| if view.is_before_reference(epoch) { None } else { view.opted_in(epoch) };
    let now = set(epoch).ok_or_else(|| {
        Failure::new(format!(
            "who counts for slot {} cannot be told: its reference block is yet to come, long past, or before the network's genesis",
            of.slot
        ))
    })?;
    let before = set(Epoch(epoch.0.saturating_sub(1)));
    let is_opted_in = |slot: Slot, key: &BlsPublicKey| {
        let set = if timing.epoch_of(slot) == epoch { Some(&now) } else { before.as_ref() };
        set.map(|set| set.contains(key))
    };
    let terms = || {
        let state = view.state();
        let at_slot = state.rollups().filter_map(|(_, rollup)| rollup.terms_at(of.slot).cloned());
        at_slot.filter(|terms| terms.relay == of.relay).collect()
    };
    Ok(judge(timing, of.slot, proposers, is_opted_in, &now, with_rollups.then(terms)))
}

fn judge(
    timing: &Timing,
    slot: Slot,
    proposers: &[(Slot, BlsPublicKey)],
    is_opted_in: impl Fn(Slot, &BlsPublicKey) -> Option<bool>,
    now: &OptedIn,
    rollups: Option<Vec<RollupRegistration>>,
) -> Facts {
    let proposer = proposers.iter().find(|(of, _)| *of == slot).map(|(_, key)| *key);
    let mut findings = Vec::new();
    let mut window = None;
    if let Some(key) = &proposer {
        let earlier = proposers.iter().filter(|(of, _)| *of < slot);
        window = before(earlier, is_opted_in).and_then(|previous| timing.window(slot, previous));
        if !now.contains(key) {
            findings.push(Finding::Differs {
                what: "the proposer of the slot that is sold",
                stated: "opted in".to_owned(),
                expected: "one that is opted in by the reference block".to_owned(),
            });
        }
    }
    let operator = |one: &OptedInOperator| Operator {
        registration_root: one.root,
        owner: one.owner,
        committer: one.committer,
    };
    Facts {
        proposer,
        window,
        rollups,
        operators: now.operators().iter().map(operator).collect(),
        proposer_operator: proposer.map(|key| now.operator_of(&key).map(operator)),
        findings,
    }
}

/// The last sequencing slot of these, if there is one. None if it cannot be told: a later one might be it, for all that is known.
fn before<'a>(
    proposers: impl DoubleEndedIterator<Item = &'a (Slot, BlsPublicKey)>,
    is_opted_in: impl Fn(Slot, &BlsPublicKey) -> Option<bool>,
) -> Option<Option<Slot>> {
    for (slot, key) in proposers.rev() {
        if is_opted_in(*slot, key)? {
            return Some(Some(*slot));
        }
    }
    Some(None)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use alloy_primitives::{B256, U256};
    use earnest_chain::registry::{BlockRef, Event, State, Terms};

    use super::*;

    const TIMING: Timing = Timing::new(1_700_000_000_000, 12_000, 32);

    /// Operator 1 with key 1, and operator 2 with keys 2 and 3.
    fn opted_in() -> OptedIn {
        let mut state = State::default();
        for (number, keys) in [(1_u8, vec![1_u8]), (2, vec![2, 3])] {
            let root = B256::repeat_byte(number);
            let keys = keys.into_iter().map(BlsPublicKey::repeat_byte).collect();
            let owner = Address::repeat_byte(number);
            state.apply(&Event::Registered { root, owner, collateral: U256::from(9), keys }, 0);
            let committer = Address::repeat_byte(number + 100);
            state.apply(&Event::OptedIn { root, committer }, 0);
        }
        let at = BlockRef { number: 1, hash: B256::ZERO, parent: B256::ZERO, time: 1_000 };
        state.opted_in(at, &Terms { min_collateral: U256::from(9), fraud_window: 1 })
    }

    fn operator(number: u8) -> Operator {
        Operator {
            registration_root: B256::repeat_byte(number),
            owner: Address::repeat_byte(number),
            committer: Address::repeat_byte(number + 100),
        }
    }

    fn key(number: u8) -> BlsPublicKey {
        BlsPublicKey::repeat_byte(number)
    }

    #[test]
    fn window_operators_and_the_proposers_operator_follow_from_the_opt_ins() {
        let set = opted_in();
        let slot = Slot(32 * 40 + 20);
        let first = TIMING.bears_on(slot);
        // Key 9 is nobody's; key 3 proposes ten slots before, and keys 1 and 2 now and later.
        let proposes = |of: Slot| match slot.0.wrapping_sub(of.0) {
            0 => key(1),
            10 => key(3),
            before if before > slot.0 => key(2),
            _ => key(9),
        };
        let proposers: Vec<_> = (first.0..32 * 41).map(|of| (Slot(of), proposes(Slot(of)))).collect();
        let by_set = |_: Slot, key: &BlsPublicKey| Some(set.contains(key));
        let facts = judge(&TIMING, slot, &proposers, by_set, &set, None);
        assert_eq!(facts.window, TIMING.window(slot, Some(Slot(slot.0 - 10))));
        assert_eq!(facts.proposer, Some(key(1)));
        assert_eq!(facts.operators, [operator(1), operator(2)]);
        assert_eq!(facts.proposer_operator, Some(Some(operator(1))));
        assert_eq!(facts.findings, []);

        // The slot before decides the window. What is not known further back does not bear on it; what is not known since
        // leaves the window to the relay, and nothing else.
        for (known_from, window) in [(slot.0 - 10, facts.window), (slot.0 - 9, None)] {
            let known = |of: Slot, key: &BlsPublicKey| (of.0 >= known_from).then(|| set.contains(key));
            let partly = judge(&TIMING, slot, &proposers, known, &set, None);
            assert_eq!((partly.window, &partly.operators), (window, &facts.operators), "{known_from}");
            assert_eq!((partly.proposer, partly.findings), (facts.proposer, vec![]));
        }
        let nothing = judge(&TIMING, slot, &[], by_set, &set, None);
        assert_eq!((nothing.proposer, nothing.window, nothing.proposer_operator), (None, None, None));

        let stranger: Vec<_> = proposers.iter().map(|(of, _)| (*of, key(9))).collect();
        let sold = judge(&TIMING, slot, &stranger, by_set, &set, None);
        assert_eq!((sold.findings.len(), sold.proposer_operator), (1, Some(None)));
    }
}
