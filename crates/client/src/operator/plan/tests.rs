use proptest::prelude::*;

use super::super::standing::{OptIn, Terms};
use super::*;

const OWNER: Address = Address::repeat_byte(1);
const ROOT: B256 = B256::repeat_byte(2);
const COMMITTER: Address = Address::repeat_byte(3);
const RELAY: Address = Address::repeat_byte(4);
const MIN: u64 = 1_000;

/// What stands on L1 in the model: the operator, and who used the committer.
#[derive(Debug, Clone, Copy)]
struct World {
    standing: Standing,
    user: Option<B256>,
    locked_until: u64,
    escrow: U256,
    asked: Option<Withdrawal>,
}

const WITHDRAWAL_DELAY: u64 = 50;

impl World {
    fn locked(&self) -> Option<u64> {
        (self.standing.now < self.locked_until).then_some(self.locked_until)
    }

    /// What the contracts do with an act of `sender`: as Registry.sol and OrderingMarket.sol, in their words.
    fn perform(&mut self, act: &Act, sender: Address) -> Result<(), &'static str> {
        let Standing { now, terms, .. } = self.standing;
        let operator = self.standing.registered;
        let owned = || {
            let deleted = operator.is_some_and(|it| it.deleted);
            if deleted {
                return Err("OperatorDeleted");
            }
            operator.filter(|it| it.owner == sender).ok_or("WrongOperator")
        };
        match act {
            Act::OptIn { root, committer } => {
                let it = owned()?;
                if it.unregistered_at.is_some() {
                    return Err("OperatorAlreadyUnregistered");
                }
                if now < it.at + terms.fraud_window {
                    return Err("FraudProofWindowNotMet");
                }
                if self.standing.opt_in.is_some_and(|it| it.slashed) || it.slashed_at.is_some() {
                    return Err("SlashingAlreadyOccurred");
                }
                if self.standing.opt_in.is_some_and(|it| it.out_at.is_none()) {
                    return Err("AlreadyOptedIn");
                }
                let out_at = self.standing.opt_in.and_then(|it| it.out_at);
                if out_at.is_some_and(|out| now < out + terms.opt_in_delay) {
                    return Err("OptInDelayNotMet");
                }
                if committer.is_zero() {
                    return Err("InvalidCommitter");
                }
                if self.user.is_some_and(|user| user != *root) {
                    return Err("CommitterInUse");
                }
                self.user = Some(*root);
                self.standing.opt_in =
                    Some(OptIn { committer: *committer, at: now, out_at: None, slashed: false });
            }
            Act::OptOut { .. } => {
                owned()?;
                let opt_in = self.standing.opt_in.as_mut().ok_or("NotOptedIn")?;
                if opt_in.out_at.is_some() {
                    return Err("NotOptedIn");
                }
                if now < opt_in.at + terms.opt_in_delay {
                    return Err("OptInDelayNotMet");
                }
                opt_in.out_at = Some(now);
            }
            Act::NameRelay { relay, .. } => {
                operator.filter(|it| it.owner == sender).ok_or("NotOwner")?;
                self.standing.relay = Some(*relay);
            }
            Act::AddCollateral { amount, .. } => {
                let it = self.standing.registered.as_mut().ok_or("NoCollateral")?;
                if it.deleted {
                    return Err("OperatorDeleted");
                }
                if it.collateral.is_zero() {
                    return Err("NoCollateral");
                }
                if amount.is_zero() {
                    return Err("InsufficientCollateral");
                }
                let collateral = it.collateral + amount;
                if collateral >= U256::from(1) << 80 {
                    return Err("CollateralOverflow");
                }
                it.collateral = collateral;
            }
            Act::Unregister { .. } => {
                let it = owned()?;
                if it.unregistered_at.is_some() {
                    return Err("AlreadyUnregistered");
                }
                if it.slashed_at.is_some() {
                    return Err("SlashingAlreadyOccurred");
                }
                self.standing.registered.as_mut().unwrap().unregistered_at = Some(now);
            }
            Act::ClaimCollateral { slashed, .. } => {
                let it = operator.ok_or("NotUnregistered")?;
                if it.deleted {
                    return Err("OperatorDeleted");
                }
                if *slashed {
                    let at = it.slashed_at.ok_or("NotSlashed")?;
                    if now < at + terms.slash_window {
                        return Err("SlashWindowNotMet");
                    }
                } else {
                    let at = it.unregistered_at.ok_or("NotUnregistered")?;
                    if now < at + terms.unregistration_delay {
                        return Err("UnregistrationDelayNotMet");
                    }
                    if it.slashed_at.is_some() {
                        return Err("SlashingAlreadyOccurred");
                    }
                }
                if now < self.locked_until {
                    return Err("CollateralIsLocked");
                }
                let it = self.standing.registered.as_mut().unwrap();
                (it.deleted, it.collateral) = (true, U256::ZERO);
            }
            Act::RequestWithdrawal { amount, .. } => {
                if *amount > self.escrow {
                    return Err("EscrowTooLow");
                }
                let asked = Withdrawal { amount: *amount, ready_at: now + WITHDRAWAL_DELAY };
                self.asked = (!amount.is_zero()).then_some(asked);
            }
            Act::Withdraw { .. } => {
                let asked = self.asked.ok_or("NotRequested")?;
                if now < asked.ready_at {
                    return Err("NotReady");
                }
                self.asked = None;
                self.escrow -= asked.amount.min(self.escrow);
            }
            other => panic!("not in the model: {other}"),
        }
        Ok(())
    }
}

fn terms() -> Terms {
    Terms {
        min_collateral: U256::from(MIN),
        fraud_window: 10,
        unregistration_delay: 70,
        slash_window: 80,
        opt_in_delay: 30,
        signing_domain: B256::ZERO,
        chain_id: U256::from(1),
    }
}

fn registered() -> Registered {
    Registered {
        owner: OWNER,
        collateral: U256::from(MIN),
        keys: 1,
        at: 100,
        unregistered_at: None,
        slashed_at: None,
        deleted: false,
        equivocated: false,
    }
}

fn world() -> World {
    let standing = Standing {
        now: 200,
        terms: terms(),
        root: ROOT,
        registered: Some(registered()),
        opt_in: None,
        liable: false,
        relay: None,
    };
    World { standing, user: None, locked_until: 0, escrow: U256::from(500), asked: None }
}

fn any_world() -> impl Strategy<Value = World> {
    let operator = (
        prop::bool::weighted(0.9),
        prop_oneof![Just(0_u64), 1..MIN, Just(MIN), Just(MIN * 5)],
        150_u64..200,
        prop::option::weighted(0.3, 150_u64..200),
        prop::option::weighted(0.2, 100_u64..200),
        prop::bool::weighted(0.1),
    );
    let operator =
        operator.prop_map(|(is_ours, collateral, at, unregistered_at, slashed_at, deleted)| Registered {
            owner: if is_ours { OWNER } else { RELAY },
            collateral: if deleted { U256::ZERO } else { U256::from(collateral) },
            keys: 1,
            at,
            unregistered_at,
            slashed_at,
            deleted,
            equivocated: false,
        });
    let opt_in = (any::<bool>(), 110_u64..180, prop::option::of(0_u64..20), prop::bool::weighted(0.1))
        .prop_map(|(same, at, out, slashed)| OptIn {
            committer: if same { COMMITTER } else { RELAY },
            at,
            out_at: out.map(|after| at + after),
            slashed,
        });
    (
        prop::option::weighted(0.95, operator),
        prop::option::of(opt_in),
        prop::option::of(Just(RELAY)),
        prop::option::of(prop_oneof![Just(ROOT), Just(B256::repeat_byte(9))]),
        prop::option::weighted(0.2, 150_u64..320),
        (0_u64..600, prop::option::of((1_u64..600, 150_u64..280))),
        (any::<prop::sample::Index>(), 0_u64..3),
    )
        .prop_map(|(registered, opt_in, relay, user, locked, (escrow, asked), (edge, step))| {
            // Just before, at, or after one of the times at which something changes.
            let terms = terms();
            let edges = [
                registered.map(|it: Registered| it.at + terms.fraud_window),
                registered.and_then(|it| Some(it.unregistered_at? + terms.unregistration_delay)),
                registered.and_then(|it| Some(it.slashed_at? + terms.slash_window)),
                opt_in.map(|it| it.at + terms.opt_in_delay),
                opt_in.and_then(|it| Some(it.out_at? + terms.opt_in_delay)),
                locked,
                asked.map(|(_, ready_at)| ready_at),
                Some(320),
            ];
            let edges: Vec<u64> = edges.into_iter().flatten().collect();
            let now = (edges[edge.index(edges.len())] + step - 1).max(200);
            let mut world = world();
            world.standing = Standing { now, registered, opt_in, relay, ..world.standing };
            world.user = user;
            world.locked_until = locked.unwrap_or_default();
            world.escrow = U256::from(escrow);
            world.asked = asked.map(|(amount, ready_at)| Withdrawal { amount: U256::from(amount), ready_at });
            world
        })
}

type Planner = fn(&World) -> Result<Plan, Refusal>;

/// Each wish of an operator. Depositing is left out: the market refuses it only for what types and zeros say.
const WISHES: [(&str, Planner); 7] = [
    ("opt in", |world| {
        opt_in(
            &world.standing,
            OWNER,
            &OptInWish { committer: COMMITTER, user: world.user, relay: Some(RELAY) },
        )
    }),
    ("opt out", |world| opt_out(&world.standing, OWNER)),
    ("unregister", |world| unregister(&world.standing, OWNER)),
    ("claim", |world| claim_collateral(&world.standing, world.locked())),
    ("withdraw all", |world| withdraw(RELAY, world.escrow, world.asked, None, world.standing.now)),
    ("withdraw some", |world| {
        withdraw(RELAY, world.escrow, world.asked, Some(U256::from(100)), world.standing.now)
    }),
    ("withdraw none", |world| {
        withdraw(RELAY, world.escrow, world.asked, Some(U256::ZERO), world.standing.now)
    }),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What is planned the contracts take, each act by itself as well as all; and after any of them the rest is planned, and
    /// nothing twice.
    #[test]
    fn a_plan_is_taken_by_the_contracts_and_stands_after_a_crash(world in any_world(), which in 0..WISHES.len()) {
        let (name, plan_of) = WISHES[which];
        let Ok(plan) = plan_of(&world) else { return Ok(()) };
        let mut after = world;
        for (done, act) in plan.acts.iter().enumerate() {
            after.perform(act, OWNER).map_err(|error| TestCaseError::fail(format!("{name}, {act}: {error}")))?;
            // Taking escrow out is followed by asking for what is left, if there is more.
            if matches!(act, Act::Withdraw { .. }) {
                continue;
            }
            let again = plan_of(&after).map_err(|refusal| TestCaseError::fail(format!("{name}: {refusal}")))?;
            prop_assert_eq!(again.acts.len(), plan.acts.len() - done - 1, "{} after {}", name, act);
            prop_assert!(!again.done.is_empty());
        }
    }

    /// What is refused the contracts would refuse too, but for what would be of no use.
    #[test]
    fn a_refusal_has_its_cause_in_the_contracts(world in any_world(), which in 0..WISHES.len()) {
        let (name, plan_of) = WISHES[which];
        let Err(refusal) = plan_of(&world) else { return Ok(()) };
        let acts = match name {
            "opt in" => vec![Act::OptIn { root: ROOT, committer: COMMITTER }],
            "opt out" => vec![Act::OptOut { root: ROOT }],
            "unregister" => vec![Act::Unregister { root: ROOT }],
            "claim" => [false, true].map(|slashed| Act::ClaimCollateral { root: ROOT, slashed }).to_vec(),
            _ => vec![Act::RequestWithdrawal { relay: RELAY, amount: U256::from(100) }],
        };
        for act in acts {
            let taken = world.clone().perform(&act, OWNER).is_ok();
            let of_no_use = matches!(refusal, Refusal::TooLittle { .. });
            prop_assert!(!taken || of_no_use, "{}: refused ({}), and the contracts take {}", name, refusal, act);
        }
    }
}

#[test]
fn an_opt_in_names_the_relay_as_well() {
    let world = world();
    let wish = OptInWish { committer: COMMITTER, user: None, relay: Some(RELAY) };
    let plan = opt_in(&world.standing, OWNER, &wish).unwrap();
    assert!(matches!(
        plan.acts[..],
        [Act::OptIn { committer: COMMITTER, .. }, Act::NameRelay { relay: RELAY, .. }]
    ));
    for relay in [None, Some(Address::ZERO)] {
        let none = OptInWish { relay, ..wish };
        assert_eq!(opt_in(&world.standing, OWNER, &none).unwrap().acts.len(), 1);
    }
}

#[test]
fn refusals_say_what_to_do() {
    let wish = OptInWish { committer: COMMITTER, user: None, relay: None };
    let refused = |change: fn(&mut World), wish: OptInWish| {
        let mut world = world();
        change(&mut world);
        opt_in(&world.standing, OWNER, &wish).unwrap_err()
    };
    let other = OptInWish { user: Some(B256::repeat_byte(9)), ..wish };
    assert!(refused(|_| {}, other).to_string().contains("fresh key"));
    assert!(refused(|it| it.standing.now = 105, wish).to_string().contains("(in 5 s)"));
    assert!(refused(|it| it.standing.registered = None, wish).to_string().contains("register first"));
    assert_eq!(
        refused(|_| {}, OptInWish { committer: Address::ZERO, ..wish }),
        Refusal::Zero("the committer")
    );
    let not_ours = refused(|it| it.standing.registered.as_mut().unwrap().owner = RELAY, wish);
    assert_eq!(not_ours, Refusal::NotOwner { owner: RELAY, account: OWNER });
    let poor = refused(|it| it.standing.registered.as_mut().unwrap().collateral = U256::from(1), wish);
    assert!(poor.to_string().contains("deposit --collateral"));
}

#[test]
fn collateral_is_claimable_and_an_operator_liable_until_the_first_end() {
    let mut standing = world().standing;
    assert_eq!((claimable_from(&standing), liable_until(&standing)), (None, None));
    standing.opt_in = Some(OptIn { committer: COMMITTER, at: 120, out_at: Some(160), slashed: false });
    assert_eq!((claimable_from(&standing), liable_until(&standing)), (None, Some(240)));
    standing.registered.as_mut().unwrap().unregistered_at = Some(165);
    assert_eq!((claimable_from(&standing), liable_until(&standing)), (Some(235), Some(235)));
    standing.registered.as_mut().unwrap().slashed_at = Some(180);
    assert_eq!((claimable_from(&standing), liable_until(&standing)), (Some(260), Some(235)));
    standing.now = 300;
    assert!(matches!(claim_collateral(&standing, Some(400)), Err(Refusal::Locked { until: 400, now: 300 })));
    let plan = claim_collateral(&standing, None).unwrap();
    assert!(matches!(plan.acts[..], [Act::ClaimCollateral { slashed: true, .. }]));
    // To the second: claimable at the end of the time, and of the lock.
    let at = |now: u64, locked: Option<u64>| {
        let standing = Standing { now, ..standing };
        claim_collateral(&standing, locked).map(|plan| plan.acts.len())
    };
    assert!(matches!(at(259, None), Err(Refusal::TooEarly { from: 260, .. })));
    assert!(matches!(at(299, Some(300)), Err(Refusal::Locked { until: 300, .. })));
    assert_eq!((at(260, None), at(300, Some(300))), (Ok(1), Ok(1)));
}

#[test]
fn escrow_is_taken_from_the_second_on_in_which_it_is_ready() {
    let escrow = U256::from(500);
    let asked = Some(Withdrawal { amount: U256::from(100), ready_at: 250 });
    let at = |now, amount: Option<u64>| withdraw(RELAY, escrow, asked, amount.map(U256::from), now).unwrap();
    assert!(at(249, None).acts.is_empty() && at(249, None).done[0].contains("(in 1 s)"));
    assert!(matches!(at(250, None).acts[..], [Act::Withdraw { relay: RELAY }]));
    assert!(matches!(at(250, Some(100)).acts[..], [Act::Withdraw { .. }]));
    // Another amount is another request, whose time begins anew.
    for amount in [0, 200] {
        let [Act::RequestWithdrawal { amount: wanted, .. }] = at(250, Some(amount)).acts[..] else {
            panic!("{amount}")
        };
        assert_eq!(wanted, U256::from(amount));
    }
}

#[test]
fn deposits_are_of_something_for_somebody() {
    let some = U256::from(1);
    assert!(matches!(
        deposit(OWNER, RELAY, some).unwrap().acts[..],
        [Act::Deposit { account: OWNER, relay: RELAY, .. }]
    ));
    assert_eq!(deposit(OWNER, RELAY, U256::ZERO).unwrap_err(), Refusal::ZeroAmount);
    assert_eq!(deposit(OWNER, Address::ZERO, some).unwrap_err(), Refusal::Zero("the relay"));
    let standing = world().standing;
    assert_eq!(add_collateral(&standing, U256::from(1) << 80).unwrap_err(), Refusal::TooMuch);
    assert_eq!(add_collateral(&standing, some).unwrap().acts.len(), 1);
}

mod keys {
    use std::sync::Arc;

    use earnest_chain::registry::Event;

    use super::*;

    fn key(byte: u8) -> BlsPublicKey {
        BlsPublicKey::from([byte; 48])
    }

    fn state(operators: &[(u8, Address, &[u8])]) -> State {
        let mut state = State::default();
        for (root, owner, keys) in operators {
            let keys: Arc<[BlsPublicKey]> = keys.iter().map(|byte| key(*byte)).collect();
            let root = B256::repeat_byte(*root);
            state.apply(&Event::Registered { root, owner: *owner, collateral: U256::from(MIN), keys }, 100);
        }
        state
    }

    #[test]
    fn keys_are_registered_once_and_not_with_two_owners() {
        let mut state = state(&[(1, OWNER, &[5, 6]), (2, RELAY, &[7])]);
        let sorted = sort_keys([6, 9, 8, 9].map(key), OWNER, &state).unwrap();
        assert_eq!(sorted.registered, [(key(6), B256::repeat_byte(1))]);
        assert_eq!(sorted.fresh, [8, 9].map(key));
        let refused = sort_keys([6, 7].map(key), OWNER, &state).unwrap_err().to_string();
        assert!(refused.contains(&key(7).to_string()) && !refused.contains(&key(6).to_string()), "{refused}");
        state.apply(&Event::Unregistered { root: B256::repeat_byte(2) }, 110);
        state.apply(&Event::Unregistered { root: B256::repeat_byte(1) }, 110);
        let sorted = sort_keys([6, 7].map(key), OWNER, &state).unwrap();
        assert_eq!(sorted, Sorted { registered: vec![], fresh: [6, 7].map(key).to_vec() });
    }

    #[test]
    fn a_key_that_two_owners_have_is_ours() {
        for order in [[(1, OWNER), (2, RELAY)], [(2, RELAY), (1, OWNER)]] {
            let state = state(&order.map(|(root, owner)| (root, owner, [5_u8].as_slice())));
            let sorted = sort_keys([key(5)], OWNER, &state).unwrap();
            assert_eq!(sorted.registered, [(key(5), B256::repeat_byte(1))]);
        }
    }
}
