//! The structs of `contracts/src/Objects.sol` and `Evidence.sol` are those of the Rust schema, field for field.

use alloy_sol_types::SolStruct;
use earnest_protocol::sol;
use std::collections::BTreeMap;

/// Struct name to its fields, as `Name(type field,…)`.
fn solidity_structs(source: &str) -> BTreeMap<String, String> {
    let code: String =
        source.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    code.split("struct ")
        .skip(1)
        .map(|rest| {
            let (name, body) = rest.split_once('{').unwrap();
            let (body, _) = body.split_once('}').unwrap();
            let fields: Vec<String> = body
                .split(';')
                .map(|field| field.split_whitespace().collect::<Vec<_>>().join(" "))
                .filter(|field| !field.is_empty())
                .collect();
            let name = name.trim().to_owned();
            (name.clone(), format!("{name}({})", fields.join(",")))
        })
        .collect()
}

#[test]
fn both_sides_have_the_same_structs() {
    let mut solidity = solidity_structs(include_str!("../../../src/Objects.sol"));
    solidity.extend(solidity_structs(include_str!("../../../src/Evidence.sol")));
    macro_rules! same {
        ($($name:ident),* $(,)?) => {
            $(assert_eq!(
                solidity.remove(stringify!($name)).as_deref(),
                Some(sol::$name::eip712_root_type().as_ref()),
            );)*
        };
    }
    same!(
        G1Point,
        G2Point,
        Registration,
        Delegation,
        SignedDelegation,
        Commitment,
        CommitmentRequest,
        SignedCommitment,
        Constraint,
        ConstraintsMessage,
        InclusionPayload,
        OrderingCommitment,
        Leg,
        BundleCommitment,
        OrderingBid,
        BidAck,
        AuctionResult,
        AllocationEntry,
        SlotAllocation,
        DelegationReceipt,
        SignedDelegationReceipt,
        ConstraintReceipt,
        SignedConstraintReceipt,
        SignedAuctionResult,
        EquivocationEvidence,
        BrokenChainEvidence,
        PostSealEvidence,
        OmissionEvidence,
        AtomicityEvidence,
        MissedWindowEvidence,
        ConstraintAnswer,
        RollupRegistration,
    );
    assert!(solidity.is_empty(), "only in Solidity: {:?}", solidity.keys());
}
